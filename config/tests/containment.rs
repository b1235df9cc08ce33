//! What can be written of health, ejection, breakers, limits and caches, and what does it mean?

mod documents;

use std::time::Duration;

use documents::{DEFAULTS, SIDECAR, UPSTREAM, config, read};
use outrigger_config::describe;
use outrigger_config::model::{Mode, Probe, Upstream};

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
