//! Where does it say no? One test a line of the limits table.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{GET, OK};
use crate::support::eventually;
use crate::support::peer::{End, Peer};
use crate::support::scripted::Upstream;
use crate::support::sidecar::{Policy, Sidecar};

/// Sends a request that is over a limit; it must be refused so, and the connection must end.
#[track_caller]
fn assert_refused(policy: Policy<'_>, request: impl AsRef<[u8]>, status: u16, reason: &str) {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::with(origin.addr, policy);
    for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
        let answer = peer.send(request.as_ref()).message();
        assert_eq!((answer.status(), answer.reason()), (status, reason));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(peer.end(), End::Closed);
    }
    assert!(origin.seen().is_empty());
}

/// A request that is just within a limit.
#[track_caller]
fn assert_accepted(request: impl AsRef<[u8]>) {
    let sidecar = Sidecar::before(Upstream::answering(OK).addr);
    assert_eq!(sidecar.calls_out().send(request).message().status(), 200);
}

#[test]
fn limit_request_head() {
    let empty = "GET / HTTP/1.1\r\nhost: origin\r\nx: \r\n\r\n".len();
    let with =
        |len: usize| format!("GET / HTTP/1.1\r\nhost: origin\r\nx: {}\r\n\r\n", "y".repeat(len - empty));
    assert_accepted(with(64 << 10));
    assert_refused(Policy::default(), with((64 << 10) + 1), 431, "request-head-too-large");
}

#[test]
fn limit_request_fields() {
    let with =
        |count: usize| format!("GET / HTTP/1.1\r\nhost: origin\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
    assert_accepted(with(100));
    assert_refused(Policy::default(), with(101), 431, "too-many-request-fields");
}

#[test]
fn limit_request_target() {
    let with = |len: usize| format!("GET /{} HTTP/1.1\r\nhost: origin\r\n\r\n", "x".repeat(len - 1));
    assert_accepted(with(16 << 10));
    assert_refused(Policy::default(), with((16 << 10) + 1), 414, "request-target-too-long");
}

#[test]
fn limit_head_timeout() {
    let policy = Policy { sidecar: "limits: {headTimeout: 300ms}", ..Policy::default() };
    assert_refused(policy, "GET / HTTP/1.1\r\nhos", 408, "request-head-timeout");
}

#[test]
fn limit_head_timeout_is_not_put_off_by_octets_that_trickle() {
    let origin = Upstream::answering(OK);
    let policy = Policy { sidecar: "limits: {headTimeout: 300ms}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut peer = sidecar.calls_out();
    peer.send("GET / HTTP/1.1\r\nx: ");
    eventually("it is refused", || !peer.send("y").is_silent_for(Duration::from_millis(20)));
    assert_eq!(peer.message().status(), 408);
}

#[test]
fn limit_keep_alive_idle() {
    let origin = Upstream::answering(OK);
    let policy = Policy { sidecar: "limits: {idleTimeout: 200ms}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    assert_eq!(sidecar.calls_out().end(), End::Closed, "before a first request");
    let mut peer = sidecar.calls_out();
    let began = Instant::now();
    assert_eq!((peer.send(GET).message().text(), peer.end()), ("ok".to_owned(), End::Closed));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn limit_body_idle_of_an_upload() {
    let origin = Upstream::answering(OK);
    let policy = Policy { sidecar: "limits: {bodyIdleTimeout: 200ms}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut peer = sidecar.calls_out();
    let answer = peer.send("POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: 5\r\n\r\nhe").message();
    assert_eq!((answer.status(), answer.reason()), (408, "body-idle-timeout"));
    assert_eq!(peer.end(), End::Closed);
}

#[test]
fn limit_body_idle_of_an_answer() {
    let origin = Upstream::new(|call| {
        call.request();
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe").rest();
    });
    let policy = Policy { sidecar: "limits: {bodyIdleTimeout: 200ms}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let answer = sidecar.calls_out().send(GET).try_message();
    assert_eq!(answer.expect_err("it breaks off"), End::Reset);
}

#[test]
fn limit_chunk_extensions() {
    let long = "x".repeat(16 << 10);
    let request =
        format!("POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n1;{long}\r\na\r\n");
    assert_refused(Policy::default(), request, 400, "malformed-request-body");
}

#[test]
fn limit_trailers() {
    let start = "POST / HTTP/1.1\r\nhost: origin\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
    let many = format!("{start}{}\r\n", "x: y\r\n".repeat(65));
    assert_refused(Policy::default(), many, 400, "malformed-request-body");
    let large = format!("{start}x: {}\r\n\r\n", "y".repeat(8 << 10));
    assert_refused(Policy::default(), large, 400, "malformed-request-body");
    assert_refused(
        Policy::default(),
        format!("{start}content-length: 1\r\n\r\n"),
        400,
        "malformed-request-body",
    );
}

/// A listener whose queue of connections is full: further ones get no answer.
fn unreachable() -> (TcpListener, Vec<TcpStream>) {
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    listener.listen(0).expect("a bound socket listens");
    let listener = TcpListener::from(listener);
    let addr = listener.local_addr().expect("a bound socket has an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        waiting.push(stream);
    }
    (listener, waiting)
}

#[test]
fn limit_connect_timeout() {
    let (listener, _waiting) = unreachable();
    let policy = Policy { upstream: "timeouts: {connect: 200ms}\nretry: {attempts: 0}", ..Policy::default() };
    let sidecar = Sidecar::with(listener.local_addr().expect("it is bound"), policy);
    for mut peer in [sidecar.calls_out(), sidecar.is_called()] {
        let answer = peer.send(GET).message();
        assert_eq!((answer.status(), answer.reason()), (502, "connect-timeout"));
    }
}

#[test]
fn limit_pending_requests() {
    let (listener, _waiting) = unreachable();
    let policy = Policy {
        upstream: "limits: {maxPending: 1}\ntimeouts: {connect: 2s}\nretry: {attempts: 0}",
        ..Policy::default()
    };
    let sidecar = Sidecar::with(listener.local_addr().expect("it is bound"), policy);
    let mut first = sidecar.calls_out();
    assert!(first.send(GET).is_silent_for(Duration::from_millis(50)));
    let answer = sidecar.calls_out().send(GET).message();
    assert_eq!((answer.status(), answer.reason()), (503, "limit-pending"));
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(first.message().reason(), "connect-timeout");
}

#[test]
fn limit_connections() {
    let origin = Upstream::answering(OK);
    let policy = Policy { sidecar: "limits: {maxConnections: 2}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let served = || {
        let mut peer = sidecar.calls_out();
        peer.send(GET).try_message().is_ok().then_some(peer)
    };
    let mut held = Vec::new();
    eventually("two are served", || {
        held.extend(served());
        held.len() == 2
    });
    assert!(served().is_none(), "a third is not");
    assert_eq!(sidecar.is_called().send(GET).message().text(), "ok", "another listener counts for itself");
    held.pop();
    eventually("a place is free again", || served().is_some());
}

#[test]
fn limit_file_descriptors() {
    let origin = Upstream::answering(OK);
    let policy = Policy { descriptors: Some(100), ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut first = sidecar.calls_out();
    assert_eq!(first.send(GET).message().text(), "ok");
    let mut crowd: Vec<Peer> = (0..150).map(|_| sidecar.calls_out()).collect();
    let last = crowd.last_mut().expect("a crowd");
    assert!(last.send(GET).try_message().is_err(), "there is no place for it");
    assert_eq!(first.send(GET).message().text(), "ok", "who is there is served");
    drop(crowd);
    eventually("there is place again", || sidecar.calls_out().send(GET).try_message().is_ok());
}

/// Every limit that is hit is counted.
#[test]
fn limit_hits_are_counted() {
    let origin = Upstream::answering(OK);
    let policy = Policy { sidecar: "limits: {requestTarget: 64B}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    sidecar.calls_out().send(format!("GET /{} HTTP/1.1\r\nhost: origin\r\n\r\n", "x".repeat(64))).message();
    eventually("it is counted", || {
        sidecar.metric("outrigger_limit_exceeded_total", &["request-target"]).total_cmp(&1.0).is_eq()
    });
}
