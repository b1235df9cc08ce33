//! How many requests may an upstream have at one time? `maxRequests` and the queue before it.

use std::sync::Arc;
use std::thread;

use super::{Gate, Latch, begin, two_workers};
use crate::support::draft::{answer, ask, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};
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
fn bh_2_an_upstream_that_comes_back_knows_who_is_inside_still() {
    for (limit, on) in [("maxRequests", "requests"), ("maxConnections", "connections")] {
        let gate = Gate::closed();
        let documents = [limited(&gate, &format!("{limit}: 1, queueTimeout: 10s"))];
        let rig = two_workers(&documents);
        let labels = [("upstream", "up"), ("limit", on)];
        let mut first = begin(rig.outbound, &get("up"));
        rig.counts("limit_in_flight", &labels, 1);
        rig.reload(&[]);
        rig.reload(&documents);
        let mut second = begin(rig.outbound, &get("up"));
        rig.counts("limit_waiting", &labels, 1);
        assert_eq!(rig.metric("limit_in_flight", &labels), 1);
        gate.open();
        for caller in [&mut first, &mut second] {
            assert_eq!(caller.message().status(), 200, "{limit}");
        }
        assert_eq!(gate.most(), 1);
    }
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

/// Hangs, or fails at once or late.
struct Failing {
    origin: Origin,
    held: Arc<Latch>,
    late: Arc<Latch>,
}

impl Failing {
    fn new() -> Self {
        let [held, late] = [(); 2].map(|()| Arc::<Latch>::default());
        let (holds, delays) = (Arc::clone(&held), Arc::clone(&late));
        let origin = Origin::start(move |_, request| match request.target() {
            "/broken" => Reply::Answer(answer(503)),
            "/broken/late" => {
                delays.wait();
                Reply::Answer(answer(503))
            }
            _ => {
                holds.wait();
                Reply::Answer(answer(200))
            }
        });
        Self { origin, held, late }
    }

    fn limited(&self, limits: &str) -> String {
        let breaker =
            "circuitBreaker: {consecutive: 3, backoff: {base: 30s, max: 30s}}\nretry: {attempts: 0}";
        upstream("up", &[self.origin.addr], &format!("limits: {{{limits}, queueTimeout: 30s}}\n{breaker}"))
    }

    /// So many calls that fail, one after the other.
    fn fail(rig: &Rig, calls: usize) {
        let mut caller = rig.caller();
        for _ in 0..calls {
            assert_eq!(caller.send(&ask("GET", "/broken", "up")).unwrap().status(), 503);
        }
    }
}

#[test]
fn cb_3_nobody_queues_before_an_open_breaker() {
    let origin = Failing::new();
    let rig = two_workers(&[origin.limited("maxRequests: 2")]);
    let mut held = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", WAITING, 1);
    Failing::fail(&rig, 3);
    rig.reload(&[origin.limited("maxRequests: 1")]);
    for _ in 0..2 {
        let refused = rig.caller().send(&get("up")).unwrap();
        assert_eq!((refused.status(), refused.reason()), (503, "breaker-open"), "all places are taken");
        assert!((1..=45).contains(&refused.field("retry-after").unwrap().parse::<u64>().unwrap()));
    }
    rig.counts("breaker_refusals_total", &[("upstream", "up"), ("mode", "enforce")], 2);
    assert_eq!(rig.metric("limit_in_flight", WAITING), 1, "nobody had to leave for that");
    origin.held.open();
    assert_eq!(held.message().status(), 200);
    rig.counts("limit_in_flight", WAITING, 0);
}

#[test]
fn cb_3_who_waits_when_the_breaker_opens_waits_no_more() {
    for (limits, limit) in [("maxRequests: 2", "requests"), ("maxConnections: 2", "connections")] {
        let labels = &[("upstream", "up"), ("limit", limit)];
        let origin = Failing::new();
        let rig = Rig::start(&[origin.limited(limits)]);
        let mut held = begin(rig.outbound, &get("up"));
        rig.counts("limit_in_flight", labels, 1);
        Failing::fail(&rig, 2);
        let mut last = begin(rig.outbound, &ask("GET", "/broken/late", "up"));
        eventually("the last failure on its way", || (origin.origin.count() == 4).then_some(()));
        let mut waiting: Vec<_> = (0..3).map(|_| begin(rig.outbound, &get("up"))).collect();
        rig.counts("limit_waiting", labels, 3);
        origin.late.open();
        assert_eq!(last.message().status(), 503);
        for peer in &mut waiting {
            let refused = peer.message();
            assert_eq!((refused.status(), refused.reason()), (503, "breaker-open"), "{limit}");
        }
        rig.counts("limit_waiting", labels, 0);
        rig.counts("breaker_refusals_total", &[("upstream", "up"), ("mode", "enforce")], 3);
        origin.held.open();
        assert_eq!(held.message().status(), 200);
        assert_eq!(origin.origin.count(), 4, "it is called by nobody else");
    }
}

#[test]
fn bh_3_those_who_wait_for_a_place_and_for_a_connection_are_counted_together() {
    let gate = Gate::closed();
    let limits = "maxRequests: 3, maxConnections: 1, maxPending: 2, queueTimeout: 30s";
    let rig = two_workers(&[limited(&gate, limits)]);
    let refused = || {
        let refused = begin(rig.outbound, &get("up")).message();
        assert_eq!((refused.status(), refused.reason()), (503, "limit-pending"));
    };
    let mut callers: Vec<_> = (0..3).map(|_| begin(rig.outbound, &get("up"))).collect();
    let connections = &[("upstream", "up"), ("limit", "connections")];
    rig.counts("limit_waiting", connections, 2);
    refused();
    assert_eq!(rig.metric("limit_waiting", WAITING), 0);
    // One leaves, and one may come.
    callers.pop().unwrap().reset();
    rig.counts("limit_waiting", connections, 1);
    callers.push(begin(rig.outbound, &get("up")));
    rig.counts("limit_waiting", connections, 2);
    refused();
    gate.open();
    for peer in &mut callers {
        assert_eq!(peer.message().status(), 200);
    }
    rig.counts("limit_in_flight", WAITING, 0);
}
