//! What can be written of health, ejection, breakers, limits and caches, and what does it mean?

mod documents;

use std::time::Duration;

use documents::{DEFAULTS, SIDECAR, UPSTREAM, config, read};
use outrigger_config::model::{Mode, Probe, Upstream};
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
