//! What can be written of caches and fallbacks, and what does it mean?

mod documents;

use std::path::PathBuf;
use std::time::Duration;

use documents::{DEFAULTS, ROUTE, SIDECAR, UPSTREAM, config, read};
use http::Method;
use outrigger_config::model::priority::Class;
use outrigger_config::model::{CannedBody, Config, Fallback, FallbackCondition, Mode, StandIn, UpstreamId};
use outrigger_config::{defaults, describe};

const INBOUND: &str = "---
apiVersion: outrigger/v1
kind: HTTPRoute
name: own
direction: inbound
rules:
  - name: all
";

/// An upstream with a cache, another, and a rule with these lines.
fn documents(rule: &str) -> [String; 4] {
    let cached = format!("{UPSTREAM}cache: {{}}\n");
    let other = UPSTREAM.replace("market-data", "market-data-b");
    [SIDECAR.to_owned(), cached, other, format!("{ROUTE}    {rule}\n")]
}

fn with_rule(rule: &str) -> Config {
    config(&documents(rule).each_ref().map(String::as_str))
}

fn chain(steps: &str) -> Vec<Fallback> {
    let rule = &with_rule(&format!("fallback: {steps}")).routes[0].rules[0];
    rule.fallback.clone().expect("a chain").into_iter().map(|step| step.policy).collect()
}

/// What is wrong with such a rule.
fn fault(rule: &str) -> String {
    let errors = read(&documents(rule).each_ref().map(String::as_str)).expect_err(rule);
    assert_eq!(errors.count(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn fb_2_a_cache_is_bounded_and_off_unless_written() {
    let cache = |own: &str, house: &str| {
        let documents = [SIDECAR, &format!("{UPSTREAM}{own}\n"), &format!("{DEFAULTS}{house}\n")];
        config(&documents).upstreams[0].cache.value.clone()
    };
    assert_eq!(cache("", ""), None);
    let built_in = cache("cache: {}", "").expect("a cache");
    assert_eq!((built_in.mode, &built_in.rules.methods), (Mode::Enforce, &vec![Method::GET, Method::HEAD]));
    assert_eq!((built_in.rules.ttl, built_in.max_entries), (None, defaults::CACHE_ENTRIES));
    assert_eq!(built_in.rules.stale_if_error, Duration::from_mins(10));
    let layered =
        cache("cache: {methods: [GET], ttl: 5m}", "cache: {ttl: 1m, maxBytes: 2MiB}").expect("a cache");
    assert_eq!((layered.rules.ttl, layered.max_bytes), (Some(Duration::from_mins(5)), 2 << 20));
    assert!(cache("", "cache: {ttl: 1m}").is_some());
    assert_eq!(cache("cache: {mode: off}", "cache: {ttl: 1m}"), None);
}

#[test]
fn fb_7_a_chain_keeps_its_order_and_its_references_are_bound() {
    let chain = chain(
        "[{on: [breaker-open, 5xx], cache: stale}, {on: [any], backendRef: {name: market-data-b}}, \
         {on: [any], static: {status: 203, headers: {x-stub: \"1\"}, body: none}}]",
    );
    assert_eq!(chain[0].on, [FallbackCondition::BreakerOpen, FallbackCondition::ServerError]);
    assert_eq!(chain[0].with, StandIn::Stale);
    let StandIn::Backend(other) = &chain[1].with else { panic!("{:?}", chain[1]) };
    assert_eq!((other.upstream, other.weight), (UpstreamId(1), 1));
    let StandIn::Static(stub) = &chain[2].with else { panic!("{:?}", chain[2]) };
    assert_eq!((stub.status.as_u16(), &stub.body), (203, &CannedBody::Inline("none".to_owned())));
    assert_eq!(stub.headers[0].0, "x-stub");
}

#[test]
fn fb_1_fb_5_a_stub_may_be_a_file_and_a_degraded_answer_says_so() {
    let stub = chain("[{on: [any], static: {bodyFile: /etc/stub.json}}]");
    let StandIn::Static(stub) = &stub[0].with else { panic!("{stub:?}") };
    assert_eq!((stub.status.as_u16(), &stub.body), (200, &CannedBody::File(PathBuf::from("/etc/stub.json"))));
    let degraded = chain("[{on: [any], degrade: {headers: {x-degraded: prices}}}]");
    assert!(matches!(&degraded[0].with, StandIn::Degrade(stub) if stub.headers.len() == 1));
    assert!(fault("fallback: [{on: [any], degrade: {}}]").contains("`degrade` without `headers`"));
}

#[test]
fn fb_6_every_condition_has_its_word_and_customers_faults_have_none() {
    let words = ["5xx", "connect-failure", "reset", "timeout", "breaker-open", "no-endpoint", "limit"];
    let on = &chain(&format!("[{{on: [{}], cache: stale}}]", words.join(", ")))[0].on;
    assert_eq!(on.len(), words.len());
    assert!(fault("fallback: [{on: [404], cache: stale}]").contains("found the number `404`"));
}

#[test]
fn a_chain_may_be_empty_dry_or_partly_off() {
    assert_eq!(with_rule("retry: {attempts: 1}").routes[0].rules[0].fallback, None);
    assert_eq!(with_rule("fallback: []").routes[0].rules[0].fallback, Some(Vec::new()));
    let rule = "fallback: [{mode: off, on: [any], static: {}}, {mode: dryRun, on: [any], static: {}}, {on: [any], cache: stale}]";
    let chain = with_rule(rule).routes[0].rules[0].fallback.clone().expect("a chain");
    assert_eq!(chain.iter().map(|step| step.mode).collect::<Vec<_>>(), [Mode::DryRun, Mode::Enforce]);
}

#[test]
fn what_could_not_stand_in_is_refused() {
    for (steps, reason) in [
        ("{on: [any], backendRef: {name: market-data}}", "the fallback is the rule's own upstream"),
        ("{on: [any], backendRef: {name: market-dat-b}}", "no upstream is named `market-dat-b`"),
        ("{on: [any], static: {}}, {on: [timeout], cache: stale}", "never reached"),
        ("{on: [any, timeout], cache: stale}", "it is all of them"),
        ("{on: [any]}", "missing `cache`"),
        ("{on: [any], cache: stale, static: {}}", "exclude each other"),
        ("{on: [any], static: {headers: {Content-Length: \"3\"}}}", "`content-length` cannot be written"),
        ("{on: [any], static: {headers: {X-A: \"1\", x-a: \"2\"}}}", "duplicate field `x-a`"),
        ("{on: [any], static: {status: 204, body: x}}", "has no content"),
        ("{on: [any], static: {status: 101}}", "200 to 599"),
        ("{on: [any], static: {bodyFile: stub.json}}", "not an absolute path"),
        ("{on: [any], static: {bodyFile: /a, body: b}}", "exclude each other"),
    ] {
        let found = fault(&format!("fallback: [{steps}]"));
        assert!(found.contains(reason), "{steps}: {found}");
    }
}

#[test]
fn fb_3_nothing_is_stale_without_a_cache() {
    let rule = format!("{ROUTE}    fallback: [{{on: [any], cache: stale}}]\n");
    let errors = read(&[SIDECAR, UPSTREAM, &rule]).expect_err("no cache");
    assert!(errors.to_string().contains("the rule's upstreams have no `cache`"), "{errors}");
}

#[test]
fn an_inbound_rule_has_a_priority_and_stubs_only() {
    let rule = |lines: &str| read(&[SIDECAR, &format!("{INBOUND}    {lines}\n")]);
    let own =
        rule("priority: critical\n    fallback: [{on: [timeout], static: {status: 503}}]").expect("a stub");
    assert_eq!(own.routes[0].rules[0].priority, Some(Class::Critical));
    let errors = rule("fallback: [{on: [any], cache: stale}]").expect_err("no upstream");
    assert!(errors.to_string().contains("`cache` in an inbound rule"), "{errors}");
}

#[test]
fn the_description_shows_a_chain_as_it_is_written() {
    let described = describe(&with_rule("fallback: [{on: [any], degrade: {headers: {x-degraded: prices}}}]"));
    let expected = serde_json::json!([{
        "mode": "enforce",
        "on": ["any"],
        "degrade": { "status": 200, "headers": { "x-degraded": "prices" }, "body": "" },
    }]);
    assert_eq!(described["routes"][0]["rules"][0]["fallback"], expected);
    assert_eq!(described["upstreams"][0]["cache"]["value"]["staleIfError"], "10m");
}
