//! What goes wrong on purpose, and who gets to see it? Faults below retries and fallbacks, with a cap and a switch.

use std::time::{Duration, Instant};

use super::{route, up};
use crate::support::caller::{Caller, timed};
use crate::support::draft::{answer, ask, get, head};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, upstream};

const MS: fn(u64) -> Duration = Duration::from_millis;
const REASON: &str = "x-outrigger-reason";

fn fault(inject: &str) -> String {
    format!("fault: {{seed: 7, duration: 5m, inject: [{inject}]}}")
}

/// A sidecar with this fault before an upstream that answers all.
fn rig(inject: &str) -> (Origin, Rig) {
    let origin = Origin::start(|_, _| Reply::Answer(head(200).with_body("0123456789")));
    let rig = Rig::start(&[up(origin.addr, ""), route(&fault(inject))]);
    (origin, rig)
}

#[test]
fn ch_1_an_attempt_ends_without_its_endpoint() {
    let ends = [
        ("abort: 503", "abort", 503, "fault-injected"),
        ("abort: 429", "abort", 429, "fault-injected"),
        ("reset: true", "reset", 502, "upstream-reset"),
        ("sever: true", "sever", 502, "connect-unreachable"),
    ];
    for (inject, kind, status, cause) in ends {
        let (origin, rig) = rig(&format!("{{percent: 100%, {inject}}}"));
        let said = rig.caller().send(&get("up")).unwrap();
        assert_eq!((said.status(), origin.connections()), (status, 0), "{inject}");
        let reason = format!("{cause}; route=prices; policy=rule-0; injected");
        assert_eq!(said.field(REASON), Some(&*reason));
        rig.counts("faults_injected_total", &[("route", "prices"), ("kind", kind), ("mode", "enforce")], 1);
        rig.counts("requests_total", &[("flag", "FI")], 1);
    }
}

#[test]
fn ch_1_an_attempt_is_held_up() {
    let (_origin, rig) = rig("{percent: 100%, delay: 80ms}");
    let (said, took) = timed(|| rig.caller().send(&get("up")).unwrap());
    assert!(said.status() == 200 && took >= MS(80), "{took:?}");
    rig.counts("requests_total", &[("code", "200"), ("flag", "DI")], 1);
}

#[test]
fn ch_1_a_delay_counts_against_the_clock_of_its_attempt() {
    let origin = Origin::always(200);
    let rule = format!("timeouts: {{responseHeaders: 60ms}}\n{}", fault("{percent: 100%, delay: 20s}"));
    let rig = Rig::start(&[up(origin.addr, ""), route(&rule)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), said.reason(), origin.count()), (504, "attempt-timeout", 0));
}

#[test]
fn ch_1_content_breaks_off() {
    let (_origin, rig) = rig("{percent: 100%, partialBody: 4B}");
    let mut peer = Peer::connect(rig.outbound);
    peer.send(get("up").octets());
    assert_eq!(peer.head().field("content-length"), Some("10"));
    let (rest, end) = peer.rest();
    assert_eq!(&*rest, b"0123");
    assert_ne!(end, End::Open);
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "reset-in-body")], 1);
    rig.counts("requests_total", &[("flag", "FI")], 1);
}

#[test]
fn ch_1_content_comes_slowly_and_whole() {
    let (_origin, rig) = rig("{percent: 100%, throttle: 100B}");
    let mut caller = rig.caller();
    let (said, took) = timed(|| caller.send(&get("up")).unwrap());
    assert_eq!(&*said.body, b"0123456789");
    assert!(took >= MS(90), "{took:?}");
    assert_eq!(&*caller.send(&get("up")).unwrap().body, b"0123456789", "the connection goes on");
}

#[test]
fn ch_1_the_same_seed_faults_the_same_requests_and_only_those_that_match() {
    let faulted = || {
        let origin = Origin::always(200);
        let rule = format!(
            "matches: [{{headers: [{{name: x-try, value: 'yes'}}]}}]\n{}",
            fault("{percent: 50%, abort: 503}")
        );
        let rig = Rig::start(&[up(origin.addr, ""), route(&rule)]);
        let mut caller = rig.caller();
        assert_eq!(caller.send(&get("up")).unwrap().status(), 200, "another route's");
        (0..40).map(|_| caller.send(&get("up").with("x-try", "yes")).unwrap().status()).collect::<Vec<_>>()
    };
    let first = faulted();
    assert_eq!(first, faulted());
    assert!(first.contains(&200) && first.contains(&503), "{first:?}");
}

#[test]
fn ch_1_no_more_than_the_cap_are_at_work() {
    let origin = Origin::always(200);
    let rule = "fault: {duration: 5m, maxActive: 1, inject: [{percent: 100%, delay: 10s}]}\ntimeouts: {request: 300ms}";
    let rig = Rig::start(&[up(origin.addr, ""), route(rule)]);
    let mut first = rig.caller();
    first.begin(&get("up")).unwrap();
    rig.counts("faults_injected_total", &[("kind", "delay")], 1);
    assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 200);
    rig.counts("limit_exceeded_total", &[("limit", "faults")], 1);
    assert_eq!(first.finish().unwrap().status(), 504);
}

#[test]
fn ch_1_a_dry_run_tells_and_does_nothing() {
    let rule = "fault: {mode: dryRun, duration: 5m, inject: [{percent: 100%, abort: 503}]}";
    let rig = Rig::start(&[up(Origin::always(200).addr, ""), route(rule)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), said.field(REASON)), (200, None));
    rig.counts("faults_injected_total", &[("kind", "abort"), ("mode", "dry_run")], 1);
    rig.counts("requests_total", &[("code", "200"), ("flag", "-")], 1);
}

#[test]
fn ch_2_hidden_endpoints_get_nothing() {
    let origins = [(); 3].map(|()| Origin::always(200));
    let addrs = [0, 1, 2].map(|nth: usize| origins[nth].addr);
    let documents = |rule: &str| [upstream("up", &addrs, "loadBalancer: {policy: round-robin}"), route(rule)];
    let rig = Rig::start(&documents(&fault("{hideEndpoints: 2}")));
    let mut caller = rig.caller();
    (0..9).for_each(|_| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    let mut counts = [0, 1, 2].map(|nth: usize| origins[nth].count());
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 9]);
    rig.reload(&documents(&fault("{hideEndpoints: 3}")));
    let said = caller.send(&get("up")).unwrap();
    assert_eq!((said.status(), said.reason()), (503, "no-endpoint"));
}

#[test]
fn ch_2_one_switch_ends_all_at_once() {
    let (origin, rig) = rig("{percent: 100%, delay: 1m}");
    let mut caller = rig.caller();
    caller.begin(&get("up")).unwrap();
    rig.counts("faults_injected_total", &[("kind", "delay")], 1);
    let asked = Instant::now();
    let said = Caller::of(rig.control).send(&ask("POST", "/faults/end", "admin")).unwrap();
    assert_eq!(said.status(), 200);
    assert_eq!(caller.finish().unwrap().status(), 200);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
    rig.reload(&[up(origin.addr, "limits: {maxPending: 7}"), route(&fault("{percent: 100%, delay: 1m}"))]);
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200, "an ended experiment stays so");
    assert_eq!(rig.metric("faults_injected_total", &[]), 1);
}

#[test]
fn ch_2_a_policy_without_them_ends_them_too() {
    let (origin, rig) = rig("{percent: 100%, delay: 1m}");
    let mut caller = rig.caller();
    caller.begin(&get("up")).unwrap();
    rig.counts("faults_injected_total", &[("kind", "delay")], 1);
    rig.reload(&[up(origin.addr, ""), route("")]);
    assert_eq!(caller.finish().unwrap().status(), 200);
}

/// Half of the attempts fail and three are made: an eighth of the requests does. Above retries, half of them would.
#[test]
fn ch_3_retries_see_the_faults() {
    let origin = Origin::always(200);
    let rule = format!(
        "retry: {{on: [5xx], attempts: 2, backoff: {{base: 1ms, max: 1ms}}}}\n{}",
        fault("{percent: 50%, abort: 503}")
    );
    let settings = "retryBudget: {percent: 100%, minRate: 1000/s}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], settings), route(&rule)]);
    let mut caller = rig.caller();
    let failed = (0..200).filter(|_| caller.send(&get("up")).unwrap().status() == 503).count();
    assert!((15..=37).contains(&failed), "{failed} of 200");
    assert_eq!(origin.count(), 200 - failed);
    assert!(rig.metric("retries_total", &[("upstream", "up"), ("cause", "5xx")]) > 100);
}

#[test]
fn ch_3_fallbacks_see_the_faults_and_are_spared_them() {
    let (a, b) = (Origin::always(200), Origin::start(|_, _| Reply::Answer(answer(203))));
    let inject = fault("{percent: 100%, reset: true}");
    let rule = format!("fallback: [{{on: [reset], backendRef: {{name: other}}}}]\n{inject}");
    let rig = Rig::start(&[up(a.addr, ""), upstream("other", &[b.addr], ""), route(&rule)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), a.count(), b.count()), (203, 0, 1));
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "reset")], 1);
}
