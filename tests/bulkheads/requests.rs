//! How many requests may an upstream have at one time? `maxRequests` and the queue before it.

use std::thread;

use super::{Gate, begin, two_workers};
use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;

fn limited(gate: &Gate, limits: &str) -> String {
    upstream("up", &[gate.origin.addr], &format!("limits: {{{limits}}}"))
}

const WAITING: &[(&str, &str)] = &[("upstream", "up"), ("limit", "requests")];

#[test]
fn bh_2_an_upstream_never_has_more_than_its_limit_over_two_workers() {
    let gate = Gate::closed();
    let rig = two_workers(&[limited(&gate, "maxRequests: 3, queueTimeout: 10s")]);
    let callers: Vec<_> = (0..24).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_waiting", WAITING, 21);
    assert_eq!(rig.metric("limit_in_flight", WAITING), 3);
    gate.open();
    for mut caller in callers {
        assert_eq!(caller.message().status(), 200);
    }
    rig.storm(12, 10, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    assert_eq!(gate.most(), 3);
    rig.counts("limit_in_flight", WAITING, 0);
}

#[test]
fn bh_3_who_finds_no_place_in_time_is_told_which_limit() {
    let gate = Gate::closed();
    let rig = two_workers(&[limited(&gate, "maxRequests: 1, maxPending: 1, queueTimeout: 300ms")]);
    let mut inside = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", WAITING, 1);
    let mut late = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", WAITING, 1);
    let over = rig.caller().send(&get("up")).unwrap();
    assert_eq!((over.status(), over.reason()), (503, "limit-pending"));
    assert_eq!(over.field("retry-after"), Some("1"));
    let late = late.message();
    assert_eq!((late.status(), late.reason()), (503, "limit-requests"));
    gate.open();
    assert_eq!(inside.message().status(), 200);
    rig.counts("limit_exceeded_total", &[("limit", "requests")], 1);
    rig.counts("limit_exceeded_total", &[("limit", "pending")], 1);
    rig.counts("requests_total", &[("flag", "UO")], 2);
    assert_eq!(gate.origin.count(), 1);
}

#[test]
fn bh_3_a_waiter_whose_caller_has_gone_frees_its_place() {
    let gate = Gate::closed();
    let rig = Rig::start(&[limited(&gate, "maxRequests: 1, maxPending: 1, queueTimeout: 10s")]);
    let mut inside = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", WAITING, 1);
    let gone = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", WAITING, 1);
    gone.reset();
    rig.counts("limit_waiting", WAITING, 0);
    let mut next = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", WAITING, 1);
    gate.open();
    assert_eq!(inside.message().status(), 200);
    assert_eq!(next.message().status(), 200);
    assert_eq!(gate.origin.count(), 2, "nobody calls for who has gone");
}

#[test]
fn bh_3_nobody_waits_beyond_its_deadline() {
    let gate = Gate::closed();
    let rig = Rig::start(&[limited(&gate, "maxRequests: 1, queueTimeout: 10s")]);
    let mut inside = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", WAITING, 1);
    let late = rig.caller().send(&get("up").with("x-deadline", 50)).unwrap();
    assert_eq!((late.status(), late.reason()), (504, "deadline-exceeded"));
    assert_eq!(rig.metric("limit_waiting", WAITING), 0);
    gate.open();
    assert_eq!(inside.message().status(), 200);
}

#[test]
fn bh_2_a_place_is_taken_until_the_last_octet() {
    let origin = Upstream::new(|call| {
        while call.request().is_some() {
            call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na");
        }
    });
    let document = upstream("up", &[origin.addr], "limits: {maxRequests: 1, queueTimeout: 10s}");
    let rig = Rig::start(&[document]);
    let mut first = begin(rig.outbound, &get("up"));
    assert_eq!(first.head().status(), 200);
    let mut second = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", WAITING, 1);
    assert_eq!(origin.seen().len(), 1, "half of an answer is no end of it");
    drop(first);
    assert_eq!(second.head().status(), 200);
}

#[test]
fn bh_1_a_hanging_upstream_leaves_the_others_alone() {
    let (stuck, well) = (Gate::closed(), Origin::always(200));
    let rig = two_workers(&[
        limited(&stuck, "maxRequests: 5, maxPending: 5, queueTimeout: 10s"),
        upstream("well", &[well.addr], ""),
    ]);
    let hanging: Vec<_> = (0..5).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_in_flight", WAITING, 5);
    let waiting: Vec<_> = (0..5).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_waiting", WAITING, 5);
    thread::scope(|scope| {
        scope.spawn(|| {
            rig.storm(4, 50, |caller, _| {
                let refused = caller.send(&get("up")).unwrap();
                assert_eq!((refused.status(), refused.reason()), (503, "limit-pending"));
            });
        });
        rig.storm(4, 50, |caller, _| assert_eq!(caller.send(&get("well")).unwrap().status(), 200));
    });
    assert_eq!((stuck.origin.count(), stuck.origin.connections()), (5, 5), "it is not called in vain");
    stuck.open();
    for mut caller in hanging.into_iter().chain(waiting) {
        assert_eq!(caller.message().status(), 200);
    }
}

#[test]
fn bh_2_a_reload_keeps_count_of_who_is_inside() {
    let gate = Gate::closed();
    let limits = |limits| [limited(&gate, limits)];
    let rig = two_workers(&limits("maxRequests: 1, queueTimeout: 10s"));
    let mut first = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", WAITING, 1);
    let mut second = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", WAITING, 1);
    rig.reload(&limits("maxRequests: 2, queueTimeout: 10s"));
    rig.counts("limit_in_flight", WAITING, 2);
    rig.reload(&limits("maxRequests: 1, maxPending: 1, queueTimeout: 50ms"));
    let over = rig.caller().send(&get("up")).unwrap();
    assert_eq!((over.status(), over.reason()), (503, "limit-requests"));
    gate.open();
    for caller in [&mut first, &mut second] {
        assert_eq!(caller.message().status(), 200);
    }
    rig.counts("limit_in_flight", WAITING, 0);
}

#[test]
fn bh_5_metrics_and_reloads_need_no_place() {
    let gate = Gate::closed();
    let rig = Rig::start(&[limited(&gate, "maxRequests: 1, maxPending: 1, queueTimeout: 10s")]);
    let callers: Vec<_> = (0..2).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_waiting", WAITING, 1);
    rig.reload(&[limited(&gate, "maxRequests: 2, maxPending: 1, queueTimeout: 10s")]);
    rig.counts("limit_now", WAITING, 2);
    gate.open();
    for mut caller in callers {
        assert_eq!(caller.message().status(), 200);
    }
}

#[test]
fn bh_2_a_retry_goes_on_in_its_place() {
    let origin = Origin::start(|nth, _| Reply::Answer(answer(if nth == 0 { 503 } else { 200 })));
    let document = upstream(
        "up",
        &[origin.addr],
        "limits: {maxRequests: 1, queueTimeout: 10s}\nretry: {on: [5xx], attempts: 1}",
    );
    let rig = Rig::start(&[document]);
    assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 200);
    assert_eq!(origin.count(), 2);
    rig.counts("limit_in_flight", WAITING, 0);
}
