//! What stands in while a breaker is open, and what when it has closed?

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

use super::{route, up};
use crate::support::caller::timed;
use crate::support::draft::{answer, get};
use crate::support::inside::run;
use crate::support::inside::service::{Caller, answering};
use crate::support::inside::sidecar::Sidecar;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, upstream};

const THREE: &str = "circuitBreaker: {consecutive: 3, backoff: {base: 30s, max: 30s}}";

/// The upstream keeps no connection, so to be asked at all it would need a new one.
#[test]
fn cb_6_fb_5_with_the_breaker_open_a_stub_is_there_at_once_and_no_connection_made() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(503).with("connection", "close")));
    let fallback = "fallback: [{on: [breaker-open], static: {status: 203, body: stub}}]";
    let rig = Rig::start(&[up(origin.addr, THREE), route(fallback)]);
    let mut caller = rig.caller();
    for _ in 0..3 {
        assert_eq!(caller.send(&get("up")).unwrap().status(), 503, "the breaker is closed yet");
    }
    let mut shortest = Duration::MAX;
    for _ in 0..50 {
        let (said, took) = timed(|| caller.send(&get("up")).unwrap());
        assert_eq!((said.status(), &*said.body), (203, &b"stub"[..]));
        let reason = "fallback-static; route=prices; policy=rule-0; instead-of=breaker-open";
        assert_eq!(said.field("x-outrigger-reason"), Some(reason));
        shortest = shortest.min(took);
    }
    assert!(shortest < Duration::from_millis(5), "{shortest:?}");
    assert_eq!((origin.count(), origin.connections()), (3, 3));
    rig.counts("fallbacks_total", &[("route", "prices"), ("kind", "static")], 50);
    rig.counts("requests_total", &[("route", "prices"), ("code", "203"), ("flag", "UO")], 50);
    rig.counts("attempts_total", &[("upstream", "up")], 3);
}

#[test]
fn cb_6_an_open_breaker_goes_along_the_whole_chain() {
    let origin = Origin::always(503);
    let other = Origin::always(503);
    let fallback = "fallback: [{on: [timeout], static: {status: 418}}, {on: [breaker-open], backendRef: {name: other}}, \
                    {on: [5xx, breaker-open], static: {status: 203}}]";
    let others = upstream("other", &[other.addr], &format!("retry: {{attempts: 0}}\n{THREE}"));
    let rig = Rig::start(&[up(origin.addr, THREE), others, route(fallback)]);
    let mut caller = rig.caller();
    let said: Vec<_> = (0..10).map(|_| caller.send(&get("up")).unwrap().status()).collect();
    assert_eq!(said, [203; 10]);
    assert_eq!((origin.count(), other.count()), (3, 3), "each until its own breaker opened");
}

/// What stands in answers when four ask it at once: if three waited for what the fourth brings, none would be answered for
/// as long as their patience lasts, which is a second.
#[test]
fn cb_6_fb_2_behind_an_open_breaker_nobody_waits_for_what_another_brings() {
    run(Duration::ZERO, async {
        let dead = answering(|_| async { answer(503).with("cache-control", "no-store") });
        let all = Rc::new(Barrier::new(4));
        let other = answering(move |_| {
            let all = Rc::clone(&all);
            async move {
                all.wait().await;
                answer(200).with("cache-control", "no-store")
            }
        });
        let fallback = "fallback: [{on: [breaker-open], backendRef: {name: other}}]";
        let kept = format!("{THREE}\ncache: {{ttl: 1m}}");
        let policy = [up(dead, &kept), upstream("other", &[other], ""), route(fallback)];
        let sidecar = Sidecar::beside(dead, &policy);
        let mut callers: [_; 4] = std::array::from_fn(|_| Caller::of(sidecar.outbound));
        for _ in 0..3 {
            assert_eq!(callers[0].send(&get("up")).await.unwrap().status(), 503, "the breaker is closed yet");
        }
        let (request, began) = (get("up"), Instant::now());
        let [a, b, c, d] = callers.each_mut().map(|caller| caller.send(&request));
        let (a, b, c, d) = tokio::join!(a, b, c, d);
        assert_eq!([a, b, c, d].map(|said| said.unwrap().status()), [200; 4]);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    });
}

/// A's traffic goes to B while A's breaker is open, and returns with the trial that closes it.
#[test]
fn cb_6_fb_4_traffic_returns_when_the_breaker_closes() {
    run(Duration::ZERO, async {
        let (status, asked) = (Rc::new(Cell::new(503)), Rc::new(Cell::new(0)));
        let (says, counted) = (Rc::clone(&status), Rc::clone(&asked));
        let a = answering(move |_| {
            counted.update(|asked| asked + 1);
            let said = answer(says.get()).with("x-from", "a");
            async { said }
        });
        let b = answering(|_| async { answer(200).with("x-from", "b") });
        let fallback = "fallback: [{on: [5xx, breaker-open], backendRef: {name: other}}]";
        let breaker = "circuitBreaker: {consecutive: 3, backoff: {base: 1s, max: 1s}}";
        let sidecar = Sidecar::beside(a, &[up(a, breaker), upstream("other", &[b], ""), route(fallback)]);
        let mut caller = Caller::of(sidecar.outbound);
        let mut served_by = async |name| {
            for _ in 0..20 {
                let said = caller.send(&get("up")).await.unwrap();
                assert_eq!((said.status(), said.field("x-from")), (200, Some(name)));
                sleep(Duration::from_millis(40)).await;
            }
        };
        served_by("b").await;
        assert_eq!(asked.get(), 3, "and no more while it is open");
        status.set(200);
        sleep(Duration::from_secs(1)).await;
        served_by("a").await;
        assert_eq!(asked.get(), 23);
        assert_eq!(sidecar.metric("breaker_transitions_total", &[("to", "closed")]), 1);
        assert_eq!(sidecar.metric("fallbacks_total", &[("kind", "backend")]), 20);
    });
}
