//! Does everything end that should, and nothing else? Connections that are of no use, and streams that are over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{GET, GET1, OK, POST, before, before_http1, with};
use crate::support::eventually;
use crate::support::frames::{Frame, PREFACE, WINDOW, code, kind, octets, setting};
use crate::support::link::{Broken, Event, Link};
use crate::support::peer::Peer;
use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::{Policy, Sidecar};

/// The setting that says so (RFC 8441 §3).
const TAKES_UPGRADES: (u16, u32) = (8, 1);

#[test]
fn se_5_an_upstream_that_floods_is_left_and_its_callers_are_not() {
    let met = AtomicUsize::new(0);
    let origin = Server::scripted(&[], move |link| {
        let floods = met.fetch_add(1, Ordering::SeqCst) == 0;
        while let Ok((stream, _)) = link.any() {
            link.answer(stream, OK, b"ok");
            if floods {
                link.peer.send(octets(vec![Frame::ping(); 5_000]));
            }
        }
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    for _ in 0..3 {
        assert_eq!(link.ask(&GET).expect("an answer").status(), 200);
    }
    eventually("another connection", || {
        link.ask(&GET).expect("an answer");
        origin.connections() == 2
    });
}

/// An upstream all of whose connections begin so, and a request to it.
#[track_caller]
fn is_not_stormed(settings: &[(u16, u32)], first: Option<Frame>) {
    let origin = Server::scripted(settings, move |link| {
        if let Some(first) = &first {
            link.send(first);
        }
        while link.event().is_ok() {}
    });
    let sidecar = before(&origin);
    let answer = Link::connect(sidecar.outbound).ask(&GET).expect("an answer");
    assert!(answer.status() >= 500, "{}", answer.status());
    assert!(origin.connections() <= 10, "{} connections for one request", origin.connections());
}

#[test]
fn an_upstream_that_allows_no_streams_is_not_stormed() {
    is_not_stormed(&[(setting::MAX_CONCURRENT_STREAMS, 0)], None);
}

#[test]
fn an_upstream_that_leaves_at_once_is_not_stormed() {
    is_not_stormed(&[], Some(Frame::goaway(0, code::NO_ERROR)));
}

#[test]
fn se_5_who_reads_nothing_is_let_go_in_the_end() {
    let origin = Upstream::new(|call| {
        while call.request().is_some() {
            call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n").send(vec![0; 64 << 20]);
        }
    });
    let impatient = "limits: {headTimeout: 300ms, bodyIdleTimeout: 500ms, idleTimeout: 500ms}";
    let policy = Policy { sidecar: impatient, upstream: "protocol: http1", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let wide = (1 << 31) - 1;
    let mut link = Link::connect_with(sidecar.outbound, &[(setting::INITIAL_WINDOW_SIZE, wide)]);
    link.grant(0, wide - WINDOW);
    link.open(&GET, true);
    let active = || sidecar.metric("outrigger_connections_active", &["http2", "outbound"]);
    eventually("a connection", || active() > 0.0);
    eventually("its end", || active() == 0.0);
    drop(link);
}

#[test]
fn an_end_without_content_may_come_behind_its_head() {
    let origin = Server::treating(|link, stream, request| {
        let status = request.head.get("x-status").unwrap_or("200");
        link.send(&Frame::headers(stream, &[(":status", status)], false));
        link.send(&Frame::data(stream, "", true));
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 200)] {
        let head = [(":method", method), (":scheme", "http"), (":authority", "origin"), (":path", "/")];
        let answer = link.ask(&with(&head, &[("x-status", &status.to_string())]));
        assert_eq!(answer.expect("an answer").status(), status, "{method}");
    }
    assert_eq!(link.resets.len(), 0, "{:?}", link.resets);
}

#[test]
fn answers_to_streams_that_were_given_up_do_no_harm() {
    let late = Mutex::new(VecDeque::new());
    let origin = Server::treating(move |link, stream, request| {
        let mut late = late.lock().unwrap();
        late.push_back(stream);
        if request.head.get(":path") == Some("/now") {
            late.drain(..).for_each(|stream| link.answer(stream, OK, b"ok"));
        }
    });
    let sidecar = before(&origin);
    let now = [(":method", "GET"), (":scheme", "http"), (":authority", "origin"), (":path", "/now")];
    for round in 1..=4 {
        let mut link = Link::connect(sidecar.outbound);
        let streams: Vec<_> = (0..99).map(|_| link.open(&GET, true)).collect();
        eventually("all of them", || origin.seen().len() == round * 100 - 1);
        link.peer.send(octets(streams.into_iter().map(|stream| Frame::reset(stream, code::CANCEL))));
        let answer = Link::connect(sidecar.outbound).ask(&now).expect("an answer");
        assert_eq!((answer.status(), origin.connections()), (200, 1), "round {round}");
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: origin\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn pr_4_http2_has_no_101() {
    let origin = Server::scripted(&[TAKES_UPGRADES], |link| {
        while let Ok(event) = link.event() {
            if let Event::Head(stream, ..) = event {
                link.send(&Frame::headers(stream, &[(":status", "101")], false));
            }
        }
    });
    let sidecar = before(&origin);
    assert_eq!(sidecar.calls_out().send(UPGRADE).head().status(), 502);
}

#[test]
fn pr_4_a_tunnel_has_no_length() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             content-length: 0\r\n\r\nhello",
        );
        call.peer.rest();
    });
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "origin"),
        (":path", "/"),
    ];
    let stream = link.open(&head, false);
    let answer = link.until(stream, |exchange| exchange.body.len() == 5).expect("a tunnel");
    assert_eq!((answer.status(), answer.head.get("content-length")), (200, None));
}

#[test]
fn two_lengths_are_refused() {
    let origin = Server::answering(OK, "ok");
    let sidecar = before(&origin);
    for other in ["2", "3"] {
        let head = with(&POST, &[("content-length", "2"), ("content-length", other)]);
        match Link::connect(sidecar.outbound).post(&head, b"ok") {
            Ok(answer) => assert_eq!(answer.status(), 400, "{other}"),
            Err(broken) => assert_eq!(broken, Broken::Reset(code::PROTOCOL_ERROR), "{other}"),
        }
    }
    assert_eq!(origin.seen().len(), 0);
}

#[test]
fn credentials_in_host_are_refused() {
    let sidecar = before(&Server::answering(OK, "ok"));
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "me@origin")];
    assert_eq!(Link::connect(sidecar.outbound).ask(&head).expect("an answer").status(), 400);
}

#[test]
fn the_preface_may_come_in_any_two_pieces() {
    let sidecar = before(&Server::answering(OK, "ok"));
    for at in 1..PREFACE.len() {
        let mut peer = sidecar.calls_out();
        peer.send(&PREFACE[..at]);
        // So that they are read one by one.
        thread::sleep(Duration::from_millis(10));
        peer.send(&PREFACE[at..]).send(Frame::settings(&[]).octets());
        let first = peer.exactly(9).expect("SETTINGS");
        assert_eq!(first[3], kind::SETTINGS, "after {at} octets: {:?}", String::from_utf8_lossy(&first));
    }
}

#[test]
fn an_idle_connection_to_an_upstream_ends() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let origin = Server::scripted(&[], move |link| {
        while let Ok((stream, _)) = link.any() {
            link.answer(stream, OK, b"ok");
        }
        count.fetch_add(1, Ordering::SeqCst);
    });
    let upstream = "protocol: http2\nlimits: {idleTimeout: 200ms}";
    let sidecar = Sidecar::with(origin.addr, Policy { upstream, ..Policy::default() });
    sidecar.calls_out().send(GET1).message();
    eventually("its end", || ended.load(Ordering::SeqCst) == 1);
}

#[test]
fn content_on_its_way_when_its_answer_came_is_no_offence() {
    let sidecar = before(&Server::answering(OK, "ok"));
    let mut link = Link::connect(sidecar.outbound);
    link.sync().expect("it is well");
    let unknown = [(":method", "POST"), (":scheme", "http"), (":authority", "nobody"), (":path", "/")];
    for _ in 0..4 {
        let streams: Vec<_> = (0..99).map(|_| link.open(&unknown, false)).collect();
        for stream in &streams {
            assert_eq!(link.message(*stream).expect("an answer").status(), 404);
        }
        // As much as fits into the windows may have left before the answer was seen.
        link.peer
            .send(octets(streams.iter().flat_map(|stream| vec![Frame::data(*stream, *b"some", false); 4])));
        assert_eq!(link.ask(&GET).expect("an answer").status(), 200);
    }
}

#[test]
fn trailers_of_a_connection_hold_up_nothing() {
    let sidecar = before(&Server::answering(OK, "ok"));
    for name in ["keep-alive", "proxy-connection"] {
        let mut peer = sidecar.calls_out();
        peer.send("POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
        peer.send(format!("0\r\n{name}: timeout=5\r\n\r\n"));
        assert_eq!(peer.message().status(), 400, "{name}");
    }
}

#[test]
fn rt_6_a_connection_that_is_dropped_at_once_is_tried_again_even_if_the_request_is_unsafe() {
    let met = AtomicUsize::new(0);
    let origin = Upstream::new(move |call| {
        let Ok(stream) = call.peer.stream.try_clone() else { return };
        let second = met.fetch_add(1, Ordering::SeqCst) > 0;
        if let Some(mut link) = second.then(|| Link::accept(Peer::new(stream), &[]).ok()).flatten() {
            while let Ok((stream, request)) = link.any() {
                link.answer(stream, OK, &request.body);
            }
        }
    });
    let sidecar = Sidecar::with(origin.addr, Policy { upstream: "protocol: http2", ..Policy::default() });
    let answer = Link::connect(sidecar.outbound).post(&POST, b"once").expect("an answer");
    assert_eq!((answer.status(), &*answer.text()), (200, "once"));
}

#[test]
fn windows_may_be_given_back_for_each_small_message() {
    let origin = Server::scripted(&[], |link| {
        while let Ok(event) = link.event() {
            match event {
                Event::Head(stream, ..) => link.send(&Frame::headers(stream, OK, false)),
                Event::Data(stream, data, end) => link.send(&Frame::data(stream, data, end)),
                _ => link,
            };
        }
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    for nth in 1..=1000 {
        link.send(&Frame::data(stream, *b"a word", false));
        link.until(stream, |exchange| exchange.body.len() == 6 * nth).expect("it comes back");
    }
}
