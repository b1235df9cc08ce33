//! How long does a connection live, and how many requests does it carry?

use std::time::Duration;

use super::{GET, OK};
use crate::support::peer::End;
use crate::support::scripted::Upstream;
use crate::support::sidecar::{Policy, Sidecar};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Upstream::echoing();
    let sidecar = Sidecar::before(origin.addr);
    for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
        let requests: Vec<_> =
            (0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: origin\r\n\r\n")).collect();
        peer.send(requests.concat());
        for n in 0..10 {
            let answer = peer.message();
            assert_eq!((answer.status(), answer.field("x-target")), (200, Some(&*format!("/{n}"))));
        }
    }
}

#[test]
fn requests_of_one_connection_share_one_upstream_connection() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    for _ in 0..5 {
        assert_eq!(peer.send(GET).message().text(), "ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn connection_close_is_the_last_request() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send(
        "GET / HTTP/1.1\r\nhost: origin\r\nconnection: close\r\n\r\nGET /2 HTTP/1.1\r\nhost: origin\r\n\r\n",
    );
    let answer = peer.message();
    assert_eq!((answer.text(), answer.field("connection")), ("ok".to_owned(), Some("close")));
    assert_eq!(peer.end(), End::Closed);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn http_1_0_closes_unless_asked_to_keep() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    for _ in 0..2 {
        let answer = peer.send("GET / HTTP/1.0\r\nhost: origin\r\nconnection: keep-alive\r\n\r\n").message();
        assert_eq!((answer.text(), answer.field("connection")), ("ok".to_owned(), Some("keep-alive")));
    }
    let answer = peer.send("GET / HTTP/1.0\r\nhost: origin\r\n\r\n").message();
    assert_eq!((answer.text(), answer.field("connection")), ("ok".to_owned(), Some("close")));
    assert_eq!(peer.end(), End::Closed);
}

#[test]
fn content_of_unknown_length_ends_an_http_1_0_connection() {
    let origin =
        Upstream::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    let answer = peer.send("GET / HTTP/1.0\r\nhost: origin\r\nconnection: keep-alive\r\n\r\n").message();
    assert_eq!((answer.text(), answer.field("transfer-encoding")), ("ok".to_owned(), None));
    assert_eq!((answer.field("connection"), peer.end()), (Some("close"), End::Closed));
}

#[test]
fn answers_without_content_keep_the_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
    let table = [
        ("HEAD", head, Some("7")),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", Some("7")),
    ];
    for (method, answer, length) in table {
        let origin = Upstream::answering(answer);
        let sidecar = Sidecar::before(origin.addr);
        let mut peer = sidecar.calls_out();
        for _ in 0..2 {
            let got = peer.send(format!("{method} / HTTP/1.1\r\nhost: origin\r\n\r\n")).head();
            assert_eq!(got.start().get(..12), answer.get(..12));
            assert_eq!(got.field("content-length"), length, "{method} {answer:?}");
        }
        assert_eq!(origin.connections(), 1, "{method} {answer:?}");
    }
}

#[test]
fn a_connection_that_its_upstream_wants_closed_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let origin = Upstream::answering(answer);
        let sidecar = Sidecar::before(origin.addr);
        let mut peer = sidecar.calls_out();
        for _ in 0..2 {
            assert_eq!(peer.send(GET).message().text(), "ok");
        }
        assert_eq!(origin.connections(), 2, "{answer:?}");
    }
}

#[test]
fn octets_after_an_answer_are_nobodys_answer() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let origin = Upstream::answering(format!("{OK}{evil}"));
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    for _ in 0..3 {
        assert_eq!(peer.send(GET).message().text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn octets_between_answers_are_nobodys_answer() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.send(OK);
        std::thread::sleep(Duration::from_millis(30));
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
        call.request();
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send(GET).message().text(), "ok");
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(peer.send(GET).message().text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_connection_that_its_upstream_closed_is_replaced_unnoticed() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.send(OK);
    });
    // The end may come before the next request does, or meet it on the way. That costs a repair, and a busy machine
    // makes more of them than the built-in budget grants in an instant.
    let upstream = "retryBudget: {minRate: 100000/s}";
    let sidecar = Sidecar::with(origin.addr, Policy { upstream, ..Policy::default() });
    let mut peer = sidecar.calls_out();
    for _ in 0..20 {
        assert_eq!(peer.send(GET).message().text(), "ok");
    }
    assert_eq!(origin.connections(), 20);
}

/// RFC 9112 §2.2: an empty line behind a POST's content is none of the next request, and starts no clock.
#[test]
fn an_empty_line_between_requests_is_nothing() {
    let origin = Upstream::answering(OK);
    let sidecar =
        Sidecar::with(origin.addr, Policy { sidecar: "limits: {headTimeout: 100ms}", ..Policy::default() });
    let mut peer = sidecar.calls_out();
    peer.send("POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(peer.message().status(), 200);
    peer.send("\r\n");
    assert!(peer.is_silent_for(Duration::from_millis(250)), "nobody asked for an answer");
    assert_eq!(peer.send(GET).message().text(), "ok");
}
