//! What can be written of health, ejection, breakers, pacing, limits and caches, and what does it mean?

mod documents;

use std::num::NonZeroU32;
use std::time::Duration;

use documents::{DEFAULTS, SIDECAR, UPSTREAM, config, read};
use outrigger_config::model::priority::Shares;
use outrigger_config::model::{BreakerScope, HashOn, LoadBalancer, Locality, Mode, Probe, Upstream};
use outrigger_config::{defaults, describe};

/// The upstream, with these lines in its document and in `Defaults`.
fn upstream(own: &str, defaults: &str) -> Upstream {
    let documents = [SIDECAR, &format!("{UPSTREAM}{own}\n"), &format!("{DEFAULTS}{defaults}\n")];
    config(&documents).upstreams[0].clone()
}

/// What is wrong with such an upstream.
fn fault(own: &str, defaults: &str) -> String {
    let documents = [SIDECAR, &format!("{UPSTREAM}{own}\n"), &format!("{DEFAULTS}{defaults}\n")];
    let errors = read(&documents).expect_err(own);
    assert_eq!(errors.count(), 1, "{errors}");
    errors.to_string()
}

#[test]
fn lb_3_checks_need_a_probe_and_nothing_else() {
    assert_eq!(upstream("", "").health_check.value, None);
    let check = upstream("healthCheck: {http: /ping}", "").health_check.value.expect("a check");
    assert_eq!(check.probe, Probe::Http { path: "/ping".to_owned(), readiness: None });
    assert_eq!((check.mode, check.thresholds.interval), (Mode::Enforce, Duration::from_secs(2)));
    assert_eq!((check.thresholds.unhealthy_after.get(), check.thresholds.healthy_after.get()), (3, 2));
    assert!(fault("healthCheck: {interval: 1s}", "").contains("missing `http`, `tcp` or `grpc`"));
    assert_eq!(upstream("healthCheck: {mode: off}", "").health_check.value, None);
}

#[test]
fn defaults_may_leave_to_each_upstream_what_is_asked() {
    let thresholds = "healthCheck: {interval: 9s, readiness: /ready}";
    assert_eq!(upstream("", thresholds).health_check.value, None, "nobody says what to ask");
    let check = upstream("healthCheck: {tcp: true}", thresholds).health_check;
    assert_eq!(check.origin.to_string(), "Upstream, policy.yaml:11:14");
    let check = check.value.expect("a check");
    assert_eq!(check.probe, Probe::Tcp { readiness: Some("/ready".to_owned()) });
    assert_eq!(check.thresholds.interval, Duration::from_secs(9));
    let everywhere = "healthCheck: {http: /ping}";
    assert_eq!(upstream("", everywhere).health_check.origin.to_string(), "Defaults, policy.yaml:16:14");
    assert_eq!(upstream("healthCheck: {mode: off}", everywhere).health_check.value, None);
    let grpc = upstream("healthCheck: {grpc: \"\"}", "healthCheck: {http: /ping, readiness: /ready}");
    assert_eq!(grpc.health_check.value.expect("a check").probe, Probe::Grpc { service: String::new() });
}

#[test]
fn cf_8_an_empty_policy_gives_passive_health_that_never_ejects_everyone() {
    let empty = upstream("", "").outlier_detection;
    assert_eq!(
        (empty.value, empty.origin.to_string().as_str()),
        (Some(defaults::OUTLIER_DETECTION), "built-in default")
    );
    let outliers = defaults::OUTLIER_DETECTION.policy;
    assert_eq!((outliers.consecutive_failures.get(), outliers.max_ejection_percent), (7, 0.5));
    assert!(config(&[SIDECAR]).sidecar.inbound[0].application().outlier_detection.value.is_none());
}

#[test]
fn lb_6_a_maximum_of_all_or_nobody_is_refused() {
    for (percent, reason) in [("100%", "let everyone be ejected"), ("0%", "`mode: off` says so")] {
        let block = format!("outlierDetection: {{maxEjectionPercent: {percent}}}");
        assert!(fault(&block, "").contains(reason));
        assert!(fault("", &block).contains(reason));
    }
    let most = upstream("outlierDetection: {maxEjectionPercent: 99.999%}", "").outlier_detection.value;
    assert!(most.expect("on").max_ejection_percent < 1.0);
}

#[test]
fn ejection_follows_the_usual_order_value_by_value() {
    let defaults = "outlierDetection: {mode: dryRun, consecutiveFailures: 3, maxEjectionTime: 10s}";
    let outliers = upstream("outlierDetection: {consecutiveFailures: 4}", defaults).outlier_detection;
    assert_eq!(outliers.origin.to_string(), "Upstream, policy.yaml:11:19");
    let outliers = outliers.value.expect("on");
    assert_eq!((outliers.mode, outliers.consecutive_failures.get()), (Mode::DryRun, 4));
    assert_eq!(outliers.max_ejection_time, Duration::from_secs(10));
    assert_eq!(upstream("outlierDetection: {mode: off}", defaults).outlier_detection.value, None);
    let longer = fault("outlierDetection: {baseEjectionTime: 11s}", defaults);
    assert!(longer.contains("`baseEjectionTime` (11s) is longer than `maxEjectionTime` (10s)"), "{longer}");
}

#[test]
fn cb_1_a_breaker_has_a_threshold_or_is_none() {
    assert_eq!(upstream("", "").circuit_breaker.value, None);
    let breaker = |own: &str| upstream(own, "").circuit_breaker.value.expect("a breaker");
    let by_rate = breaker("circuitBreaker: {failureRate: 50%}");
    assert_eq!((by_rate.thresholds.failure_rate, by_rate.thresholds.consecutive), (Some(0.5), None));
    assert_eq!((by_rate.thresholds.window, by_rate.thresholds.min_requests), (Duration::from_secs(10), 20));
    assert_eq!(by_rate.scope, BreakerScope::Upstream);
    let by_count = breaker("circuitBreaker: {mode: dryRun, scope: both, consecutive: 7}");
    assert_eq!((by_count.thresholds.failure_rate, by_count.mode), (None, Mode::DryRun));
    assert_eq!(by_count.thresholds.consecutive.map(NonZeroU32::get), Some(7));
    assert!(by_count.scope.of_endpoints() && by_count.scope.of_upstream());
    assert!(fault("circuitBreaker: {}", "").contains("missing `failureRate` or `consecutive`"));
    assert!(fault("circuitBreaker: {failureRate: 0%}", "").contains("without a failure"));
    assert!(
        fault("circuitBreaker: {consecutive: 7, window: 1s}", "").contains("`window` without `failureRate`")
    );
}

#[test]
fn bp_2_pacing_is_on_where_it_is_written() {
    assert_eq!(upstream("", "").pacing.value, None);
    let pacing = upstream("pacing: {}", "").pacing.value.expect("on");
    assert_eq!((pacing.mode, pacing.max_wait), (Mode::Enforce, Duration::from_millis(500)));
    let of_all = "pacing: {mode: dryRun, maxWait: 2s}";
    let pacing = upstream("pacing: {maxWait: 1s}", of_all).pacing;
    assert_eq!(pacing.origin.to_string(), "Upstream, policy.yaml:11:9");
    let pacing = pacing.value.expect("on");
    assert_eq!((pacing.mode, pacing.max_wait), (Mode::DryRun, Duration::from_secs(1)));
    assert_eq!(upstream("pacing: {mode: off}", of_all).pacing.value, None);
    let described = describe(&config(&[SIDECAR, &format!("{UPSTREAM}{of_all}\n")]));
    let pacing = &described["upstreams"][0]["pacing"]["value"];
    assert_eq!((&pacing["mode"], &pacing["maxWait"]), (&"dryRun".into(), &"2s".into()));
}

#[test]
fn defaults_may_leave_to_each_upstream_when_a_breaker_opens() {
    let closing = "circuitBreaker: {window: 30s, trialRequests: 3, backoff: {base: 2s, max: 4s}}";
    assert_eq!(upstream("", closing).circuit_breaker.value, None, "no threshold");
    let breaker = upstream("circuitBreaker: {failureRate: 20%}", closing).circuit_breaker.value;
    let thresholds = breaker.expect("a breaker").thresholds;
    assert_eq!((thresholds.window, thresholds.trial_requests.get()), (Duration::from_secs(30), 3));
    assert_eq!(thresholds.backoff.max, Duration::from_secs(4));
    let everywhere = "circuitBreaker: {consecutive: 9}";
    assert!(upstream("", everywhere).circuit_breaker.value.is_some());
    assert!(upstream("circuitBreaker: {}", everywhere).circuit_breaker.value.is_some());
    assert_eq!(upstream("circuitBreaker: {mode: off}", everywhere).circuit_breaker.value, None);
}

#[test]
fn bh_2_limits_are_bounded_unless_written_and_follow_the_usual_order() {
    let built_in = upstream("", "").limits;
    assert_eq!((built_in.max_connections, built_in.max_requests), (None, Some(1024)));
    assert_eq!((built_in.queue().capacity, built_in.queue().timeout), (1024, Duration::from_secs(1)));
    assert_eq!((built_in.adaptive, built_in.shares), (None, Shares { default: 1.0, sheddable: 1.0 }));
    let limits = upstream(
        "limits: {maxConnections: 9, queueTimeout: 5ms}",
        "limits: {maxRequests: 7, maxConnections: 8, maxPending: 6}",
    );
    let limits = limits.limits;
    assert_eq!((limits.max_connections, limits.max_requests), (Some(9), Some(7)));
    assert_eq!((limits.queue().capacity, limits.queue().timeout), (6, Duration::from_millis(5)));
}

#[test]
fn bh_4_what_is_worth_less_may_fill_no_more() {
    let shares = |own: &str, defaults: &str| upstream(own, defaults).limits.shares;
    let own = shares("limits: {shares: {default: 80%}}", "");
    assert_eq!(own, Shares { default: 0.8, sheddable: 0.8 });
    let both = shares("limits: {shares: {default: 80%}}", "limits: {shares: {default: 60%, sheddable: 50%}}");
    assert_eq!(both, Shares { default: 0.8, sheddable: 0.5 });
    let more = fault("limits: {shares: {default: 40%}}", "limits: {shares: {sheddable: 50%}}");
    assert!(more.contains("`sheddable` (50%) may fill more than `default` (40%)"), "{more}");
}

#[test]
fn bp_4_an_adaptive_limit_stays_within_what_may_be_in_flight() {
    let adaptive = |own: &str, defaults: &str| upstream(own, defaults).limits.adaptive;
    let built_in = adaptive("limits: {adaptive: {}}", "").expect("on");
    assert_eq!((built_in.mode, built_in.min, built_in.max), (Mode::Enforce, 3, 1024));
    let layered =
        adaptive("limits: {maxRequests: 90, adaptive: {min: 5}}", "limits: {adaptive: {mode: dryRun}}");
    assert_eq!(layered.map(|a| (a.mode, a.min, a.max)), Some((Mode::DryRun, 5, 90)));
    assert_eq!(adaptive("limits: {maxRequests: 2, adaptive: {}}", "").map(|a| a.min), Some(2));
    assert_eq!(adaptive("limits: {adaptive: {mode: off}}", "limits: {adaptive: {}}"), None);
    assert!(fault("limits: {adaptive: {max: 2000}}", "").contains("more than `maxRequests` (1024)"));
    assert!(fault("limits: {adaptive: {min: 9, max: 8}}", "").contains("`min` (9) is more than `max` (8)"));
}

#[test]
fn lb_10_a_key_and_a_ring_need_each_other() {
    let chosen = |own: &str, defaults: &str| {
        let upstream = upstream(own, defaults);
        (upstream.load_balancer, upstream.balancing.hash_on)
    };
    assert_eq!(chosen("", ""), (LoadBalancer::PeakEwma, None));
    let by_user = Some(HashOn::Header("x-user-id".parse().expect("a name")));
    let ring = "loadBalancer: {policy: ring-hash, hashOn: \"header:x-user-id\"}";
    assert_eq!(chosen(ring, ""), (LoadBalancer::PeakEwma, by_user.clone()));
    assert_eq!(chosen("loadBalancer: {slowStart: 1s}", ring), (LoadBalancer::PeakEwma, by_user));
    assert_eq!(chosen("loadBalancer: {policy: round-robin}", ring), (LoadBalancer::RoundRobin, None));
    assert_eq!(chosen("loadBalancer: {hashOn: source}", ring).1, Some(HashOn::Source));
    assert!(fault("loadBalancer: {policy: ring-hash}", "").contains("`ring-hash` without `hashOn`"));
    assert!(fault("loadBalancer: {hashOn: source}", "").contains("`hashOn` without `ring-hash`"));
}

#[test]
fn lb_6_lb_8_panic_and_slow_start_are_off_unless_written() {
    let built_in = upstream("", "").balancing;
    assert_eq!((built_in.panic_threshold, built_in.slow_start), (0.0, Duration::ZERO));
    let written = upstream("loadBalancer: {panicThreshold: 30%}", "loadBalancer: {slowStart: 30s}").balancing;
    assert_eq!((written.panic_threshold, written.slow_start), (0.3, Duration::from_secs(30)));
}

#[test]
fn lb_9_the_smallest_network_around_an_address_says_where_it_is() {
    let sidecar = format!("{SIDECAR}locality: eu/a\n");
    let places = "loadBalancer: {localities: [{locality: eu/a, addresses: [10.0.0.0/8, \"2001:db8::/32\"]}, \
                  {locality: eu/b, addresses: [10.0.1.0/24]}, {locality: us, addresses: [10.0.1.7]}]}";
    let upstream = format!("{UPSTREAM}{places}\n");
    let config = config(&[&sidecar, &upstream]);
    assert_eq!(config.sidecar.locality.as_ref().map(Locality::as_str), Some("eu/a"));
    let localities = &config.upstreams[0].balancing.localities;
    let of = |address: &str| localities.of(address.parse().expect("an address"));
    assert_eq!([of("10.9.9.9"), of("10.0.1.6"), of("10.0.1.7")], ["eu/a", "eu/b", "us"]);
    assert_eq!([of("11.0.0.1"), of("2001:db8::7"), of("2001:db9::7")], ["", "eu/a", ""]);
    assert!(fault(places, "").contains("the Sidecar does not say where we are"));
}

#[test]
fn the_description_shows_each_block_with_its_mode() {
    let own = format!("{UPSTREAM}healthCheck: {{mode: dryRun, http: /ping, readiness: /ready}}\n");
    let described = describe(&config(&[SIDECAR, &own]))["upstreams"][0].clone();
    let expected = serde_json::json!({
        "origin": "Upstream, policy.yaml:11:14",
        "value": {
            "mode": "dryRun", "http": "/ping", "readiness": "/ready", "interval": "2s", "timeout": "1s",
            "unhealthyAfter": 3, "healthyAfter": 2,
        },
    });
    assert_eq!(described["healthCheck"], expected);
    let described = describe(&config(&[SIDECAR, UPSTREAM]))["upstreams"][0].clone();
    let off = serde_json::json!({ "origin": "built-in default", "value": { "mode": "off" } });
    assert_eq!(described["healthCheck"], off);
}
