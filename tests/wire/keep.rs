//! How long does a connection live, and how many requests does it carry?

use crate::support::peer::End;
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Upstream::echoing();
    let sidecar = Sidecar::before(origin.addr);
    for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
        let requests: String =
            (0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: origin\r\n\r\n")).collect();
        peer.send(requests);
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
        assert_eq!(peer.send("GET / HTTP/1.1\r\nhost: origin\r\n\r\n").message().text(), "ok");
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
