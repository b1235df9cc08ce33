//! What stands in? Stubs, marked ones and other upstreams: for the right failures, in order, within one deadline.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::{route, up};
use crate::support::caller::timed;
use crate::support::draft::{answer, get, post};
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};

const REASON: &str = "x-outrigger-reason";

/// An upstream that does what `x-do` says.
fn obedient() -> Origin {
    Origin::start(|_, request| match request.field("x-do").unwrap_or("200") {
        "reset" => Reply::Reset,
        "hang" => Reply::Hang,
        code => Reply::Answer(answer(code.parse().unwrap())),
    })
}

#[test]
fn fb_1_a_degraded_answer_bears_its_mark() {
    let fallback = "fallback: [{on: [any], degrade: {headers: {x-degraded: market-data}, body: '{}'}}]";
    let rig = Rig::start(&[up(free_addr(), ""), route(fallback)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), &*said.body), (200, &b"{}"[..]));
    assert_eq!(said.field("x-degraded"), Some("market-data"));
    let reason = "fallback-degrade; route=prices; policy=rule-0; instead-of=connect-refused";
    assert_eq!(said.field(REASON), Some(reason));
    rig.counts("fallbacks_total", &[("route", "prices"), ("kind", "degrade"), ("mode", "enforce")], 1);
    rig.counts("requests_total", &[("route", "prices"), ("code", "200"), ("flag", "UF")], 1);
    let line = &rig.logged(1)[0];
    let told = ["stand_in", "reason", "flag"].map(|field| line[field].as_str().unwrap());
    assert_eq!(told, ["degrade", "connect-refused", "UF"]);
}

#[test]
fn fb_5_a_stub_is_there_at_once_from_its_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[1, 2]").unwrap();
    let path = file.path().display();
    let fallback = format!(
        "fallback: [{{on: [connect-failure], static: {{status: 203, headers: {{content-type: application/json}}, \
         bodyFile: {path}}}}}]"
    );
    let rig = Rig::start(&[up(free_addr(), ""), route(&fallback)]);
    let mut caller = rig.caller();
    let mut shortest = Duration::MAX;
    for _ in 0..20 {
        let (said, took) = timed(|| caller.send(&get("up")).unwrap());
        assert_eq!((said.status(), &*said.body), (203, &b"[1, 2]"[..]));
        assert_eq!(said.field("content-type"), Some("application/json"));
        shortest = shortest.min(took);
    }
    assert_eq!(caller.connections, 1, "the caller's connection is kept");
    assert!(shortest < Duration::from_millis(5), "{shortest:?}");
}

#[test]
fn fb_5_a_changed_file_is_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "old").unwrap();
    let fallback = format!("fallback: [{{on: [any], static: {{bodyFile: {}}}}}]", file.path().display());
    let rig = Rig::start(&[up(free_addr(), ""), route(&fallback)]);
    assert_eq!(rig.caller().send(&get("up")).unwrap().body, b"old");
    std::fs::write(file.path(), "new").unwrap();
    rig.signal(Signal::HUP);
    rig.counts("config_generation", &[], 2);
    assert_eq!(rig.caller().send(&get("up")).unwrap().body, b"new");
}

#[test]
fn fb_5_a_policy_whose_file_is_missing_is_refused_and_the_old_one_stays() {
    let stub = |more: &str| format!("fallback: [{{on: [any], static: {{body: old{more}}}}}]");
    let rig = Rig::start(&[up(free_addr(), ""), route(&stub(""))]);
    let wanted = route("fallback: [{on: [any], static: {bodyFile: /nowhere/to/be/found}}]");
    std::fs::write(rig.policy_file(), rig.policy(&[up(free_addr(), ""), wanted])).unwrap();
    rig.counts("config_reloads_total", &[("result", "rejected")], 1);
    eventually("its reason", || rig.complaints().contains("/nowhere/to/be/found").then_some(()));
    assert_eq!(rig.caller().send(&get("up")).unwrap().body, b"old");
}

#[test]
fn fb_6_what_is_listed_has_a_stand_in_and_nothing_else() {
    let origin = obedient();
    let listed: [(&str, &[&str]); 4] = [
        ("5xx", &["500", "503"]),
        ("reset", &["reset"]),
        ("timeout", &["hang"]),
        ("any", &["500", "503", "reset", "hang"]),
    ];
    for (on, stood_in) in listed {
        let fallback = format!(
            "timeouts: {{responseHeaders: 80ms}}\nfallback: [{{on: [{on}], static: {{status: 203}}}}]"
        );
        let rig = Rig::start(&[up(origin.addr, ""), route(&fallback)]);
        for what in ["200", "404", "429", "500", "503", "reset", "hang"] {
            let said = rig.caller().send(&get("up").with("x-do", what)).unwrap();
            assert_eq!(said.status() == 203, stood_in.contains(&what), "on: [{on}], {what}");
        }
    }
}

#[test]
fn fb_6_where_nobody_is_reachable_nobody_is_stormed() {
    let settings = "retry: {on: [connect-failure], attempts: 3, backoff: {base: 1ms, max: 1ms}}\n\
                    retryBudget: {percent: 20%, minRate: 0/s}";
    let fallback = "fallback: [{on: [any], backendRef: {name: other}}, {on: [any], static: {status: 203}}]";
    let rig =
        Rig::start(&[up(free_addr(), ""), upstream("other", &[free_addr()], settings), route(fallback)]);
    rig.storm(4, 25, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 203));
    rig.counts("fallbacks_total", &[("kind", "backend")], 100);
    let asked = rig.metric("attempts_total", &[("upstream", "other")]);
    assert!((100..=120).contains(&asked), "{asked} attempts at the other upstream for 100 requests");
}

#[test]
fn fb_4_another_upstream_serves_until_the_first_is_back() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let status = move || if is_down.load(Ordering::SeqCst) { 503 } else { 200 };
    let a = Origin::start(move |_, _| Reply::Answer(answer(status()).with("x-from", "a")));
    let b = Origin::start(|_, _| Reply::Answer(answer(200).with("x-from", "b")));
    let fallback = "fallback: [{on: [any], backendRef: {name: other}}]";
    let rig = Rig::start(&[up(a.addr, ""), upstream("other", &[b.addr], ""), route(fallback)]);
    let mut caller = rig.caller();
    let said = caller.send(&get("up")).unwrap();
    assert_eq!((said.status(), said.field("x-from")), (200, Some("b")));
    let reason = "fallback-backend; route=prices; policy=rule-0; instead-of=upstream-failure";
    assert_eq!(said.field(REASON), Some(reason));
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "5xx")], 1);
    rig.counts("requests_total", &[("route", "prices"), ("upstream", "other"), ("code", "200")], 1);
    down.store(false, Ordering::SeqCst);
    let said = caller.send(&get("up")).unwrap();
    assert_eq!((said.field("x-from"), said.field(REASON)), (Some("a"), None));
    assert_eq!((a.count(), b.count()), (2, 1));
}

#[test]
fn fb_4_who_has_just_failed_does_not_stand_in_for_itself() {
    let (a, b) = (Origin::always(503), Origin::always(200));
    let rule = "backendRefs: [{name: up}, {name: other}]\n  \
                fallback: [{on: [any], backendRef: {name: up}}, {on: [any], static: {status: 203}}]";
    let route = route("").replace("backendRefs: [{name: up}]", rule);
    let rig = Rig::start(&[up(a.addr, ""), upstream("other", &[b.addr], ""), route]);
    let mut caller = rig.caller();
    let statuses = [(); 40].map(|()| caller.send(&get("up")).unwrap().status());
    assert!(statuses.iter().all(|status| matches!(status, 200 | 203)), "{statuses:?}");
    assert_eq!(a.count(), statuses.iter().filter(|status| **status == 203).count(), "once a request");
    rig.counts("fallbacks_total", &[("kind", "backend")], 0);
}

#[test]
fn fb_4_an_upgrade_that_is_left_away_keeps_nobody_from_standing_in() {
    let rig = Rig::start(&[up(free_addr(), ""), route("fallback: [{on: [any], static: {status: 203}}]")]);
    let asked = get("up").with("connection", "Upgrade").with("upgrade", "h2c");
    assert_eq!(rig.caller().send(&asked).unwrap().status(), 203);
}

#[test]
fn fb_4_content_goes_to_the_other_upstream_unless_the_first_may_have_acted_on_it() {
    let (a, b) = (obedient(), obedient());
    let fallback = "fallback: [{on: [any], backendRef: {name: other}}, {on: [any], static: {status: 203}}]";
    let documents =
        |first| [up(first, ""), upstream("other", &[b.addr], "retry: {attempts: 0}"), route(fallback)];
    let rig = Rig::start(&documents(free_addr()));
    assert_eq!(rig.caller().send(&post("up", "hello")).unwrap().status(), 200);
    assert_eq!(b.seen()[0].message.body, b"hello", "nothing had been sent before");
    let rig = Rig::start(&documents(a.addr));
    let said = rig.caller().send(&post("up", "hello").with("x-do", "reset")).unwrap();
    assert_eq!((said.status(), a.count(), b.count()), (203, 1, 1), "a POST is not sent to two");
    let again = post("up", "hello").with("x-do", "503").with("idempotency-key", "k");
    assert_eq!(rig.caller().send(&again).unwrap().status(), 203);
    assert_eq!((a.count(), b.count()), (2, 2), "unless it says that it may");
}

#[test]
fn fb_8_what_stands_in_bears_no_more_than_its_limit() {
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let meter = Arc::clone(&most);
    let b = Origin::start(move |_, _| {
        let now = meter.0.fetch_add(1, Ordering::SeqCst) + 1;
        meter.1.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        meter.0.fetch_sub(1, Ordering::SeqCst);
        Reply::Answer(answer(200))
    });
    let fallback = "fallback: [{on: [any], backendRef: {name: other}}, {on: [limit], static: {status: 203}}]";
    let other = upstream("other", &[b.addr], "limits: {maxRequests: 2, maxPending: 1, queueTimeout: 10ms}");
    let rig = Rig::start(&[up(free_addr(), ""), other, route(fallback)]);
    let served = [200, 203].map(|_| AtomicUsize::new(0));
    rig.storm(8, 10, |caller, _| {
        let status = caller.send(&get("up")).unwrap().status();
        served[usize::from(status == 203)].fetch_add(1, Ordering::SeqCst);
        assert!(status == 200 || status == 203, "{status}");
    });
    let [by_b, stubbed] = served.map(AtomicUsize::into_inner);
    assert_eq!((by_b, by_b + stubbed), (b.count(), 80));
    assert!(by_b > 0 && stubbed > 0, "{by_b} and {stubbed}");
    assert!(most.1.load(Ordering::SeqCst) <= 2, "{most:?} at a time");
}

#[test]
fn fb_7_one_after_the_other_within_one_deadline() {
    let (a, b) = (obedient(), obedient());
    let rule = "timeouts: {request: 400ms, responseHeaders: 200ms}\n\
        fallback:\n\
        - {on: [breaker-open], static: {status: 418}}\n\
        - {on: [timeout], backendRef: {name: other}}\n\
        - {on: [5xx], static: {status: 418}}\n\
        - {on: [timeout], static: {status: 203}}";
    let rig =
        Rig::start(&[up(a.addr, ""), upstream("other", &[b.addr], "retry: {attempts: 0}"), route(rule)]);
    let said = rig.caller().send(&get("up").with("x-do", "hang")).unwrap();
    assert_eq!((said.status(), a.count(), b.count()), (203, 1, 1));
    let left: u64 = b.seen()[0].message.field("x-deadline").unwrap().parse().unwrap();
    assert!(left <= 200, "the other upstream had {left} ms of 400 after 200 were gone");
    let kinds = ["backend", "static"].map(|kind| rig.metric("fallbacks_total", &[("kind", kind)]));
    assert_eq!(kinds, [1, 1]);
}

#[test]
fn fb_7_whose_patience_is_over_gets_nothing_in_its_place() {
    let origin = obedient();
    let fallback = "fallback: [{on: [any], static: {status: 203}}]";
    let rig = Rig::start(&[up(origin.addr, ""), route(fallback)]);
    let late = rig.caller().send(&get("up").with("x-do", "hang").with("x-deadline", 60)).unwrap();
    assert_eq!(late.status(), 504);
    assert_eq!(rig.metric("fallbacks_total", &[]), 0);
}

#[test]
fn fb_7_a_dry_run_tells_and_does_nothing() {
    let fallback = "fallback: [{mode: dryRun, on: [any], static: {status: 203}}]";
    let rig = Rig::start(&[up(Origin::always(503).addr, ""), route(fallback)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), said.field(REASON)), (503, None));
    rig.counts("fallbacks_total", &[("kind", "static"), ("mode", "dry_run")], 1);
}

#[test]
fn rt_12_when_retries_are_used_up_something_stands_in() {
    let origin = Origin::always(503);
    let rule = "retry: {on: [5xx], attempts: 2, backoff: {base: 1ms, max: 1ms}}\n\
                fallback: [{on: [5xx], static: {status: 203, body: stub}}]";
    let rig = Rig::start(&[upstream("up", &[origin.addr], "retryBudget: {minRate: 100/s}"), route(rule)]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), origin.count(), &*said.body), (203, 3, &b"stub"[..]));
    let reason = said.field(REASON).unwrap();
    assert!(reason.ends_with("instead-of=upstream-failure; attempts=3"), "{reason}");
    rig.counts("requests_total", &[("code", "203"), ("flag", "URX")], 1);
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "5xx")], 3);
}
