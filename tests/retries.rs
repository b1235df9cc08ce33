//! Which failures are tried again, how often, and when not?

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::caller::{Caller, timed};
use crate::support::draft::{Draft, answer, ask, get, post};
use crate::support::free_addr;
use crate::support::inside::service::{message, scripted};
use crate::support::inside::sidecar::Sidecar;
use crate::support::inside::{self, run};
use crate::support::origin::{Habits, Origin, Reply};
use crate::support::peer::Message;
use crate::support::rig::{Rig, upstream};

/// Retries without a wait worth mentioning, and a budget that grants them all.
const EAGER: &str = "retryBudget: {minRate: 100000/s}";

fn eager(on: &str, attempts: u32) -> String {
    format!("{EAGER}\nretry: {{on: [{on}], attempts: {attempts}, backoff: {{base: 1ms, max: 1ms}}}}")
}

#[test]
fn rt_1_attempt_limit() {
    let origin = Origin::start(|nth, _| Reply::Answer(answer(503).with("x-nth", nth)));
    let rig = Rig::start(&[upstream("up", &[origin.addr], &eager("503", 2))]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!((said.status(), said.field("x-nth")), (503, Some("2")), "the last answer stands");
    assert_eq!(said.field("x-outrigger-reason"), Some("upstream-failure; route=-; policy=-; attempts=3"));
    let seen = origin.seen();
    let attempts: Vec<_> = seen.iter().map(|seen| seen.message.field("x-request-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert_eq!(rig.logged(1)[0]["attempts"], 3);
}

#[test]
fn rt_3_waits_are_not_all_the_same() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(503)));
    let settings = "retry: {on: [503], attempts: 1, backoff: {base: 100ms, max: 100ms}}\nretryBudget: {minRate: 100000/s}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], settings)]);
    rig.storm(16, 1, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 503));
    let mut calls = BTreeMap::<_, Vec<_>>::new();
    let seen = origin.seen();
    for seen in &seen {
        calls.entry(seen.message.field("x-request-id")).or_default().push(seen.at);
    }
    let waits: Vec<_> = calls.values().map(|attempts| attempts[1] - attempts[0]).collect();
    let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*most > *least + Duration::from_millis(20), "16 draws out of 100 ms lie closer: {waits:?}");
}

#[test]
fn rt_4_no_attempt_that_time_does_not_allow() {
    let late = Origin::start(|_, _| Reply::Late(Duration::from_millis(250), answer(503)));
    let busy = Origin::start(|_, _| Reply::Answer(answer(503).with("retry-after", 1)));
    let settings = |on| format!("{}\ntimeouts: {{request: 300ms}}", eager(on, 5));
    let rig = Rig::start(&[
        upstream("late", &[late.addr], &settings("503")),
        upstream("busy", &[busy.addr], &settings("503")),
    ]);
    let (said, took) = timed(|| rig.caller().send(&get("late")).unwrap());
    assert!((503..=504).contains(&said.status()), "{}", said.start());
    assert!(late.count() <= 2, "{} attempts", late.count());
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(2), "{took:?}");
    let (said, took) = timed(|| rig.caller().send(&get("busy")).unwrap());
    assert_eq!((said.status(), busy.count()), (503, 1), "a wait of a second passes the deadline");
    assert!(took < Duration::from_secs(1), "nobody waits for a retry that cannot be: {took:?}");
    rig.counts("retries_refused_total", &[("upstream", "busy"), ("reason", "deadline")], 1);
}

#[test]
fn rt_5_a_storm_is_bounded_by_the_budget() {
    let origin = Origin::always(503);
    let settings = "retry: {on: [503], attempts: 3, backoff: {base: 1ms, max: 1ms}}\nretryBudget: {percent: 20%, interval: 10s, minRate: 0/s}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], settings)]);
    let offered = 400;
    rig.storm(4, offered / 4, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 503));
    let retries = origin.count() - offered;
    assert!(retries > 0 && retries <= offered / 5, "{retries} retries");
    assert_eq!(rig.metric("retries_total", &[("upstream", "up")]), retries as u64);
    assert!(rig.metric("retries_refused_total", &[("upstream", "up"), ("reason", "budget")]) > 0);
}

#[test]
fn rt_5_what_is_never_retried_earns_nothing() {
    let origin = Origin::always(200);
    let settings = |attempts: u32| {
        format!("retry: {{attempts: {attempts}}}\nretryBudget: {{percent: 100%, interval: 1m, minRate: 0/s}}")
    };
    let upstreams = [0, 1].map(|n| upstream(&format!("up-{n}"), &[origin.addr], &settings(n)));
    let rig = Rig::start(&upstreams);
    for nth in 0..20 {
        rig.caller().send(&get(&format!("up-{}", nth % 2))).unwrap();
    }
    let page = Caller::of(rig.control).send(&ask("GET", "/upstreams", "admin")).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!([0, 1].map(|n| told[n]["retry_budget_balance"].as_u64()), [Some(0), Some(10)]);
}

#[test]
fn rt_6_what_is_listed_is_retried_and_nothing_else() {
    let listed: [(&str, &[&str]); 7] = [
        ("connect-failure", &[]),
        ("reset", &["reset"]),
        ("timeout", &["hang"]),
        ("gateway-error", &["reset", "hang", "502", "503", "504"]),
        ("5xx", &["reset", "hang", "500", "501", "502", "503", "504", "599"]),
        ("retriable-4xx", &["409"]),
        ("418", &["418"]),
    ];
    let all = ["reset", "hang", "400", "404", "409", "418", "429", "500", "501", "502", "503", "504", "599"];
    // In virtual time: a busy machine makes no answer late, so it adds no timeout to those that are meant.
    run(Duration::ZERO, async {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let origin = scripted(move |stream| obey(stream, Rc::clone(&counted)));
        let settings = |on: &str| format!("{}\ntimeouts: {{responseHeaders: 60ms}}", eager(on, 1));
        let upstreams = listed.map(|(on, _)| upstream(&format!("on-{on}"), &[origin], &settings(on)));
        let sidecar = Sidecar::beside(origin, &upstreams);
        for (on, retried) in listed {
            for what in all {
                let request = get(&format!("on-{on}")).with("x-do", what);
                inside::service::Caller::of(sidecar.outbound).send(&request).await.unwrap();
                let attempts = if retried.contains(&what) { 2 } else { 1 };
                assert_eq!(count.take(), attempts, "on: [{on}], {what}");
            }
        }
    });
}

/// Does as each request's `x-do` says, and counts them.
async fn obey(mut stream: tokio::net::TcpStream, count: Rc<Cell<u32>>) {
    let mut ahead = Vec::new();
    while let Ok(request) = message(&mut stream, &mut ahead).await {
        count.update(|count| count + 1);
        match request.field("x-do").unwrap() {
            "reset" => return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            "hang" => std::future::pending().await,
            code => stream.write_all(&answer(code.parse().unwrap()).octets()).await.unwrap(),
        }
    }
}

#[test]
fn rt_7_customer_errors_are_not_retried_by_default() {
    let origin = Origin::start(|_, request| Reply::Answer(answer(request.target()[1..].parse().unwrap())));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let mut caller = rig.caller();
    for (nth, code) in [400, 401, 403, 404, 409, 422, 429, 500, 503].into_iter().enumerate() {
        let said = caller.send(&ask("GET", &format!("/{code}"), "up")).unwrap();
        assert_eq!((said.status(), origin.count()), (code, nth + 1));
    }
}

#[test]
fn rt_8_what_may_do_harm_twice_is_sent_once() {
    let origin = Origin::start(|_, _| Reply::Reset);
    let posts = format!(
        "{EAGER}\nretry: {{on: [reset], attempts: 1, methods: [POST], backoff: {{base: 1ms, max: 1ms}}}}"
    );
    let alive = Origin::always(200);
    let rig = Rig::start(&[
        upstream("careful", &[origin.addr], &eager("reset", 1)),
        upstream("vouched", &[origin.addr], &posts),
        upstream(
            "half",
            &[free_addr(), alive.addr],
            &format!("{EAGER}\nloadBalancer: {{policy: round-robin}}"),
        ),
    ]);
    let attempts = |request: Draft| {
        let before = origin.count();
        assert_eq!(rig.caller().send(&request).unwrap().status(), 502);
        origin.count() - before
    };
    assert_eq!(attempts(post("careful", "pay")), 1);
    assert_eq!(attempts(post("careful", "pay").with("idempotency-key", "one")), 2);
    assert_eq!(attempts(post("vouched", "pay")), 2);
    for _ in 0..4 {
        let said = rig.caller().send(&post("half", "pay")).unwrap();
        assert_eq!(said.status(), 200, "nothing was sent to who refused: {}", said.reason());
    }
    assert_eq!(alive.count(), 4);
}

#[test]
fn rt_9_every_retry_is_counted_by_its_cause() {
    let origin = Origin::start(|nth, _| match nth % 3 {
        0 => Reply::Answer(answer(503)),
        1 => Reply::Reset,
        _ => Reply::Answer(answer(200)),
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], &eager("5xx", 2))]);
    for _ in 0..3 {
        assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 200);
    }
    let retries = |cause| rig.metric("retries_total", &[("upstream", "up"), ("cause", cause)]);
    // A reused connection that breaks is repaired; a fresh one that breaks is a reset.
    assert_eq!((retries("5xx"), retries("reset") + retries("stale")), (3, 3));
    rig.counts("attempts_total", &[("upstream", "up")], 9);
}

#[test]
fn rt_11_a_retry_goes_elsewhere() {
    for policy in ["round-robin", "least-request", "peak-ewma"] {
        let (bad, good) = (Origin::always(503), Origin::always(200));
        let settings = format!(
            "outlierDetection: {{mode: off}}\nloadBalancer: {{policy: {policy}}}\n{}",
            eager("503", 1)
        );
        let rig = Rig::start(&[upstream("up", &[bad.addr, good.addr], &settings)]);
        let mut caller = rig.caller();
        for _ in 0..50 {
            assert_eq!(caller.send(&get("up")).unwrap().status(), 200, "{policy}");
        }
        assert_eq!(good.count(), 50, "{policy}");
        let fair = if policy == "round-robin" { bad.count() == 25 } else { (1..50).contains(&bad.count()) };
        assert!(fair, "{policy}: {} first attempts met the bad one", bad.count());
    }
}

#[test]
fn rt_13_retry_after_is_honoured() {
    let origin = Origin::start(|nth, _| {
        Reply::Answer(if nth == 0 { answer(503).with("retry-after", 1) } else { answer(200) })
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], &eager("503", 1))]);
    assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 200);
    let seen = origin.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "{:?}", seen[1].at - seen[0].at);
}

/// A body arrives whole and once, however the first attempt failed (linkerd/linkerd2#15649).
#[test]
fn rt_8_a_retried_upload_arrives_whole_or_not_at_all() {
    let is_first = |request: &Message| request.field("x-request-attempt") == Some("1");
    let early = |request: &Message| {
        let fails =
            request.field("x-fail") == Some("early") && request.field("x-request-attempt") == Some("1");
        fails.then(|| answer(503))
    };
    let origin = Origin::with(Habits { early, ..Habits::default() }, move |_, request| {
        match request.field("x-fail") {
            Some("late") if is_first(request) => Reply::Answer(answer(503)),
            Some("reset") if is_first(request) => Reply::Reset,
            _ => Reply::Answer(answer(200)),
        }
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], &eager("5xx", 1))]);
    for size in [0_usize, 1, 10_000, 65_535, 65_536, 65_537, 300_000] {
        let body: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(31) >> 3).to_le_bytes()[0]).collect();
        for (fail, chunked) in
            ["early", "late", "reset"].into_iter().flat_map(|fail| [(fail, false), (fail, true)])
        {
            let what = format!("{size} octets, chunked: {chunked}, first attempt fails: {fail}");
            let before = origin.count();
            let status = upload(&mut rig.caller(), fail, &body, chunked);
            assert!(status == 200 || (size > 65_536 && (502..=503).contains(&status)), "{what}: {status}");
            for seen in &origin.seen()[before..] {
                assert!(seen.message.body == body, "{what}: {} arrived", seen.message.body.len());
            }
        }
    }
}

/// Sends a head, then after a moment its content, in two pieces.
fn upload(caller: &mut Caller, fail: &str, body: &[u8], chunked: bool) -> u16 {
    let head = ask("PUT", "/", "up").with("x-fail", fail);
    let head = if chunked {
        head.with("transfer-encoding", "chunked")
    } else {
        head.with("content-length", body.len())
    };
    caller.begin(&head).unwrap();
    thread::sleep(Duration::from_millis(2));
    let socket = caller.stream();
    let (first, second) = body.split_at(body.len() / 2);
    let pieces = [first, second].into_iter().filter(|piece| !piece.is_empty());
    for piece in pieces {
        // Who answers early may stop to read: that is no failure yet.
        let _ = if chunked {
            socket.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())
        } else {
            socket.write_all(piece)
        };
    }
    if chunked {
        let _ = socket.write_all(b"0\r\n\r\n");
    }
    caller.finish().unwrap().status()
}
