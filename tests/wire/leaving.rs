//! What happens when the client leaves, or seems to?

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{GET, OK};
use crate::support::PATIENCE;
use crate::support::peer::End;
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

/// An upstream that reads a request, sends `first`, and tells when and how its connection ended after that.
fn watching(first: &'static str) -> (Upstream, mpsc::Receiver<&'static str>, mpsc::Receiver<(Instant, End)>) {
    let (arrived, arrivals) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let origin = Upstream::new(move |call| {
        if call.head().is_some() {
            call.peer.send(first);
            let _ = arrived.send(first);
            let end = call.peer.rest().1;
            let _ = ended.send((Instant::now(), end));
        }
    });
    (origin, arrivals, ends)
}

#[test]
fn a_client_that_said_its_last_request_may_half_close() {
    let origin = Upstream::new(|call| {
        call.request();
        assert!(call.peer.is_silent_for(Duration::from_millis(50)), "it is still waited for");
        call.peer.send(OK);
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send("GET / HTTP/1.1\r\nhost: origin\r\nconnection: close\r\n\r\n").finish();
    assert_eq!((peer.message().text(), peer.end()), ("ok".to_owned(), End::Closed));
}

#[test]
fn dl_4_a_client_that_leaves_before_the_answer_cancels_it() {
    let (origin, arrivals, ends) = watching("");
    let sidecar = Sidecar::before(origin.addr);
    for leave_by_reset in [false, true] {
        let mut peer = sidecar.calls_out();
        peer.send(GET);
        arrivals.recv_timeout(PATIENCE).expect("the request arrives");
        if leave_by_reset {
            peer.reset();
        } else {
            drop(peer);
        }
        let (_, end) = ends.recv_timeout(PATIENCE).expect("the upstream is told");
        assert_ne!(end, End::Open);
    }
}

#[test]
fn dl_4_a_client_that_leaves_during_the_answer_cancels_it() {
    let (origin, arrivals, ends) = watching("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send(GET).head();
    arrivals.recv_timeout(PATIENCE).expect("the request arrives");
    drop(peer);
    let (_, end) = ends.recv_timeout(PATIENCE).expect("the upstream is told");
    assert_ne!(end, End::Open);
}

#[test]
fn dl_4_a_client_that_leaves_during_its_upload_cancels_it() {
    let (origin, arrivals, ends) = watching("");
    let sidecar = Sidecar::before(origin.addr);
    for upload in ["content-length: 10\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut peer = sidecar.calls_out();
        peer.send(format!("POST / HTTP/1.1\r\nhost: origin\r\n{upload}"));
        arrivals.recv_timeout(PATIENCE).expect("the request arrives");
        drop(peer);
        let (_, end) = ends.recv_timeout(PATIENCE).expect("the upstream is told");
        assert_ne!(end, End::Open, "{upload:?}");
    }
}

#[test]
fn dl_4_an_expired_deadline_cancels_the_attempt() {
    let (origin, _, ends) = watching("");
    let sidecar = Sidecar::before(origin.addr);
    let answer =
        sidecar.calls_out().send("GET / HTTP/1.1\r\nhost: origin\r\nx-deadline: 50\r\n\r\n").message();
    assert_eq!((answer.status(), answer.reason()), (504, "deadline-exceeded"));
    let (_, end) = ends.recv_timeout(PATIENCE).expect("the upstream is told");
    assert_ne!(end, End::Open);
}
