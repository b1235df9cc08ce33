//! Is each alert tested, and is somebody who is woken by it told what to do?

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{found, passes, read};

pub const RULES: &str = "prometheus/outrigger.rules.yaml";
const TESTS: &str = "prometheus/outrigger.rules.test.yaml";
pub const RUNBOOKS: &str = "prometheus/RUNBOOKS.md";
const CONFIG: &str = "prometheus/prometheus.yaml";
const PACKAGE: &str = "Debian's `prometheus`";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule that records or alerts.
#[derive(Deserialize)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    alert_rule_test: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    alertname: String,
    exp_alerts: Vec<serde_json::Value>,
}

/// All that is shipped.
pub fn rules() -> Vec<Rule> {
    let Rules { groups } = serde_saphyr::from_str(&read(RULES)).unwrap();
    groups.into_iter().flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<(String, Rule)> {
    rules().into_iter().filter_map(|mut rule| Some((rule.alert.take()?, rule))).collect()
}

#[test]
fn ob_4_prometheus_takes_the_rules_and_its_own_tests_of_them_pass() {
    for words in [&["check", "rules", RULES], &["test", "rules", TESTS], &["check", "config", CONFIG]] {
        if passes("promtool", PACKAGE, words, "").is_none() {
            return;
        }
    }
}

#[test]
fn ob_4_every_alert_is_shown_to_fire_and_not_to() {
    let Tests { tests } = serde_saphyr::from_str(&read(TESTS)).unwrap();
    let expected: Vec<_> = tests.iter().flat_map(|case| &case.alert_rule_test).collect();
    for (alert, _) in alerts() {
        let of_it = expected.iter().filter(|expected| expected.alertname == alert);
        let silences: BTreeSet<_> = of_it.map(|expected| expected.exp_alerts.is_empty()).collect();
        assert_eq!(silences.len(), 2, "{alert} is not shown to fire and not to");
    }
}

#[test]
fn ob_4_every_alert_has_a_runbook_and_no_runbook_is_of_none() {
    let runbooks = read(RUNBOOKS);
    let sections: BTreeMap<&str, &str> =
        runbooks.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let mut known = BTreeSet::new();
    for (alert, rule) in alerts() {
        let text = sections.get(&*alert).unwrap_or_else(|| panic!("{alert} has no runbook"));
        assert!(text.trim().len() > 200, "the runbook of {alert} helps nobody");
        assert_eq!(rule.annotations["runbook_url"], format!("RUNBOOKS.md#{}", alert.to_lowercase()));
        assert!(matches!(&*rule.labels["severity"], "critical" | "warning"), "{alert}");
        assert!(rule.annotations.contains_key("description"), "{alert}");
        for label in found(r"\$labels\.(\w+)", &rule.annotations["summary"]) {
            let by = found(r"by \(([^)]*)\)", &rule.expr).concat();
            let recorded = rule.expr.contains("outrigger:");
            assert!(recorded || by.contains(label), "{alert} tells of {label}, which its sum has lost");
        }
        assert!(known.insert(alert), "an alert is named twice");
    }
    let of_none: Vec<_> = sections.keys().filter(|name| !known.contains(**name)).collect();
    assert!(of_none.is_empty(), "runbooks of no alert: {of_none:?}");
}
