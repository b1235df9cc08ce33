//! Where does it say no? One test a line of the limits table.

use super::{GET, OK1, POST, before_http1, with};
use crate::support::eventually;
use crate::support::frames::{Frame, code, setting};
use crate::support::link::{Broken, Link};
use crate::support::scripted::Upstream;
use crate::support::sidecar::{Policy, Sidecar};

/// What the sidecar says of itself before anything is asked.
#[track_caller]
fn said_first(sidecar: &Sidecar) -> Link {
    let mut link = Link::connect(sidecar.outbound);
    link.sync().expect("it lives");
    link
}

/// A request that is refused with this status and reason; another stream of its connection is served.
#[track_caller]
fn assert_refused(head: &[(&str, &str)], status: u16, reason: &str) {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let answer = link.ask(head).expect("an answer");
    assert_eq!((answer.status(), answer.reason()), (status, reason));
    assert_eq!(link.ask(&GET).expect("an answer").text(), "ok");
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn limits_are_announced() {
    let sidecar = Sidecar::before(Upstream::answering(OK1).addr);
    let link = said_first(&sidecar);
    assert_eq!(link.settings.get(&setting::MAX_CONCURRENT_STREAMS), Some(&100));
    assert_eq!(link.settings.get(&setting::MAX_HEADER_LIST_SIZE), Some(&(32 << 10)));
    let window = link.settings.get(&setting::INITIAL_WINDOW_SIZE).copied().unwrap_or(65_535);
    assert!((65_535..=65_536).contains(&window), "{window}");
}

#[test]
fn limit_http2_header_list() {
    let [long, fits, over] = [16, 12, 20].map(|kib| "y".repeat(kib << 10));
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let answer = link.ask(&with(&GET, &[("x", &long), ("y", &fits)]));
    assert_eq!(answer.expect("an answer").status(), 200);
    match link.ask(&with(&GET, &[("x", &long), ("y", &over)])) {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(broken) => assert_eq!(broken, Broken::Goaway(code::ENHANCE_YOUR_CALM)),
    }
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn limit_request_fields() {
    let many = vec![("x", "y"); 101];
    assert_refused(&with(&GET, &many), 431, "too-many-request-fields");
}

#[test]
fn limit_request_target() {
    let long = format!("/{}", "x".repeat(16 << 10));
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "origin"), (":path", &long)];
    assert_refused(&head, 414, "request-target-too-long");
}

#[test]
fn limit_http2_streams() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.rest();
    });
    let sidecar = before_http1(&origin);
    let mut link = said_first(&sidecar);
    for _ in 0..100 {
        link.open(&POST, false);
    }
    let over = link.open(&POST, false);
    assert_eq!(link.message(over).map(|_| ()), Err(Broken::Reset(code::REFUSED_STREAM)));
    link.sync().expect("the others go on");
    eventually("it is counted", || {
        sidecar.metric("outrigger_limit_exceeded_total", &["http2-streams"]) >= 1.0
    });
}

#[test]
fn limit_body_idle_of_an_upload() {
    let origin = Upstream::answering(OK1);
    let policy = Policy {
        sidecar: "limits: {bodyIdleTimeout: 200ms}",
        upstream: "protocol: http1",
        ..Policy::default()
    };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    link.send(&Frame::data(stream, *b"he", false));
    let answer = link.message(stream).expect("an answer");
    assert_eq!((answer.status(), answer.reason()), (408, "body-idle-timeout"));
}

#[test]
fn limit_trailers() {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let (many, large) = (vec![("x", "y"); 65], "y".repeat(8 << 10));
    for trailers in [many, vec![("x", large.as_str())]] {
        let mut link = Link::connect(sidecar.outbound);
        let stream = link.open(&POST, false);
        link.send(&Frame::data(stream, *b"hi", false)).send(&Frame::headers(stream, &trailers, true));
        match link.message(stream) {
            Ok(answer) => assert_eq!((answer.status(), answer.reason()), (400, "malformed-request-body")),
            Err(broken) => assert!(matches!(broken, Broken::Reset(_)), "{broken:?}"),
        }
    }
    assert!(origin.seen().is_empty(), "none was ever whole");
}

#[test]
fn limit_keep_alive_idle() {
    let origin = Upstream::answering(OK1);
    let policy =
        Policy { sidecar: "limits: {idleTimeout: 200ms}", upstream: "protocol: http1", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut link = Link::connect(sidecar.outbound);
    assert_eq!(link.ask(&GET).expect("an answer").text(), "ok");
    let (code, _) = link.end();
    assert_eq!(code, Some(code::NO_ERROR), "it says that it leaves before it does");
    assert_eq!(Link::connect(sidecar.outbound).end().0, Some(code::NO_ERROR), "before a first request");
}
