//! What can be written of rates, callers, classes and a store, and what does it mean?

mod documents;

use std::num::NonZeroU32;
use std::time::Duration;

use documents::{SIDECAR, config, read};
use outrigger_config::model::priority::{Class, Order, Shares};
use outrigger_config::model::{
    Direction, HostPattern, KeyBy, Mode, PathMatch, QueueLimits, RateLimit, RateLimitPolicy, Share, Store,
};
use outrigger_config::{defaults, describe};

const POLICY: &str = "---
apiVersion: outrigger/v1
kind: RateLimitPolicy
name: holdings-in
";

fn policy(lines: &str) -> RateLimitPolicy {
    config(&[SIDECAR, &format!("{POLICY}{lines}\n")]).rate_limits[0].clone()
}

/// What is wrong with such a policy.
fn fault(lines: &str) -> String {
    let errors = read(&[SIDECAR, &format!("{POLICY}{lines}\n")]).expect_err(lines);
    assert_eq!(errors.count(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn rl_1_a_rate_alone_is_a_policy_of_every_inbound_request() {
    let policy = policy("total: {rate: 100/s}");
    assert_eq!((policy.mode, policy.direction), (Mode::Enforce, Direction::Inbound));
    assert_eq!(policy.hosts, [HostPattern::Any]);
    assert_eq!(policy.matches[0].path, PathMatch::Prefix(String::new()));
    let total = policy.total.expect("a rate");
    assert_eq!((total.limit, total.share), (RateLimit { rate: 100.0, burst: 100 }, Share::Replica));
    assert_eq!(total.queue, None);
}

#[test]
fn a_burst_is_one_second_unless_written_and_never_none() {
    let burst = |total: &str| policy(&format!("total: {{{total}}}")).total.expect("a rate").limit.burst;
    assert_eq!([burst("rate: 0.1/s"), burst("rate: 1.5/s"), burst("rate: 9/s, burst: 2")], [1, 2, 2]);
    assert!(fault("total: {rate: 0/s}").contains("deny every request"));
}

#[test]
fn rl_4_rl_7_callers_are_told_apart_by_identity_source_and_field() {
    let callers = policy(
        "perIdentity: {rate: 200/s, maxConcurrent: 50}\n\
         perKey: [{by: [source, \"header:X-Api-Key\"], rate: 10/s, maxKeys: 9}, {by: [source], maxConcurrent: 3}]",
    );
    let callers = callers.per_key;
    assert_eq!(callers[0].by, KeyBy { identity: true, header: None, source: false });
    assert_eq!(callers[0].max_concurrent.map(NonZeroU32::get), Some(50));
    assert_eq!(callers[0].max_keys, defaults::RATE_LIMIT_KEYS);
    let header = Some("x-api-key".parse().expect("a name"));
    assert_eq!((&callers[1].by, callers[1].max_keys), (&KeyBy { identity: false, header, source: true }, 9));
    assert_eq!((callers[2].limit, callers[2].max_concurrent.map(NonZeroU32::get)), (None, Some(3)));
    assert!(
        fault("perKey: [{by: [source, source], rate: 1/s}]").contains("duplicate part of a key `source`")
    );
}

#[test]
fn rl_2_classes_have_matches_and_shares() {
    let policy = policy(
        "concurrency: {max: 100, shares: {default: 80%}}\n\
         priorities: [{match: {method: GET}, class: critical}, {match: {}, class: sheddable}]",
    );
    let classes: Vec<_> = policy.priorities.iter().map(|(_, class)| *class).collect();
    assert_eq!(classes, [Class::Critical, Class::Sheddable]);
    let most = policy.concurrency.expect("a limit");
    assert_eq!((most.max.get(), most.shares), (100, Shares { default: 0.8, sheddable: 0.8 }));
    assert_eq!((most.adaptive, most.fair_share), (None, None));
    assert_eq!(most.queue, QueueLimits { capacity: 1024, timeout: Duration::from_secs(1) });
}

#[test]
fn rl_3_rl_5_shedding_has_an_order() {
    let order = |fair: &str| {
        let policy = policy(&format!("concurrency: {{max: 9, fairShare: {{by: [identity]{fair}}}}}"));
        policy.concurrency.expect("a limit").fair_share.expect("an order").order
    };
    assert_eq!((order(""), order(", order: uncommon-first")), (Order::GreedyFirst, Order::UncommonFirst));
}

#[test]
fn rl_6_what_is_above_a_rate_may_wait() {
    let queue = |total: &str| {
        policy(&format!("direction: outbound\ntotal: {{rate: 9/s{total}}}")).total.expect("a rate").queue
    };
    let timeout = Duration::from_millis(5);
    assert_eq!(queue(", queueTimeout: 5ms"), Some(QueueLimits { capacity: defaults::MAX_PENDING, timeout }));
    assert_eq!(queue(", queueTimeout: 5ms, maxPending: 3"), Some(QueueLimits { capacity: 3, timeout }));
    assert!(fault("total: {rate: 9/s, maxPending: 3}").contains("`maxPending` without `queueTimeout`"));
}

#[test]
fn rl_8_a_policy_can_be_tried_out_or_switched_off() {
    assert_eq!(policy("mode: dryRun\ntotal: {rate: 1/s}").mode, Mode::DryRun);
    let off = config(&[SIDECAR, &format!("{POLICY}mode: off\ntotal: {{rate: 1/s}}\n")]);
    assert!(off.rate_limits.is_empty());
}

#[test]
fn a_rate_of_the_whole_service_is_counted_in_a_store() {
    let store = |store: &str| {
        let lines = format!("total: {{rate: 1/s}}\nshare: service\nstore: \"redis://{store}\"");
        match policy(&lines).total.expect("a rate").share {
            Share::Service(Store { host, port, database }) => (host, port, database),
            Share::Replica => panic!("not shared"),
        }
    };
    assert_eq!(store("redis.internal"), ("redis.internal".to_owned(), 6379, 0));
    assert_eq!(store("10.0.0.7:7000/3"), ("10.0.0.7".to_owned(), 7000, 3));
    assert_eq!(store("[2001:db8::1]:7000"), ("2001:db8::1".to_owned(), 7000, 0));
    let wrong = [
        "rediss://a",
        "redis://",
        "redis://a:0",
        "redis://a:+1",
        "redis://a/x",
        "redis://[a]",
        "redis://a/70000",
    ];
    for store in wrong {
        fault(&format!("total: {{rate: 1/s}}\nshare: service\nstore: \"{store}\""));
    }
    let secret = fault("total: {rate: 1/s}\nshare: service\nstore: \"redis://:pass@a\"");
    assert!(secret.contains("policy files hold no secrets"), "{secret}");
}

#[test]
fn a_policy_that_nothing_reaches_is_refused() {
    let outbound = SIDECAR.replace("inbound: [{port: 8080, forwardTo: 127.0.0.1:8081}]\n", "");
    let errors = read(&[&outbound, &format!("{POLICY}total: {{rate: 1/s}}\n")]).expect_err("no inbound");
    assert!(
        errors.to_string().contains("the policy is inbound, but the Sidecar has no `inbound`"),
        "{errors}"
    );
}

#[test]
fn the_description_shows_a_policy_as_it_is_written() {
    let lines = "total: {rate: 100/s}\nperKey: [{by: [source, \"header:x-key\"], maxConcurrent: 2}]\n\
                 share: service\nstore: redis://a\n";
    let described = describe(&config(&[SIDECAR, &format!("{POLICY}{lines}")]));
    let policy = &described["rateLimits"][0];
    assert_eq!(policy["total"], serde_json::json!({ "rate": "100/s", "burst": 100 }));
    assert_eq!(policy["perKey"][0]["by"], serde_json::json!(["source", "header:x-key"]));
    assert_eq!((&policy["mode"], &policy["store"]), (&"enforce".into(), &"redis://a:6379/0".into()));
}
