//! Which requests are refused? Those that RFC 9113 calls malformed (§8.1.1), and nothing of them reaches the upstream.

use super::{GET, OK1, POST, before_http1, with};
use crate::support::frames::{Frame, block, code, flag, kind};
use crate::support::link::{Broken, Exchange, Link};
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

/// Refused is a request that gets a 400, or whose stream is reset, or whose connection ends for it: a stream's fault may
/// be taken for its connection's (RFC 9113 §5.4.2).
fn is_refused(answer: &Result<Exchange, Broken>) -> bool {
    match answer {
        Ok(answer) => answer.status() == 400,
        Err(broken) => {
            matches!(broken, Broken::Reset(code::PROTOCOL_ERROR) | Broken::Goaway(code::PROTOCOL_ERROR))
        }
    }
}

#[track_caller]
fn assert_refused(answer: &Result<Exchange, Broken>, why: &str) {
    assert!(is_refused(answer), "{why}: {answer:?}");
}

/// Sends each head as a request: all are refused, and nobody else is harmed.
#[track_caller]
fn all_are_refused(heads: &[(&str, Vec<(&str, &str)>)]) {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let mut other = Link::connect(sidecar.outbound);
    let refused = |(_, head): &&(_, Vec<_>)| is_refused(&Link::connect(sidecar.outbound).ask(head));
    let accepted: Vec<_> = heads.iter().filter(|head| !refused(head)).map(|(why, _)| why).collect();
    assert!(accepted.is_empty(), "{accepted:?}");
    assert_eq!(other.ask(&GET).expect("an answer").text(), "ok");
    assert_eq!(origin.seen().len(), 1, "only that was a request");
}

/// [`GET`] without this field.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().filter(|(said, _)| *said != name).collect()
}

#[test]
fn pseudo_fields_are_all_there_once_first_and_known() {
    all_are_refused(&[
        ("no :method", without(":method")),
        ("no :path", without(":path")),
        ("no :scheme", without(":scheme")),
        ("no authority at all", without(":authority")),
        ("an empty :path", with(&without(":path"), &[(":path", "")])),
        (":path twice", with(&GET, &[(":path", "/")])),
        (":authority twice", with(&GET, &[(":authority", "origin")])),
        ("after a regular field", with(&without(":path"), &[("x", "y"), (":path", "/")])),
        ("unknown", with(&GET, &[(":colour", "red")])),
        ("of a response", with(&GET, &[(":status", "200")])),
        ("a path that is none", with(&without(":path"), &[(":path", "x y")])),
        ("user information", with(&without(":authority"), &[(":authority", "me@origin")])),
    ]);
}

#[test]
fn an_authority_and_another_host_are_refused() {
    all_are_refused(&[
        ("another", with(&GET, &[("host", "elsewhere")])),
        ("two", with(&GET, &[("host", "origin"), ("host", "elsewhere")])),
    ]);
}

#[test]
fn fields_of_a_connection_are_refused() {
    all_are_refused(&[
        ("connection", with(&GET, &[("connection", "close")])),
        ("keep-alive", with(&GET, &[("keep-alive", "5")])),
        ("proxy-connection", with(&GET, &[("proxy-connection", "keep-alive")])),
        ("transfer-encoding", with(&GET, &[("transfer-encoding", "chunked")])),
        ("upgrade", with(&GET, &[("upgrade", "websocket")])),
        ("te other than trailers", with(&GET, &[("te", "gzip")])),
    ]);
}

#[test]
fn names_and_values_are_plain() {
    all_are_refused(&[
        ("upper case", with(&GET, &[("X-Case", "y")])),
        ("a blank", with(&GET, &[("x y", "z")])),
        ("a colon", with(&GET, &[("x:y", "z")])),
        ("no name", with(&GET, &[("", "z")])),
        ("a line in a value", with(&GET, &[("x", "y\r\nhost: z")])),
        ("a line feed in a value", with(&GET, &[("x", "y\nz")])),
        ("NUL in a value", with(&GET, &[("x", "y\0z")])),
        ("a line in a path", with(&without(":path"), &[(":path", "/ HTTP/1.1\r\nx: y")])),
        ("a line in a method", with(&without(":method"), &[(":method", "GET / HTTP/1.1\r\nx: y")])),
        ("lengths that differ", with(&GET, &[("content-length", "0"), ("content-length", "1")])),
        ("a length that is none", with(&GET, &[("content-length", "+0")])),
    ]);
}

/// An upload that announces five octets and sends these.
fn upload(sidecar: &Sidecar, content: &[u8]) -> Result<Exchange, Broken> {
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&with(&POST, &[("content-length", "5")]), false);
    link.send(&Frame::data(stream, content, true));
    link.message(stream)
}

#[test]
fn content_of_another_length_than_announced_is_refused() {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    assert_refused(&upload(&sidecar, b"too long"), "more");
    assert_refused(&upload(&sidecar, b"less"), "less");
    assert_eq!(upload(&sidecar, b"right").expect("an answer").text(), "ok");
    assert!(origin.seen().iter().all(|request| request.body == b"right"), "no other was ever whole");
    let head = with(&GET, &[("content-length", "5")]);
    assert_refused(&Link::connect(sidecar.outbound).ask(&head), "nothing at all");
}

#[test]
fn trailers_may_not_say_what_a_head_says() {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    for trailer in [("content-length", "2"), ("host", "elsewhere"), ("X-Case", "y")] {
        let mut link = Link::connect(sidecar.outbound);
        let stream = link.open(&POST, false);
        link.send(&Frame::data(stream, *b"hi", false)).send(&Frame::headers(stream, &[trailer], true));
        assert_refused(&link.message(stream), trailer.0);
    }
    assert!(origin.seen().is_empty(), "none was ever whole");
}

/// Faults in the framing itself end the connection (RFC 9113 §5.4.1), and nobody else's.
#[test]
fn broken_frames_end_their_connection_alone() {
    let origin = Upstream::answering(OK1);
    let sidecar = before_http1(&origin);
    let mut good = Link::connect(sidecar.outbound);
    assert_eq!(good.ask(&GET).expect("an answer").text(), "ok");
    let broken = [
        ("a head on stream 0", Frame::headers(0, &GET, true)),
        ("content on stream 0", Frame::data(0, *b"x", true)),
        ("a stream of the server's", Frame::headers(2, &GET, true)),
        ("content of no stream", Frame::data(1, *b"x", true)),
        ("continuation of nothing", Frame::continuation(1, block(&GET), true)),
        ("a push", Frame::new(5, flag::END_HEADERS, 1, [0, 0, 0, 2])),
        ("a ping of seven", Frame::new(kind::PING, 0, 0, [0; 7])),
        ("settings of seven", Frame::new(kind::SETTINGS, 0, 0, [0; 7])),
        ("a window of nothing", Frame::window(0, 0)),
        ("a window too wide", Frame::window(0, (1 << 31) - 1)),
        ("a frame too long", Frame::new(0x77, 0, 0, vec![0; 20_000])),
        ("padding longer than the frame", Frame::new(kind::DATA, flag::PADDED, 1, [9, 0])),
        ("garbage for a list of fields", Frame::new(kind::HEADERS, flag::END_HEADERS, 1, [0xff; 9])),
        ("a reset of no stream", Frame::reset(1, code::CANCEL)),
    ];
    for (why, frame) in broken {
        let mut link = Link::connect(sidecar.outbound);
        let (code, end) = link.send(&frame).end();
        assert_ne!(end, crate::support::peer::End::Open, "{why}");
        assert_ne!(code, Some(code::NO_ERROR), "{why}");
    }
    assert_eq!(good.ask(&GET).expect("an answer").text(), "ok");
    assert_eq!(origin.seen().len(), 2);
}
