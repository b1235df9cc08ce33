//! What does a message say after it went from one version to the other? The same (RFC 9113 §8.2, §8.3; RFC 9110 §7).

use super::{GET, GET1, OK, OK1, POST, before, before_http1, with};
use crate::support::frames::Frame;
use crate::support::link::{Exchange, Link};
use crate::support::peer::Message;
use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::Sidecar;

/// What an HTTP/1 upstream sees of an HTTP/2 request with these fields beside those of [`GET`].
#[track_caller]
fn seen_by_http1(further: &[(&str, &str)]) -> Message {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let answer = Link::connect(sidecar.outbound).ask(&with(&GET, further)).expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, "ok".to_owned()));
    origin.seen().pop().expect("one request")
}

/// What an HTTP/2 upstream sees of an HTTP/1 request.
#[track_caller]
fn seen_by_http2(request: &str) -> Exchange {
    let origin = Server::answering(OK, "ok");
    let sidecar = before(&origin);
    let answer = sidecar.calls_out().send(request).message();
    assert_eq!((answer.status(), answer.text()), (200, "ok".to_owned()));
    origin.seen().pop().expect("one request")
}

/// What an HTTP/2 client gets of an HTTP/1 answer.
#[track_caller]
fn from_http1(request: &[(&str, &str)], answer: &str) -> Exchange {
    let origin = Upstream::answering(answer);
    let sidecar = before_http1(&origin);
    Link::connect(sidecar.outbound).ask(request).expect("an answer")
}

#[test]
fn a_request_becomes_http1() {
    let seen = seen_by_http1(&[("accept", "*/*"), ("x-one", "a"), ("x-one", "b"), ("te", "trailers")]);
    assert_eq!(seen.start(), "GET / HTTP/1.1");
    assert_eq!(seen.fields("host"), ["origin"]);
    assert_eq!(seen.fields("x-one"), ["a", "b"]);
    assert_eq!(seen.field("te"), Some("trailers"), "it is end to end in HTTP/2 (RFC 9113 §8.2.2)");
    assert!(!seen.head.contains("\r\n:"), "{}", seen.head);
    assert_eq!(seen.field("transfer-encoding"), None);
}

#[test]
fn a_request_becomes_http2() {
    let seen = seen_by_http2(
        "GET /a?b HTTP/1.1\r\nHost: origin\r\nX-One: a\r\nConnection: x-hop, te\r\nX-Hop: 1\r\nTE: gzip, trailers\r\n\
         Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\r\n",
    )
    .head;
    let pseudo = [":method", ":scheme", ":authority", ":path"].map(|name| seen.all(name));
    assert_eq!(pseudo, [["GET"], ["http"], ["origin"], ["/a?b"]]);
    assert_eq!((seen.get("x-one"), seen.get("te")), (Some("a"), Some("trailers")));
    for hop in ["connection", "x-hop", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(seen.get(hop), None, "{hop}");
    }
    assert!(seen.get("host").is_none_or(|host| host == "origin"));
}

#[test]
fn te_is_dropped_unless_it_is_trailers() {
    let seen = seen_by_http2("GET / HTTP/1.1\r\nhost: origin\r\nte: gzip\r\nconnection: te\r\n\r\n");
    assert_eq!(seen.head.get("te"), None);
}

/// RFC 9113 §3.1: who wants HTTP/2 in the clear begins with it.
#[test]
fn the_upgrade_of_the_past_is_not_taken() {
    let seen = seen_by_http2(
        "GET / HTTP/1.1\r\nhost: origin\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    )
    .head;
    assert_eq!((seen.get("upgrade"), seen.get("http2-settings")), (None, None));
}

#[test]
fn crumbs_of_a_cookie_become_one_field() {
    let seen = seen_by_http1(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]);
    assert_eq!(seen.fields("cookie"), ["a=1; b=2; c=3"], "RFC 9113 §8.2.3");
}

#[test]
fn host_stands_in_for_the_authority() {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "origin")];
    let answer = Link::connect(sidecar.outbound).ask(&head).expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(origin.seen()[0].fields("host"), ["origin"]);
    assert_eq!(
        seen_by_http1(&[("host", "origin")]).fields("host"),
        ["origin"],
        "the same twice is said once"
    );
}

#[test]
fn content_keeps_its_length_or_has_none() {
    let origin = Upstream::echoing();
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let announced = link.post(&with(&POST, &[("content-length", "5")]), b"hello").expect("an answer");
    let streamed = link.post(&POST, b"hello").expect("an answer");
    assert_eq!((announced.text(), streamed.text()), ("hello".to_owned(), "hello".to_owned()));
    assert_eq!(announced.head.get("content-length"), Some("5"));
    let seen = origin.seen();
    assert_eq!((seen[0].field("content-length"), seen[0].field("transfer-encoding")), (Some("5"), None));
    assert_eq!(
        (seen[1].field("content-length"), seen[1].field("transfer-encoding")),
        (None, Some("chunked"))
    );

    let origin = Server::treating(|link, stream, request| link.answer(stream, OK, &request.body));
    let sidecar = before(&origin);
    let chunked =
        "POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(sidecar.calls_out().send(chunked).message().text(), "hello");
    assert_eq!(origin.seen()[0].head.get("transfer-encoding"), None);
}

/// An answer with trailers.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 2\r\n\r\n";

fn upload_with_trailers(sidecar: &Sidecar) -> Exchange {
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    link.send(&Frame::data(stream, *b"hi", false)).send(&Frame::headers(stream, &[("x-sum", "1")], true));
    link.message(stream).expect("an answer")
}

fn answer_with_trailers() -> Server {
    Server::treating(|link, stream, _| {
        link.send(&Frame::headers(stream, OK, false)).send(&Frame::data(stream, *b"ok", false));
        link.send(&Frame::headers(stream, &[("x-sum", "2")], true));
    })
}

#[test]
fn trailers_pass_from_http2_to_http1_and_back() {
    let origin = Upstream::answering(CHUNKED);
    let answer = upload_with_trailers(&before_http1(&origin));
    assert_eq!((answer.text(), answer.trailers.get("x-sum")), ("ok".to_owned(), Some("2")));
    assert_eq!(
        (origin.seen()[0].body.as_slice(), origin.seen()[0].trailers.trim()),
        (&b"hi"[..], "x-sum: 1")
    );
}

#[test]
fn trailers_pass_from_http1_to_http2_and_back() {
    let origin = answer_with_trailers();
    let sidecar = before(&origin);
    let request = "POST / HTTP/1.1\r\nhost: origin\r\nte: trailers\r\nconnection: te\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n";
    let answer = sidecar.calls_out().send(request).message();
    assert_eq!((answer.text(), answer.trailers.trim()), ("ok".to_owned(), "x-sum: 2"));
    assert_eq!(origin.seen()[0].trailers.get("x-sum"), Some("1"));
}

#[test]
fn trailers_pass_from_http2_to_http2_and_back() {
    let origin = answer_with_trailers();
    let answer = upload_with_trailers(&before(&origin));
    assert_eq!((answer.text(), answer.trailers.get("x-sum")), ("ok".to_owned(), Some("2")));
    assert_eq!(origin.seen()[0].trailers.get("x-sum"), Some("1"));
}

#[test]
fn answers_without_content_have_none_on_either_side() {
    let head = [(":method", "HEAD"), (":scheme", "http"), (":authority", "origin"), (":path", "/")];
    let answer = from_http1(&head, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    assert_eq!((answer.head.get("content-length"), answer.body.len()), (Some("7"), 0));
    assert_eq!(from_http1(&GET, "HTTP/1.1 204 -\r\n\r\n").status(), 204);
    let unchanged = from_http1(&GET, "HTTP/1.1 304 -\r\ncontent-length: 7\r\netag: \"a\"\r\n\r\n");
    assert_eq!((unchanged.status(), unchanged.body.len()), (304, 0));

    let origin = Server::treating(|link, stream, request| {
        let status = request.head.get("x-status").unwrap_or("200");
        link.send(&Frame::headers(stream, &[(":status", status), ("x-length", "7")], true));
    });
    let sidecar = before(&origin);
    let mut peer = sidecar.calls_out();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 200)] {
        peer.send(format!("{method} / HTTP/1.1\r\nhost: origin\r\nx-status: {status}\r\n\r\n"));
        // The answer to HEAD is only its head; the rest read whole shows that the next begins where it ended.
        let answer = if method == "HEAD" { peer.try_head() } else { peer.try_message() };
        let answer =
            answer.unwrap_or_else(|end| panic!("{end:?} instead of an answer to {method} with {status}"));
        assert_eq!((answer.status(), answer.body.len()), (status, 0), "{method}");
    }
}

#[test]
fn an_answer_loses_what_is_of_its_connection() {
    let answer = from_http1(
        &GET,
        "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"], "never joined");
    for hop in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
        assert_eq!(answer.head.get(hop), None, "{hop}");
    }
}

#[test]
fn interim_answers_pass() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let answer = from_http1(&GET, &format!("{hints}{OK1}"));
    assert_eq!(answer.interim[0].get("link"), Some("</a>"));
    assert_eq!(
        (answer.interim[0].status(), answer.status(), answer.text()),
        (Some(103), 200, "ok".to_owned())
    );

    let origin = Server::treating(|link, stream, _| {
        link.send(&Frame::headers(stream, &[(":status", "103"), ("link", "</a>")], false));
        link.answer(stream, OK, b"ok");
    });
    let sidecar = before(&origin);
    let mut peer = sidecar.calls_out();
    assert_eq!(peer.send(GET1).head().field("link"), Some("</a>"));
    assert_eq!(peer.message().text(), "ok");
    let answer = Link::connect(sidecar.outbound).ask(&GET).expect("an answer");
    assert_eq!((answer.interim.len(), answer.text()), (1, "ok".to_owned()));
}

#[test]
fn an_upload_may_wait_to_be_asked_for() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = call.peer.exactly(5).expect("the content");
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").send(body);
        call.peer.rest();
    });
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&with(&POST, &[("content-length", "5"), ("expect", "100-continue")]), false);
    let asked = link.until(stream, |exchange| !exchange.interim.is_empty()).expect("it is asked for");
    assert_eq!(asked.interim[0].status(), Some(100));
    link.pour(stream, b"hello", true).expect("it is wanted");
    assert_eq!(link.message(stream).expect("an answer").text(), "hello");
}
