//! In which version is an endpoint spoken to? Its caller's, unless it doesn't speak that.

use super::{GET, GET1, OK, POST};
use crate::support::link::Link;
use crate::support::peer::Message;
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::Sidecar;

/// `auto`: what the caller speaks.
#[test]
fn an_upstream_of_either_version_is_spoken_to_as_its_caller_speaks() {
    let origin = Server::answering(OK, "two");
    let sidecar = Sidecar::before(origin.addr);
    assert_eq!(Link::connect(sidecar.outbound).ask(&GET).expect("an answer").text(), "two");
    assert_eq!(Link::connect(sidecar.inbound).ask(&GET).expect("an answer").text(), "two");
    let origin = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none");
    let sidecar = Sidecar::before(origin.addr);
    assert_eq!(sidecar.calls_out().send(GET1).message().text(), "one");
    assert_eq!(sidecar.is_called().send(GET1).message().text(), "one");
}

/// Speaks HTTP/1 alone: to HTTP/2's preface it says what `refusal` is, and hangs up.
fn http1_only(refusal: &'static str) -> Upstream {
    Upstream::new(move |call| {
        while let Some(Message { head, body, .. }) = call.request() {
            if head.starts_with("PRI ") {
                call.peer.send(refusal);
                return;
            }
            call.peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()));
            call.peer.send(body);
        }
    })
}

/// Whatever an HTTP/1 server makes of a preface that it doesn't know (RFC 9113 §3.4 means it to fail).
const REFUSALS: [&str; 3] = [
    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n\r\n",
    "<!DOCTYPE HTML>\n<html lang=\"en\"><title>505</title></html>",
];

#[test]
fn ec_1_an_endpoint_that_speaks_only_http1_is_asked_in_it() {
    for refusal in REFUSALS {
        let origin = http1_only(refusal);
        let breaker = "retry: {attempts: 0}\ncircuitBreaker: {consecutive: 1}";
        let rig = Rig::start(&[upstream("origin", &[origin.addr], breaker)]);
        let mut link = Link::connect(rig.outbound);
        for _ in 0..20 {
            assert_eq!(link.ask(&GET).expect("an answer").status(), 200, "{refusal}");
        }
        assert_eq!(link.post(&POST, b"content").expect("an answer").text(), "content");
        let prefaces = || origin.seen().iter().filter(|seen| seen.head.starts_with("PRI ")).count();
        assert_eq!((prefaces(), origin.connections()), (1, 2), "found out once, and one connection is kept");
        rig.counts("attempts_total", &[("upstream", "origin"), ("outcome", "success")], 21);
        rig.counts("attempts_total", &[("upstream", "origin")], 21);
        rig.counts("endpoint_ejections_total", &[], 0);
    }
}

#[test]
fn what_an_endpoint_speaks_is_found_out_anew_when_its_upstream_changes() {
    let origin = http1_only(REFUSALS[0]);
    let rig = Rig::start(&[upstream("origin", &[origin.addr], "")]);
    let prefaces = || origin.seen().iter().filter(|seen| seen.head.starts_with("PRI ")).count();
    for generation in 0..2 {
        let changed = format!("limits: {{maxPending: {}}}", 100 + generation);
        rig.reload(&[upstream("origin", &[origin.addr], &changed)]);
        for _ in 0..3 {
            assert_eq!(Link::connect(rig.outbound).ask(&GET).expect("an answer").status(), 200);
        }
        assert_eq!(prefaces(), 1 + generation);
    }
}

/// Who says that it speaks HTTP/2 alone is asked in nothing else.
#[test]
fn a_written_version_is_never_another() {
    let origin = http1_only(REFUSALS[0]);
    let rig = Rig::start(&[upstream("origin", &[origin.addr], "protocol: http2\nretry: {attempts: 0}")]);
    for _ in 0..2 {
        let said = Link::connect(rig.outbound).ask(&GET).expect("an answer");
        assert_eq!((said.status(), said.reason()), (502, "upstream-malformed"));
    }
    rig.counts("attempts_total", &[("outcome", "garbage")], 2);
}
