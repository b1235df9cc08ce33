//! How does content get to the upstream, and what may happen before all of it is there?

use std::time::Duration;

use super::OK;
use crate::support::peer::End;
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

const EXPECT: &str = "POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";

#[test]
fn chunks_and_trailers_go_both_ways() {
    let origin = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-digest\r\n\r\n\
         3;ext=1\r\nfoo\r\n3\r\nbar\r\n0\r\nx-digest: down\r\n\r\n",
    );
    let sidecar = Sidecar::before(origin.addr);
    for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
        peer.send("POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n");
        peer.send("3;a\r\nllo\r\n0\r\nx-digest: up\r\n\r\n");
        let answer = peer.message();
        assert_eq!((answer.text(), answer.trailers), ("foobar".to_owned(), "x-digest: down\r\n".to_owned()));
        let seen = origin.seen().pop().expect("a request arrived");
        assert_eq!((seen.text(), seen.trailers), ("hello".to_owned(), "x-digest: up\r\n".to_owned()));
    }
}

#[test]
fn content_waits_for_the_upstreams_100() {
    let origin = Upstream::new(|call| {
        let head = call.head().expect("a head comes");
        assert_eq!(head.field("expect"), Some("100-continue"));
        let silent = call.peer.is_silent_for(Duration::from_millis(50));
        call.peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let content = call.peer.exactly(5).expect("content comes");
        let said = format!("{silent} {}", String::from_utf8_lossy(&content));
        call.peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len()));
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send(EXPECT).head().status(), 100);
    assert_eq!(peer.send("hello").message().text(), "true hello");
}

#[test]
fn an_answer_instead_of_100_stands() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
        call.peer.rest();
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    let answer = peer.send(EXPECT).message();
    assert_eq!((answer.status(), answer.field("connection")), (417, Some("close")));
    assert_eq!(peer.end(), End::Closed);
}

#[test]
fn an_upstream_that_never_says_100_gets_the_content_all_the_same() {
    let origin = Upstream::echoing();
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send(EXPECT).head().status(), 100, "our patience is shorter than the client's");
    assert_eq!(peer.send("hello").message().text(), "hello");
}

#[test]
fn a_client_that_does_not_wait_for_100_is_not_held_up() {
    let origin = Upstream::echoing();
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send(EXPECT).send("hello");
    let first = peer.head();
    let answer = if first.status() == 100 { peer.message() } else { first };
    assert_eq!(answer.status(), 200);
}

#[test]
fn early_hints_arrive_early() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        assert!(call.peer.is_silent_for(Duration::from_millis(50)));
        call.peer.send(OK);
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    let hints = peer.send(super::GET).head();
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>")));
    assert_eq!(peer.message().text(), "ok");
    let mut old = sidecar.calls_out();
    let answer = old.send("GET / HTTP/1.0\r\nhost: origin\r\n\r\n").message();
    assert_eq!(answer.status(), 200, "HTTP/1.0 knows no interim responses");
}

#[test]
fn limit_interim_responses() {
    for (count, status) in [(16, 200), (17, 502)] {
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
        let origin = Upstream::answering(format!("{interim}{OK}"));
        let sidecar = Sidecar::before(origin.addr);
        let mut peer = sidecar.calls_out();
        let mut head = peer.send(super::GET).head();
        while head.status() == 103 {
            head = peer.head();
        }
        assert_eq!(head.status(), status, "{count}");
    }
}

#[test]
fn switching_protocols_unasked_is_no_answer() {
    let origin =
        Upstream::answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    let sidecar = Sidecar::before(origin.addr);
    let request = "GET / HTTP/1.1\r\nhost: origin\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let answer = sidecar.calls_out().send(request).message();
    assert_eq!((answer.status(), answer.reason()), (502, "upstream-malformed"));
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig");
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send("POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: 1000000\r\n\r\n");
    peer.send(vec![b'x'; 100_000]);
    let answer = peer.message();
    assert_eq!(
        (answer.status(), answer.text(), answer.field("connection")),
        (413, "big".to_owned(), Some("close"))
    );
    peer.send(vec![b'x'; 100_000]);
    assert_ne!(peer.rest().1, End::Open);
}

#[test]
fn malformed_content_ends_both_sides() {
    let origin = Upstream::new(|call| {
        call.request();
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send("POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\nzz\r\n");
    let answer = peer.message();
    assert_eq!((answer.status(), answer.reason()), (400, "malformed-request-body"));
    assert_eq!(peer.end(), End::Closed);
    assert!(origin.seen().is_empty(), "no whole request arrived");
}
