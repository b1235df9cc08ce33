//! Does a sidecar show what alerts, dashboard and runbooks speak of? Every metric and label of theirs, in a real scrape.

use std::collections::BTreeSet;

use super::alerts::{RUNBOOKS, rules};
use super::monitored::Mesh;
use super::{found, passes, read};

/// What Prometheus itself puts on every series, or a histogram on its buckets.
const ITS_OWN: [&str; 3] = ["job", "instance", "le"];

/// The expressions of the dashboard.
pub fn dashboard() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana/outrigger.json")).unwrap();
    assert_eq!(dashboard["uid"], "outrigger", "links and bookmarks go by it");
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// What these ask of a family, `{…}` included; `outrigger:…` are recorded by the rules themselves.
fn selectors(text: &str) -> Vec<(String, Option<String>)> {
    let pattern = regex::Regex::new(r"\b((?:outrigger|process)_\w+)(\{[^}]*\})?").unwrap();
    let owned = |found: regex::Match<'_>| found.as_str().to_owned();
    pattern.captures_iter(text).map(|one| (owned(one.get(1).unwrap()), one.get(2).map(owned))).collect()
}

fn rows<'s>(scrape: &'s str, family: &str) -> Vec<&'s str> {
    scrape.lines().filter(|line| line.split(['{', ' ']).next() == Some(family)).collect()
}

#[test]
fn cb_7_lb_13_ob_4_what_is_spoken_of_is_shown() {
    let mesh = Mesh::start();
    let exprs: Vec<String> = rules().into_iter().map(|rule| rule.expr).chain(dashboard()).collect();
    let asked: BTreeSet<_> = exprs.iter().chain([&read(RUNBOOKS)]).flat_map(|text| selectors(text)).collect();
    assert!(asked.len() > 50, "few are asked for: {asked:?}");
    let families: BTreeSet<&str> = asked.iter().map(|(family, _)| &**family).collect();
    let scrape = mesh.scrape_with(|scrape| {
        let shown = |family: &&&str| {
            !rows(scrape, family).is_empty() || scrape.contains(&format!("# TYPE {family} "))
        };
        families.iter().filter(|family| !shown(family)).map(|family| (*family).to_owned()).collect()
    });
    for (family, matchers) in &asked {
        let rows = rows(&scrape, family);
        for matcher in found(r#"(\w+\s*(?:=~|!~|!=|=)\s*"[^"]*")"#, matchers.as_deref().unwrap_or_default()) {
            let label = found(r"^(\w+)", matcher)[0];
            if ITS_OWN.contains(&label) {
                continue;
            }
            assert!(rows.iter().any(|row| row.contains(&format!("{label}=\""))), "{family} has no {label}");
            let exact = !matcher.contains('~') && !matcher.contains("!=");
            assert!(!exact || rows.iter().any(|row| row.contains(matcher)), "no {family} with {matcher}");
        }
    }
    let labels: BTreeSet<&str> = found(r#"[{,](\w+)=""#, &scrape).into_iter().chain(ITS_OWN).collect();
    for text in &exprs {
        for by in found(r"(?:by|on) \(([^)]*)\)", text).iter().flat_map(|by| by.split(", ")) {
            assert!(labels.contains(by), "nothing has the label {by}: {text}");
        }
    }
}

#[test]
fn ob_1_prometheus_own_check_finds_nothing_to_say_of_a_scrape() {
    let mesh = Mesh::start();
    for scrape in mesh.scrapes() {
        let said = passes("promtool", "Debian's `prometheus`", &["check", "metrics"], &scrape);
        assert!(said.is_none_or(|said| said.trim().is_empty()));
    }
}

#[test]
fn recorded_series_that_are_asked_for_are_recorded() {
    let recorded: BTreeSet<_> = rules().into_iter().filter_map(|rule| rule.record).collect();
    for text in rules().into_iter().map(|rule| rule.expr).chain(dashboard()) {
        for asked in found(r"\b(outrigger:[\w:]+)", &text) {
            assert!(recorded.contains(asked), "nobody records {asked}");
        }
    }
}
