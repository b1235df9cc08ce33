//! What does the next generation take over from the last?

use std::io;

use outrigger_config::Source;

use super::*;
use crate::clock::now;

const POLICY: &str = "
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
outbound: {}
---
{apiVersion: outrigger/v1, kind: Upstream, name: asked, discovery: {dns: asked.internal, port: 80}}
---
{apiVersion: outrigger/v1, kind: Upstream, name: written, discovery: {static: [10.0.0.1:80, 10.0.0.2:80]}}
";

fn config(text: &str) -> Config {
    outrigger_config::parse(&[Source { name: "a.yaml".to_owned(), text: text.to_owned() }]).unwrap()
}

/// Two generations, the second with every occurrence of a text replaced; what happens to the first in between.
fn generations(from: &str, to: &str, meanwhile: impl FnOnce(&Snapshot)) -> [Snapshot; 2] {
    let metrics = Metrics::new(1, 1000);
    let (log, _) = LineSink::spawn(Box::new(io::sink()), metrics.access_log_dropped()).unwrap();
    let first = build(config(POLICY), None, None, &metrics, &log, now()).unwrap();
    meanwhile(&first);
    let second = build(config(&POLICY.replace(from, to)), Some(&first), None, &metrics, &log, now()).unwrap();
    [first, second]
}

/// The endpoints' ids of each upstream of both.
fn ids(from: &str, to: &str) -> [Vec<Vec<u64>>; 2] {
    let answered = |first: &Snapshot| first.upstreams[0].publish(&["10.0.1.1:80".parse().unwrap()], now());
    let ids = |upstream: &Arc<Upstream>| upstream.roster().endpoints.iter().map(|found| found.id).collect();
    generations(from, to, answered).map(|snapshot| snapshot.upstreams.iter().map(ids).collect())
}

#[test]
fn a_changed_policy_of_an_upstream_keeps_its_endpoints() {
    let [old, new] = ids("discovery:", "retryBudget: {percent: 10%}, discovery:");
    assert_eq!(old, new);
}

#[test]
fn lb_11_patience_with_a_resolver_may_change_while_it_fails() {
    let [old, new] = ids("port: 80}", "port: 80, staleFor: 1m}");
    assert_eq!((old[0].len(), &old), (1, &new));
}

#[test]
fn a_changed_list_keeps_the_endpoints_that_stay() {
    let [old, new] = ids("10.0.0.1:80", "10.0.0.3:80");
    assert_eq!(old[0], new[0]);
    assert_ne!(old[1][0], new[1][0]);
    assert_eq!(old[1][1], new[1][1]);
}

#[test]
fn rt_5_a_budget_begins_anew_only_where_it_is_changed_itself() {
    let earned = |first: &Snapshot| first.upstreams[1].deposit(100, now());
    for (settings, stays) in [("limits: {maxPending: 7}", true), ("retryBudget: {percent: 25%}", false)] {
        let [old, new] = generations("discovery:", &format!("{settings}, discovery:"), earned);
        assert_eq!(new.upstreams[1].balance(now()) >= 20, stays, "{settings}");
        old.upstreams[1].deposit(100, now());
        assert_eq!(new.upstreams[1].balance(now()) >= 40, stays, "who is under way still earns: {settings}");
    }
}

#[test]
fn another_name_has_other_endpoints() {
    let [_, new] = ids("asked.internal", "other.internal");
    assert!(new[0].is_empty(), "nobody has been asked yet");
}
