//! What becomes of an answer that is none, or breaks off?

use super::{GET, OK};
use crate::support::peer::{End, Message};
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

/// What a client gets when its upstream sends `octets` and closes.
fn answer_to(octets: impl Into<Vec<u8>>) -> Result<Message, End> {
    let octets = octets.into();
    let origin = Upstream::new(move |call| {
        call.request();
        call.peer.send(&octets);
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send(GET).try_message()
}

#[track_caller]
fn assert_refused(octets: impl Into<Vec<u8>>, reason: &str) {
    let answer = answer_to(octets).expect("the client gets an answer");
    assert_eq!((answer.status(), answer.reason()), (502, reason));
}

#[test]
fn what_is_no_response_head_is_a_bad_gateway() {
    let garbage = [
        "garbage\r\n\r\n",
        "\0\0\0\0",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nx : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: 1\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
    ];
    for octets in garbage {
        assert_refused(octets, "upstream-malformed");
    }
}

#[test]
fn ambiguous_framing_is_a_bad_gateway() {
    let fields = [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    ];
    for fields in fields {
        assert_refused(format!("HTTP/1.1 200 OK\r\n{fields}\r\n0\r\n\r\n"), "upstream-malformed");
    }
}

#[test]
fn no_answer_is_a_bad_gateway() {
    assert_refused("", "upstream-reset");
    assert_refused("HTTP/1.1 200 OK\r\ncontent-le", "upstream-reset");
}

#[test]
fn limit_response_head() {
    assert_refused(
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(64 << 10)),
        "upstream-head-too-large",
    );
    assert_refused(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(70 << 10)), "upstream-head-too-large");
    let most = (64 << 10) - "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: \r\n\r\n".len();
    let fits = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "y".repeat(most));
    assert_eq!(answer_to(fits).expect("an answer").status(), 200);
}

#[test]
fn limit_response_fields() {
    let with = |count: usize| {
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: 1\r\n".repeat(count - 1))
    };
    assert_refused(with(201), "upstream-head-too-large");
    assert_eq!(answer_to(with(200)).expect("an answer").fields("x").len(), 199);
}

#[test]
fn content_that_breaks_off_never_looks_whole() {
    let broken = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: 1\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ];
    for octets in broken {
        let end = answer_to(octets).expect_err("the transfer breaks");
        assert_eq!(end, End::Reset, "{octets:?}");
    }
}

#[test]
fn content_that_is_reset_never_looks_whole() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
        call.peer.is_silent_for(std::time::Duration::from_millis(50));
        socket2::SockRef::from(&call.peer.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("it is open");
    });
    let sidecar = Sidecar::before(origin.addr);
    for version in ["1.1", "1.0"] {
        let mut peer = sidecar.calls_out();
        let end = peer.send(format!("GET / HTTP/{version}\r\nhost: origin\r\n\r\n")).try_message();
        assert_eq!(end.expect_err("the transfer breaks"), End::Reset, "HTTP/{version}");
    }
}

#[test]
fn content_until_close_is_whole_at_its_end() {
    let answer = answer_to("HTTP/1.1 200 OK\r\n\r\nhello").expect("an answer");
    assert_eq!((answer.text(), answer.field("transfer-encoding")), ("hello".to_owned(), Some("chunked")));
}

#[test]
fn a_malformed_request_harms_nobody_else() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut good = sidecar.calls_out();
    assert_eq!(good.send(GET).message().text(), "ok");
    for bad in ["GET / HTTP/1.1\r\nx y: 1\r\n\r\n", "\x17\x03\x01\x02\x00\x01", "GET / HTTP/1.1\r\n\r\n"] {
        for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
            let answer = peer.send(bad).message();
            assert_eq!((answer.status(), answer.field("connection")), (400, Some("close")), "{bad:?}");
            assert_eq!(peer.end(), End::Closed);
        }
    }
    assert_eq!(good.send(GET).message().text(), "ok");
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn what_follows_a_malformed_request_is_not_served() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    let both =
        "POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = peer.send(format!("{both}{GET}")).message();
    assert_eq!((answer.status(), answer.reason()), (400, "ambiguous-framing"));
    assert_eq!(peer.end(), End::Closed);
    assert!(origin.seen().is_empty());
}
