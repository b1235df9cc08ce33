//! Do the alert rules that we ship speak of what a sidecar shows? Every metric and label of theirs, in a real scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;
use serde::Deserialize;

use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, eventually, upstream};

/// What Prometheus itself puts on every series.
const ITS_OWN: &str = "instance";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// What the first group of a pattern finds.
fn found<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// A sidecar that has seen what the rules tell of: a breaker has opened, an endpoint was ejected.
fn scrape() -> String {
    let bad = Origin::always(503);
    let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 30s, max: 30s}}";
    let ejects = "loadBalancer: {policy: round-robin}\noutlierDetection: {consecutiveFailures: 2, baseEjectionTime: 30s}";
    let rig = Rig::start(&[
        upstream("breaks", &[bad.addr], breaker),
        upstream("ejects", &[bad.addr, Origin::always(200).addr], ejects),
    ]);
    for _ in 0..20 {
        for name in ["breaks", "ejects"] {
            rig.caller().send(&get(name)).unwrap();
        }
    }
    eventually("the state of both", || {
        let seen = ["outrigger_breaker_transitions_total{", "outrigger_endpoint_ejections_total{"];
        let scrape = rig.scrape();
        seen.iter().all(|family| scrape.contains(family)).then_some(scrape)
    })
}

#[test]
fn cb_7_lb_13_the_rules_that_are_shipped_speak_of_what_there_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/outrigger.rules.yaml");
    let text = fs::read_to_string(file).unwrap();
    let Rules { groups } = serde_saphyr::from_str(&text).unwrap();
    let (rules, scrape) = (groups.into_iter().flat_map(|group| group.rules), scrape());
    let mut alerts = BTreeSet::new();
    for Rule { alert, expr, labels, annotations } in rules {
        let metrics = found(r"(outrigger_\w+)", &expr);
        assert!(!metrics.is_empty(), "{alert} asks for nothing");
        let matchers = found(r#"(\w+="[^"]*")"#, &expr);
        let of_metric =
            |line: &&str| metrics.iter().any(|metric| line.split(['{', ' ']).next() == Some(metric));
        let fits = |line: &&str| matchers.iter().all(|matcher| line.contains(matcher));
        let series: Vec<_> = scrape.lines().filter(of_metric).filter(fits).collect();
        assert!(!series.is_empty(), "{alert}: no series is {metrics:?} with {matchers:?}");
        let by: Vec<_> = found(r"by \(([^)]*)\)", &expr).iter().flat_map(|by| by.split(", ")).collect();
        for label in by.iter().filter(|label| **label != ITS_OWN) {
            assert!(
                series.iter().any(|line| line.contains(&format!("{label}=\""))),
                "{alert}: no label {label}"
            );
        }
        for label in found(r"\$labels\.(\w+)", &annotations["summary"]) {
            assert!(by.contains(&label), "{alert} tells of {label}, which its sum has lost");
        }
        assert!(
            annotations["runbook"].len() > 100 && labels.contains_key("severity"),
            "{alert} helps nobody"
        );
        // Whoever is sent to a metric by a runbook finds it.
        for metric in found(r"(outrigger_\w+)", &annotations["runbook"]) {
            assert!(scrape.contains(&format!("# TYPE {metric} ")), "{alert}: there is no {metric}");
        }
        assert!(alerts.insert(alert), "an alert is named twice");
    }
    assert_eq!(alerts.len(), 4);
}
