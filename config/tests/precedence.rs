//! Who has the last word? Built-in < `Defaults` < `Upstream` < rule, value by value, and each value says who.

mod documents;

use std::time::Duration;

use documents::{DEFAULTS, ROUTE, SIDECAR, UPSTREAM, config};
use outrigger_config::model::{
    AdminAddress, LoadBalancer, Origin, RequestTimeout, RetryCondition, TrafficPolicy,
};
use outrigger_config::{defaults, describe};

const INBOUND_ROUTE: &str = "---
apiVersion: outrigger/v1
kind: HTTPRoute
name: own
direction: inbound
rules:
  - name: all
";

fn origins(policy: &TrafficPolicy) -> [String; 4] {
    let timeouts = &policy.timeouts;
    [&timeouts.request.origin, &timeouts.idle.origin, &timeouts.connect.origin, &policy.retry.attempts.origin]
        .map(ToString::to_string)
}

#[test]
fn to_5_an_empty_policy_has_finite_timeouts() {
    let config = config(&[SIDECAR, UPSTREAM, ROUTE, INBOUND_ROUTE]);
    let outbound = [&config.upstreams[0].policy, &config.routes[0].rules[0].backends[0].policy];
    let inbound = [&config.sidecar.inbound[0].policy, &config.routes[1].rules[0].policy];
    for policy in outbound.into_iter().chain(inbound) {
        assert_eq!(*policy.timeouts.request, RequestTimeout::UntilHead(Duration::from_secs(15)));
        assert_eq!(*policy.timeouts.idle, Duration::from_mins(5));
        assert_eq!(origins(policy), ["built-in default"; 4]);
    }
    for policy in outbound {
        assert_eq!(*policy.timeouts.connect, Duration::from_secs(1));
    }
    for policy in inbound {
        assert_eq!(*policy.timeouts.connect, Duration::from_millis(300));
    }
}

#[test]
fn cf_8_an_empty_policy_retries_safely_within_a_budget() {
    let config = config(&[SIDECAR, UPSTREAM]);
    let upstream = &config.upstreams[0];
    assert_eq!(*upstream.policy.retry.on, [RetryCondition::ConnectFailure, RetryCondition::RefusedStream]);
    assert_eq!(*upstream.policy.retry.attempts, 1);
    assert!(upstream.policy.retry.methods.iter().all(http::Method::is_idempotent));
    assert!((upstream.retry_budget.percent - 0.2).abs() < f64::EPSILON);
    assert_eq!(upstream.load_balancer, LoadBalancer::PeakEwma);
    assert_eq!(upstream.limits.max_pending, 1024);
    assert_eq!(*config.sidecar.inbound[0].policy.retry.attempts, 0, "the caller's side retries");
    assert_eq!(config.sidecar.admin.listen, AdminAddress::Port(defaults::ADMIN_LISTEN));
    assert!(config.sidecar.access_log.enabled);
    assert_eq!(config.sidecar.limits.request_fields, 100);
}

#[test]
fn the_strongest_layer_wins_value_by_value_and_says_where() {
    let defaults =
        format!("{DEFAULTS}timeouts: {{request: 9s, idle: 8s, connect: 700ms}}\nretry: {{attempts: 3}}\n");
    let upstream = format!("{UPSTREAM}timeouts: {{request: 7s, idle: 6s}}\n");
    let route = format!("{ROUTE}    timeouts: {{request: 5s}}\n");
    let config = config(&[SIDECAR, &upstream, &route, &defaults]);
    let policy = &config.routes[0].rules[0].backends[0].policy;
    assert_eq!(*policy.timeouts.request, RequestTimeout::Whole(Duration::from_secs(5)));
    assert_eq!(*policy.timeouts.idle, Duration::from_secs(6));
    assert_eq!(*policy.timeouts.connect, Duration::from_millis(700));
    assert_eq!(*policy.retry.attempts, 3);
    let expected = [
        "rule, policy.yaml:19:25",
        "Upstream, policy.yaml:11:31",
        "Defaults, policy.yaml:24:44",
        "Defaults, policy.yaml:25:19",
    ];
    assert_eq!(origins(policy), expected);
    assert_eq!(policy.retry.on.origin, Origin::BuiltIn);
    assert_eq!(*config.upstreams[0].policy.timeouts.request, RequestTimeout::Whole(Duration::from_secs(7)));
}

#[test]
fn a_rule_may_shorten_the_request_below_what_its_upstream_grants_an_attempt() {
    let upstream = format!("{UPSTREAM}timeouts: {{request: 9s, backendRequest: 5s, connect: 900ms}}\n");
    let route = format!("{ROUTE}    timeouts: {{request: 500ms}}\n");
    let config = config(&[SIDECAR, &upstream, &route]);
    let timeouts = &config.routes[0].rules[0].backends[0].policy.timeouts;
    assert_eq!(timeouts.request.limit(), Duration::from_millis(500));
    assert_eq!(*timeouts.backend_request, Some(Duration::from_secs(5)));
}

#[test]
fn defaults_reach_inbound_with_their_timeouts_and_not_with_their_retries() {
    let defaults = format!("{DEFAULTS}timeouts: {{request: 3s}}\nretry: {{attempts: 3, on: [5xx]}}\n");
    let inbound = format!("{INBOUND_ROUTE}    retry: {{attempts: 2}}\n");
    let config = config(&[SIDECAR, &inbound, &defaults]);
    let port = &config.sidecar.inbound[0].policy;
    assert_eq!(*port.timeouts.request, RequestTimeout::Whole(Duration::from_secs(3)));
    assert_eq!(*port.retry.attempts, 0);
    assert_eq!(*port.retry.on, defaults::RETRY_ON);
    assert_eq!(*config.routes[0].rules[0].policy.retry.attempts, 2, "an inbound rule may ask for retries");
}

#[test]
fn budgets_limits_and_balancers_follow_the_same_order() {
    let defaults = format!(
        "{DEFAULTS}retryBudget: {{percent: 10%, minRate: 1/s}}\nlimits: {{maxPending: 7}}\nloadBalancer: {{policy: least-request}}\n"
    );
    let upstream = format!("{UPSTREAM}retryBudget: {{percent: 5%}}\nlimits: {{maxIdle: 3}}\n");
    let second = UPSTREAM.replace("market-data", "archive") + "loadBalancer: {policy: round-robin}\n";
    let config = config(&[SIDECAR, &upstream, &second, &defaults]);
    let first = &config.upstreams[0];
    assert!((first.retry_budget.percent - 0.05).abs() < f64::EPSILON);
    assert!((first.retry_budget.min_rate - 1.0).abs() < f64::EPSILON);
    assert_eq!(first.retry_budget.interval, defaults::BUDGET_INTERVAL);
    assert_eq!((first.limits.max_pending, first.limits.max_idle), (7, 3));
    assert_eq!(first.load_balancer, LoadBalancer::LeastRequest);
    assert_eq!(config.upstreams[1].load_balancer, LoadBalancer::RoundRobin);
}

#[test]
fn every_default_can_be_written_and_means_the_same() {
    let written = describe(&config(&[include_str!("../examples/sidecar.yaml")]));
    let unwritten = describe(&config(&[SIDECAR]));
    assert_eq!(written["sidecar"], unwritten["sidecar"]);
}

#[test]
fn the_description_names_the_origin_of_each_policy_value() {
    let route = format!("{ROUTE}    timeouts: {{request: 5s}}\n");
    let described = describe(&config(&[SIDECAR, UPSTREAM, &route]));
    let timeouts = &described["routes"][0]["rules"][0]["backendRefs"][0]["policy"]["timeouts"];
    assert_eq!(timeouts["request"]["value"], "5s");
    assert_eq!(timeouts["request"]["origin"], "rule, policy.yaml:18:25");
    assert_eq!(timeouts["request"]["covers"], "exchange");
    assert_eq!(timeouts["connect"]["value"], "1s");
    assert_eq!(timeouts["connect"]["origin"], "built-in default");
    assert_eq!(described["upstreams"][0]["policy"]["timeouts"]["request"]["covers"], "head");
}
