//! When is an upstream asked no more, and how does it come back?

use std::thread;
use std::time::Duration;

use crate::support::caller::{Caller, timed};
use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};

/// Opens after three failures in a row, for longer than any test.
const THREE: &str = "circuitBreaker: {consecutive: 3, backoff: {base: 30s, max: 30s}}";

/// The statuses of so many requests in a row.
fn send(caller: &mut Caller, count: usize) -> Vec<u16> {
    (0..count).map(|_| caller.send(&get("up")).unwrap().status()).collect()
}

fn is_open(rig: &Rig) -> bool {
    rig.metric("breaker_state", &[("upstream", "up"), ("endpoint", "-")]) == 2
}

#[test]
fn cb_3_open_fails_fast() {
    let origin = Origin::always(503);
    let rig = Rig::start(&[upstream("up", &[origin.addr], THREE)]);
    let mut caller = rig.caller();
    send(&mut caller, 3);
    for _ in 0..20 {
        let refused = caller.send(&get("up")).unwrap();
        assert_eq!((refused.status(), refused.reason()), (503, "breaker-open"));
        let retry_after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=45).contains(&retry_after), "{retry_after}");
    }
    assert_eq!((origin.count(), caller.connections), (3, 1), "nobody is bothered, and the caller may stay");
    rig.counts("requests_total", &[("upstream", "up"), ("code", "503"), ("flag", "UO")], 20);
    rig.counts("breaker_refusals_total", &[("upstream", "up"), ("mode", "enforce")], 20);
    rig.counts("attempts_total", &[("upstream", "up")], 3);
}

/// What else the machine has to do makes an answer late and never early: of several rounds, the best one tells.
#[test]
fn cb_3_a_refusal_takes_less_than_two_milliseconds() {
    let origin = Origin::always(503);
    let rig = Rig::start(&[upstream("up", &[origin.addr], THREE)]);
    let mut caller = rig.caller();
    send(&mut caller, 3);
    let rounds = (0..50).map(|_| {
        let mut took = [(); 100].map(|()| timed(|| caller.send(&get("up")).unwrap()).1);
        took.sort();
        took[98]
    });
    let mut worst = Duration::ZERO;
    let holds = rounds.into_iter().any(|p99| {
        worst = worst.max(p99);
        p99 < Duration::from_millis(2)
    });
    assert!(holds, "the 99th of a hundred took up to {worst:?} in each of 50 rounds");
    assert_eq!(origin.count(), 3);
}

#[test]
fn cb_1_cb_2_opens_at_the_rate_and_not_before_enough_is_known() {
    let breaker = "circuitBreaker: {failureRate: 50%, minRequests: 10, backoff: {base: 30s, max: 30s}}";
    let origin = Origin::start(|nth, _| Reply::Answer(answer(if nth < 4 { 503 } else { 200 })));
    let rig = Rig::start(&[upstream("up", &[origin.addr], breaker)]);
    assert_eq!(send(&mut rig.caller(), 12)[4..], [200; 8], "four of four, and then four of ten");

    let origin = Origin::start(|nth, _| Reply::Answer(answer(if nth % 2 == 0 { 200 } else { 503 })));
    let rig = Rig::start(&[upstream("up", &[origin.addr], breaker)]);
    send(&mut rig.caller(), 9);
    assert!(!is_open(&rig), "four of nine");
    send(&mut rig.caller(), 3);
    assert!(is_open(&rig), "five of ten");
    assert_eq!(origin.count(), 10);
}

#[test]
fn cb_4_exactly_one_trial_closes_it() {
    let origin = Origin::start(|nth, _| match nth {
        0..3 => Reply::Answer(answer(503)),
        3 => Reply::Late(Duration::from_millis(300), answer(200)),
        _ => Reply::Answer(answer(200)),
    });
    let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 50ms, max: 50ms}}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], breaker)]);
    send(&mut rig.caller(), 3);
    thread::scope(|scope| {
        let trial = scope.spawn(|| {
            let mut caller = rig.caller();
            eventually("an answer", || (caller.send(&get("up")).unwrap().status() == 200).then_some(()));
        });
        eventually("the trial", || (origin.count() == 4).then_some(()));
        let refused = rig.caller().send(&get("up")).unwrap();
        assert_eq!((refused.reason(), origin.count()), ("breaker-open", 4), "while the trial is out");
        trial.join().unwrap();
    });
    assert_eq!(send(&mut rig.caller(), 5), [200; 5]);
    for (from, to, cause) in [
        ("closed", "open", "consecutive-failures"),
        ("open", "half-open", "penalty-served"),
        ("half-open", "closed", "trials-succeeded"),
    ] {
        let labels =
            [("from", from), ("to", to), ("cause", cause), ("scope", "upstream"), ("mode", "enforce")];
        rig.counts("breaker_transitions_total", &labels, 1);
    }
}

#[test]
fn cb_4_a_trial_that_fails_opens_it_again() {
    let origin = Origin::always(503);
    let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 50ms, max: 50ms}}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], breaker)]);
    let mut caller = rig.caller();
    send(&mut caller, 3);
    eventually("the trial", || {
        send(&mut caller, 1);
        (origin.count() == 4).then_some(())
    });
    rig.counts(
        "breaker_transitions_total",
        &[("from", "half-open"), ("to", "open"), ("cause", "trial-failed")],
        1,
    );
}

#[test]
fn cb_7_transitions_are_told() {
    let origin = Origin::always(503);
    let rig = Rig::start(&[upstream("up", &[origin.addr], THREE)]);
    assert_eq!(rig.metric("breaker_state", &[("upstream", "up"), ("endpoint", "-")]), 0);
    send(&mut rig.caller(), 3);
    assert!(is_open(&rig));
    let event = eventually("the event", || {
        let said = rig.complaints();
        said.lines().find(|line| line.contains("circuit breaker turned")).map(str::to_owned)
    });
    for word in [
        "upstream=up",
        "from=\"closed\"",
        "to=\"open\"",
        "cause=\"consecutive-failures\"",
        "mode=\"enforce\"",
    ] {
        assert!(event.contains(word), "{word} is missing: {event}");
    }
}

#[test]
fn cb_8_a_bad_replica_opens_alone() {
    let origins = [Origin::always(503), Origin::always(200)];
    let breaker = "circuitBreaker: {scope: both, consecutive: 5, backoff: {base: 30s, max: 30s}}\n\
                   outlierDetection: {mode: off}\nloadBalancer: {policy: round-robin}";
    let rig = Rig::start(&[upstream("up", &origins.each_ref().map(|origin| origin.addr), breaker)]);
    let statuses = send(&mut rig.caller(), 40);
    assert_eq!(statuses[10..], [200; 30]);
    assert_eq!(origins[0].count(), 5);
    let state = |endpoint: &str| rig.metric("breaker_state", &[("endpoint", endpoint)]);
    let [bad, good] = origins.each_ref().map(|origin| origin.addr.to_string());
    assert_eq!([state(&bad), state(&good), state("-")], [2, 0, 0]);
    rig.counts("breaker_transitions_total", &[("scope", "endpoint"), ("to", "open")], 1);
}

#[test]
fn cb_8_if_all_are_bad_the_upstream_opens() {
    let origins = [Origin::always(503), Origin::always(503)];
    let both = "circuitBreaker: {scope: both, consecutive: 5, backoff: {base: 30s, max: 30s}}\n\
                outlierDetection: {mode: off}";
    let rig = Rig::start(&[upstream("up", &origins.each_ref().map(|origin| origin.addr), both)]);
    send(&mut rig.caller(), 5);
    assert!(is_open(&rig));
    let each = both.replace("both", "endpoint");
    let rig = Rig::start(&[upstream("up", &origins.each_ref().map(|origin| origin.addr), &each)]);
    send(&mut rig.caller(), 10);
    assert_eq!(rig.caller().send(&get("up")).unwrap().reason(), "breaker-open", "nobody is left");
    assert_eq!(origins[0].count() + origins[1].count(), 15);
}

#[test]
fn cb_9_dry_run() {
    let origin = Origin::always(503);
    let rig = Rig::start(&[upstream(
        "up",
        &[origin.addr],
        &THREE.replace('{', "{mode: dryRun, ").replace("backoff: {mode: dryRun, ", "backoff: {"),
    )]);
    for _ in 0..10 {
        assert_eq!(rig.caller().send(&get("up")).unwrap().reason(), "", "the upstream's own answer");
    }
    assert_eq!(origin.count(), 10);
    rig.counts("breaker_transitions_total", &[("to", "open"), ("mode", "dry_run")], 1);
    rig.counts("breaker_refusals_total", &[("upstream", "up"), ("mode", "dry_run")], 7);
    rig.counts("breaker_refusals_total", &[("upstream", "up"), ("mode", "enforce")], 0);
}

#[test]
fn cb_9_other_thresholds_keep_what_is_known() {
    let origin = Origin::always(503);
    let with = |count: u32| {
        let breaker = format!("circuitBreaker: {{consecutive: {count}, backoff: {{base: 30s, max: 30s}}}}");
        [upstream("up", &[origin.addr], &breaker)]
    };
    let rig = Rig::start(&with(10));
    send(&mut rig.caller(), 3);
    rig.reload(&with(4));
    assert!(!is_open(&rig));
    send(&mut rig.caller(), 1);
    assert!(is_open(&rig), "the fourth in a row");
    rig.reload(&with(50));
    assert!(is_open(&rig), "a reload opens and closes nothing");
    assert_eq!(send(&mut rig.caller(), 2), [503; 2]);
    assert_eq!(origin.count(), 4);
}

#[test]
fn ec_1_ec_3_what_callers_did_opens_nothing() {
    for code in [404, 429] {
        let origin = Origin::always(code);
        let rig = Rig::start(&[upstream("up", &[origin.addr], THREE)]);
        assert_eq!(send(&mut rig.caller(), 50), [code; 50]);
        assert!(!is_open(&rig));
    }
}

#[test]
fn cb_3_a_retry_ends_where_the_breaker_opens() {
    let origin = Origin::always(503);
    let policy = format!("{THREE}\nretry: {{on: [5xx], attempts: 9, backoff: {{base: 1ms, max: 1ms}}}}");
    let rig = Rig::start(&[upstream("up", &[origin.addr], &policy)]);
    let answered = rig.caller().send(&get("up")).unwrap();
    assert_eq!(
        (answered.status(), answered.reason()),
        (503, "upstream-failure"),
        "the upstream's own answer"
    );
    assert_eq!(origin.count(), 3);
    rig.counts("retries_refused_total", &[("upstream", "up"), ("reason", "breaker-open")], 1);
}

#[test]
fn cb_1_an_answer_that_breaks_off_is_a_failure() {
    let origin = Origin::start(|_, _| {
        Reply::Act(Box::new(|stream| {
            std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        }))
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], THREE)]);
    for _ in 0..3 {
        assert!(rig.caller().send(&get("up")).is_err());
    }
    eventually("the breaker open", || is_open(&rig).then_some(()));
}

#[test]
fn cb_4_a_trial_whose_answer_breaks_off_has_failed() {
    let origin = Origin::start(|nth, _| match nth {
        0..3 => Reply::Answer(answer(503)),
        _ => Reply::Act(Box::new(|stream| {
            std::io::Write::write_all(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        })),
    });
    let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 50ms, max: 50ms}}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], breaker)]);
    send(&mut rig.caller(), 3);
    eventually("the trial", || {
        let _ = rig.caller().send(&get("up"));
        (origin.count() == 4).then_some(())
    });
    let labels = [("from", "half-open"), ("cause", "trial-failed")];
    rig.counts("breaker_transitions_total", &labels, 1);
    assert_eq!(rig.metric("breaker_transitions_total", &[("to", "closed")]), 0);
}

#[test]
fn cb_1_slow_calls_are_failures() {
    let origin = Origin::start(|_, _| Reply::Late(Duration::from_millis(120), answer(200)));
    let slow = THREE.replace("consecutive: 3", "consecutive: 2, slowCallDuration: 100ms");
    let rig = Rig::start(&[upstream("up", &[origin.addr], &slow)]);
    assert_eq!(send(&mut rig.caller(), 3), [200, 200, 503]);
}
