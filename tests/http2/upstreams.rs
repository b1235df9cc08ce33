//! How is an upstream treated that speaks HTTP/2? As it asked for in its settings, and warily.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{GET, GET1, OK, before, with};
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::frames::{Frame, REMEMBERED, block, code, flag, kind, remember, setting};
use crate::support::link::{Broken, Exchange, Link};
use crate::support::peer::End;
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::{Policy, Sidecar};

/// The answer of a sidecar of its own to a request without content.
#[track_caller]
fn answer_of(sidecar: &Sidecar) -> Exchange {
    Link::connect(sidecar.outbound).ask(&GET).expect("an answer")
}

#[test]
fn it_is_told_not_to_push() {
    let origin = Server::treating(|link, stream, _| {
        let said = link.settings.get(&setting::ENABLE_PUSH).map_or("nothing".to_owned(), u32::to_string);
        link.answer(stream, OK, said.as_bytes());
    });
    assert_eq!(answer_of(&before(&origin)).text(), "0");
}

#[test]
fn a_reset_is_a_bad_gateway_whatever_its_code() {
    let origin = Server::treating(|link, stream, request| {
        let code = request.head.get("x-code").and_then(|code| code.parse().ok()).unwrap_or(code::CANCEL);
        link.send(&Frame::reset(stream, code));
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    // All of RFC 9113 §7 but REFUSED_STREAM, and one that nobody knows.
    for code in (0..=13).filter(|code| *code != code::REFUSED_STREAM).chain([0xface]) {
        let answer = link.ask(&with(&GET, &[("x-code", &code.to_string())])).expect("an answer");
        assert_eq!((answer.status(), answer.reason()), (502, "upstream-reset"), "{code}");
        let request = format!("GET / HTTP/1.1\r\nhost: origin\r\nx-code: {code}\r\n\r\n");
        let answer = sidecar.calls_out().send(request).message();
        assert_eq!((answer.status(), answer.reason()), (502, "upstream-reset"), "{code}");
    }
    assert_eq!(origin.connections(), 1, "a stream's fault is not its connection's");
}

#[test]
fn rt_6_a_refused_stream_is_tried_again_even_if_unsafe() {
    let refused = AtomicBool::new(false);
    let origin = Server::treating(move |link, stream, request| {
        if refused.swap(true, Ordering::SeqCst) {
            link.answer(stream, OK, &request.body);
        } else {
            link.send(&Frame::reset(stream, code::REFUSED_STREAM));
        }
    });
    let sidecar = before(&origin);
    let answer = Link::connect(sidecar.outbound).post(&super::POST, b"again").expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, "again".to_owned()));
    assert_eq!(origin.seen().len(), 2);
    eventually("it is counted", || {
        sidecar.metric("outrigger_attempts_total", &["outcome=\"refused-stream\""]) >= 1.0
    });
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let origin = Server::treating(|link, stream, _| {
        link.send(&Frame::headers(stream, OK, false)).send(&Frame::data(stream, *b"half", false));
        link.send(&Frame::reset(stream, code::INTERNAL_ERROR));
    });
    let sidecar = before(&origin);
    let broken = Link::connect(sidecar.outbound).ask(&GET).expect_err("it breaks off");
    assert!(matches!(broken, Broken::Reset(_)), "{broken:?}");
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send(GET1).try_message().expect_err("it breaks off"), End::Reset);
}

/// In HTTP/1, what goes beyond the announced length would be the next answer.
#[test]
fn content_of_another_length_than_announced_never_looks_whole() {
    let origin = Server::treating(|link, stream, request| {
        let body = request.head.get("x-body").unwrap_or_default().to_owned();
        link.answer(stream, &[(":status", "200"), ("content-length", "5")], body.as_bytes());
    });
    let sidecar = before(&origin);
    for body in ["much too long", "less"] {
        let answer = Link::connect(sidecar.outbound).ask(&with(&GET, &[("x-body", body)]));
        assert!(
            matches!(answer, Err(Broken::Reset(_))) || answer.is_ok_and(|answer| answer.status() == 502),
            "{body}"
        );
        let mut peer = sidecar.calls_out();
        peer.send(format!("GET / HTTP/1.1\r\nhost: origin\r\nx-body: {body}\r\n\r\n{GET1}"));
        let answer = peer.try_message();
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 502), "{body}");
    }
    assert_eq!(
        Link::connect(sidecar.outbound).ask(&with(&GET, &[("x-body", "right")])).expect("an answer").text(),
        "right"
    );
}

/// Content where there may be none is not passed on: in HTTP/1, it would be the next answer. Rather none at all.
#[test]
fn content_where_there_may_be_none_is_not_passed_on() {
    let origin = Server::treating(|link, stream, request| {
        let status = request.head.get("x-status").unwrap_or("200").to_owned();
        link.answer(
            stream,
            &[(":status", &status)],
            b"HTTP/1.1 200 OK\r\nx-evil: 1\r\ncontent-length: 0\r\n\r\n",
        );
    });
    let sidecar = before(&origin);
    for (method, status) in [("HEAD", "200"), ("GET", "204"), ("GET", "304")] {
        let mut peer = sidecar.calls_out();
        peer.send(format!("{method} / HTTP/1.1\r\nhost: origin\r\nx-status: {status}\r\n\r\n"));
        peer.send("GET / HTTP/1.1\r\nhost: origin\r\nx-status: 404\r\nconnection: close\r\n\r\n");
        let (came, _) = peer.rest();
        let came = String::from_utf8_lossy(&came);
        assert!(!came.contains("x-evil"), "{method} {status}: {came}");
    }
}

/// However long its caller's connection lasts (REQUIREMENTS U16).
#[test]
fn u_16_requests_of_one_connection_are_spread_over_endpoints() {
    let origins = [Server::answering(OK, "ok"), Server::answering(OK, "ok")];
    let addrs = origins.each_ref().map(|origin| origin.addr);
    let settings = "protocol: http2\nloadBalancer: {policy: round-robin}";
    let rig = Rig::start(&[upstream("origin", &addrs, settings)]);
    let mut link = Link::connect(rig.outbound);
    for _ in 0..100 {
        assert_eq!(link.ask(&GET).map(|answer| answer.text()), Ok("ok".to_owned()));
    }
    assert_eq!(origins.each_ref().map(|origin| origin.seen().len()), [50, 50]);
    assert_eq!(origins.each_ref().map(Server::connections), [1, 1]);
}

#[test]
fn malformed_answers_are_bad_gateways() {
    let origin = Server::treating(|link, stream, request| {
        let head: &[(&str, &str)] = match request.head.get("x-fault") {
            Some("no status") => &[("x", "y")],
            Some("no number") => &[(":status", "abc")],
            Some("upper case") => &[(":status", "200"), ("X-Case", "y")],
            Some("connection") => &[(":status", "200"), ("connection", "close")],
            Some("transfer-encoding") => &[(":status", "200"), ("transfer-encoding", "chunked")],
            Some("a line") => &[(":status", "200"), ("x", "y\r\nz: 1")],
            Some("switching") => &[(":status", "101")],
            _ => OK,
        };
        link.send(&Frame::headers(stream, head, true));
    });
    let sidecar = before(&origin);
    let faults =
        ["no status", "no number", "upper case", "connection", "transfer-encoding", "a line", "switching"];
    for fault in faults {
        let answer =
            Link::connect(sidecar.outbound).ask(&with(&GET, &[("x-fault", fault)])).expect("an answer");
        assert_eq!(answer.status(), 502, "{fault}: {:?}", answer.head);
    }
    assert_eq!(answer_of(&sidecar).status(), 200);
}

#[test]
fn limit_response_head() {
    let origin = Server::treating(|link, stream, request| {
        let count = request.head.get("x-count").and_then(|count| count.parse().ok()).unwrap_or(0);
        let many = vec![("x", "y"); count];
        link.send(&Frame::headers(stream, &with(OK, &many), true));
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let answer = link.ask(&with(&GET, &[("x-count", "201")])).expect("an answer");
    assert_eq!((answer.status(), answer.reason()), (502, "upstream-head-too-large"));
    assert_eq!(link.ask(&with(&GET, &[("x-count", "150")])).expect("an answer").status(), 200);
}

#[test]
fn what_speaks_no_http2_is_a_bad_gateway() {
    for said in ["HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", ""] {
        let origin = Upstream::new(move |call| {
            let _ = call.peer.exactly(24);
            call.peer.send(said).finish().rest();
        });
        let policy = Policy { upstream: "protocol: http2\nretry: {attempts: 0}", ..Policy::default() };
        let sidecar = Sidecar::with(origin.addr, policy);
        assert_eq!(sidecar.calls_out().send(GET1).message().status(), 502, "{said:?}");
    }
}

/// What an upstream sends instead of an answer.
fn flood(kind: &str, stream: u32) -> Vec<u8> {
    const MANY: usize = 100_000;
    let head = Frame::headers(stream, OK, false).octets();
    match kind {
        "pings" => Frame::ping().octets().repeat(MANY),
        "settings" => Frame::settings(&[]).octets().repeat(MANY),
        "priorities" => Frame::priority(stream).octets().repeat(MANY),
        "windows" => Frame::window(0, 1).octets().repeat(MANY),
        "continuations" => {
            let first = Frame::new(kind::HEADERS, 0, stream, block(OK)).octets();
            [first, Frame::continuation(stream, *b"", false).octets().repeat(MANY)].concat()
        }
        "empty data" => [head, Frame::data(stream, *b"", false).octets().repeat(MANY)].concat(),
        "interim heads" => Frame::headers(stream, &[(":status", "103")], false).octets().repeat(MANY),
        "resets" => Frame::reset(stream, code::CANCEL).octets().repeat(MANY),
        _ => {
            let bomb = [block(OK), remember("x", &"y".repeat(4000)), vec![REMEMBERED; 12_000]].concat();
            Frame::new(kind::HEADERS, flag::END_HEADERS, stream, bomb).octets()
        }
    }
}

/// An upstream may be as hostile as a caller. Its exchanges fail at once, and others go on over another connection.
#[test]
fn se_5_an_upstream_that_floods_is_left_at_once() {
    let origin = Server::treating(|link, stream, request| match request.head.get("x-flood") {
        Some(kind) => {
            let _ = link.peer.stream.set_write_timeout(Some(Duration::from_secs(1)));
            link.peer.send(flood(kind, stream));
        }
        None => link.answer(stream, OK, b"ok"),
    });
    let sidecar = before(&origin);
    let kinds = [
        "pings",
        "settings",
        "priorities",
        "windows",
        "continuations",
        "empty data",
        "interim heads",
        "resets",
        "bomb",
    ];
    for kind in kinds {
        let mut link = Link::connect(sidecar.outbound);
        let began = Instant::now();
        let answer = link.ask(&with(&GET, &[("x-flood", kind)]));
        let failed = answer
            .as_ref()
            .map_or_else(|broken| matches!(broken, Broken::Reset(_)), |answer| answer.status() == 502);
        assert!(
            failed && began.elapsed() < Duration::from_secs(2),
            "{kind}: {:?}, {answer:?}",
            began.elapsed()
        );
        assert_eq!(link.ask(&GET).map(|answer| answer.text()), Ok("ok".to_owned()), "after {kind}");
    }
    for limit in ["http2-control-frames", "http2-priority", "http2-window-updates", "http2-empty-data"] {
        eventually(limit, || sidecar.metric("outrigger_limit_exceeded_total", &[limit]) >= 1.0);
    }
}

/// Six requests at once where two are allowed: three connections, each with two. The upstream answers only when all six
/// are there, so that one connection with three of them, or a queue, would wait for ever.
#[test]
fn lb_full_connections_are_joined_by_others() {
    let all = Arc::new(Barrier::new(3));
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let origin = Server::scripted(&[(setting::MAX_CONCURRENT_STREAMS, 2)], move |link| {
        // The first request of all finds out what the upstream allows.
        if count.fetch_add(1, Ordering::SeqCst) == 0
            && let Ok((stream, _)) = link.any()
        {
            link.answer(stream, OK, b"ok");
        }
        let (Ok((one, _)), Ok((two, _))) = (link.any(), link.any()) else { return };
        all.wait();
        for stream in [one, two] {
            link.answer(stream, OK, b"ok");
        }
        link.peer.rest();
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    assert_eq!(link.ask(&GET).expect("an answer").text(), "ok");
    let streams = [(); 6].map(|()| link.open(&GET, true));
    for stream in streams {
        assert_eq!(link.message(stream).map(|answer| answer.text()), Ok("ok".to_owned()));
    }
    assert_eq!(origin.connections(), 3);
}

/// The upstream changes its mind: from now on one stream at a time.
#[test]
fn lb_a_bound_that_shrinks_is_respected() {
    let (tell, told) = mpsc::channel();
    let origin = Server::scripted(&[(setting::MAX_CONCURRENT_STREAMS, 100)], move |link| {
        let Ok((stream, _)) = link.any() else { return };
        link.send(&Frame::settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)])).sync().expect("it is told");
        link.answer(stream, OK, b"ok");
        while let Ok((stream, _)) = link.any() {
            link.peer.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("it is open");
            let _ = tell.send(link.any().is_ok());
            link.peer.stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
            link.answer(stream, OK, b"ok");
        }
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    assert_eq!(link.ask(&GET).expect("an answer").text(), "ok");
    let streams = [(); 2].map(|()| link.open(&GET, true));
    for stream in streams {
        assert_eq!(link.message(stream).map(|answer| answer.text()), Ok("ok".to_owned()));
    }
    assert_eq!(told.try_iter().find(|crowded| *crowded), None, "two were on one connection");
}

/// The first connection swallows everything, as a path does whose other end is gone. Requests on it time out; it must not
/// take all others with it.
#[test]
fn a_connection_that_hangs_is_not_used_for_ever() {
    let first = AtomicBool::new(true);
    let origin = Server::scripted(&[], move |link| {
        if first.swap(false, Ordering::SeqCst) {
            let (stream, _) = link.any().expect("one request is served");
            link.answer(stream, OK, b"ok");
            thread::sleep(PATIENCE * 2);
        }
        while let Ok((stream, _)) = link.any() {
            link.answer(stream, OK, b"new");
        }
    });
    let policy = Policy {
        upstream: "protocol: http2\ntimeouts: {request: 200ms}\nretry: {attempts: 0}",
        ..Policy::default()
    };
    let sidecar = Sidecar::with(origin.addr, policy);
    assert_eq!(answer_of(&sidecar).text(), "ok");
    assert_eq!(answer_of(&sidecar).status(), 504);
    eventually("a connection that works", || answer_of(&sidecar).text() == "new");
}

/// Callers of one worker share a connection to an endpoint, whichever version they speak.
#[test]
fn lb_callers_share_a_connection() {
    let origin = Server::answering(OK, "ok");
    let sidecar = before(&origin);
    for _ in 0..5 {
        assert_eq!(answer_of(&sidecar).text(), "ok");
        assert_eq!(sidecar.calls_out().send(GET1).message().text(), "ok");
    }
    assert_eq!((origin.connections(), origin.seen().len()), (1, 10));
}
