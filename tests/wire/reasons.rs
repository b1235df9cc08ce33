//! Does every answer of our own say why? One way to provoke each cause.

use super::{GET, OK};
use crate::support::free_addr;
use crate::support::peer::Message;
use crate::support::scripted::Upstream;
use crate::support::sidecar::{Policy, Sidecar};

/// A request that never reaches the origin, and what is said of it.
const REFUSED: &[(&str, u16, &str)] = &[
    ("GET / HTTP/1.1\r\nx y\r\n\r\n", 400, "malformed-request"),
    ("GET / HTTP/2.0\r\nhost: origin\r\n\r\n", 505, "unsupported-version"),
    ("GET / HTTP/1.1\r\nhost: origin\r\ncontent-length: +1\r\n\r\n", 400, "ambiguous-framing"),
    ("GET / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: gzip\r\n\r\n", 501, "unsupported-transfer-coding"),
    ("GET / HTTP/1.1\r\n\r\n", 400, "bad-host"),
    ("CONNECT nobody:443 HTTP/1.1\r\nhost: nobody:443\r\n\r\n", 404, "no-route"),
    ("GET / HTTP/1.1\r\nhost: origin\r\nx-deadline: soon\r\n\r\n", 400, "malformed-deadline"),
    ("GET / HTTP/1.1\r\nhost: nobody\r\n\r\n", 404, "no-route"),
    ("GET / HTTP/1.1\r\nhost: origin\r\nx-deadline: 0\r\n\r\n", 504, "deadline-expired-on-arrival"),
];

/// What an origin sends, and what is said of it.
const FAILED: &[(&str, u16, &str)] = &[
    ("", 502, "upstream-reset"),
    ("garbage\r\n\r\n", 502, "upstream-malformed"),
    ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 502, "upstream-malformed"),
];

#[track_caller]
fn assert_explained(answer: &Message, (status, cause): (u16, &str)) {
    assert_eq!((answer.status(), answer.reason()), (status, cause));
    let reason = answer.field("x-outrigger-reason").expect("it says why");
    assert!(reason.contains("; route=") && reason.contains("; policy="), "{reason}");
    assert_eq!(answer.text().trim_end(), reason, "people read the same");
    assert!(answer.field("date").is_some());
}

#[test]
fn refusals_say_why() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    for &(request, status, cause) in REFUSED {
        assert_explained(&sidecar.calls_out().send(request).message(), (status, cause));
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn failures_of_the_upstream_say_why() {
    for &(octets, status, cause) in FAILED {
        let origin = Upstream::new(move |call| {
            call.request();
            call.peer.send(octets);
        });
        let sidecar = Sidecar::before(origin.addr);
        for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
            assert_explained(&peer.send(GET).message(), (status, cause));
        }
    }
}

#[test]
fn timeouts_say_which() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.rest();
    });
    for (timeouts, cause) in [
        ("request: 100ms", "deadline-exceeded"),
        ("responseHeaders: 100ms", "attempt-timeout"),
        ("backendRequest: 100ms", "attempt-timeout"),
    ] {
        let policy = format!("timeouts: {{{timeouts}}}");
        let sidecar = Sidecar::with(origin.addr, Policy { upstream: &policy, ..Policy::default() });
        assert_explained(&sidecar.calls_out().send(GET).message(), (504, cause));
    }
}

#[test]
fn failed_connections_say_how() {
    let sidecar = Sidecar::before(free_addr());
    assert_explained(&sidecar.is_called().send(GET).message(), (502, "connect-refused"));
    // TCP has no broadcast: the kernel refuses before anything is sent.
    let nowhere = "255.255.255.255:80".parse().expect("an address");
    let sidecar = Sidecar::before(nowhere);
    assert_explained(&sidecar.is_called().send(GET).message(), (502, "connect-unreachable"));
}

#[test]
fn an_answer_of_our_own_keeps_the_connection_where_it_can() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send("GET / HTTP/1.1\r\nhost: nobody\r\n\r\n").message().reason(), "no-route");
    let head = peer.send("HEAD / HTTP/1.1\r\nhost: nobody\r\n\r\n").head();
    assert_eq!(head.reason(), "no-route");
    assert_eq!(peer.send(GET).message().text(), "ok");
}
