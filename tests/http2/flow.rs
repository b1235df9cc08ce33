//! How much of a stream is held on the way? No more than its windows (RFC 9113 §5.2), on either side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{GET, GET1, OK, POST, before, before_http1};
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::frames::{Frame, setting};
use crate::support::link::{Broken, Event, Link};
use crate::support::peer::End;
use crate::support::scripted::Upstream;
use crate::support::server::Server;

const WHOLE: usize = 8 << 20;
/// What one stream may have on its way: a window on either side, and a frame between them.
const HELD: usize = (64 << 10) + (64 << 10) + (16 << 10);
/// More than that and the kernel's buffers of a connection together.
const FLAT_KIB: u64 = 4 << 10;

/// Reads from a peer that should be silent fail soon.
const SOON: Duration = Duration::from_millis(300);

/// Sends content until the other end has let no more in for a while; answers how much.
fn pours_until_held(link: &mut Link, stream: u32) -> usize {
    link.peer.stream.set_read_timeout(Some(SOON)).expect("it is open");
    assert_eq!(link.pour(stream, &vec![b'x'; WHOLE], true), Err(Broken::End(End::Open)), "it is held back");
    link.peer.stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
    link.poured
}

#[test]
fn an_upload_waits_for_its_upstream() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let origin = Server::scripted(&[], move |link| {
        link.generous = false;
        let Ok(Event::Other(_)) = link.event() else { return };
        eventually("the client is held back", || gate.load(Ordering::SeqCst));
        link.generous = true;
        link.grant(0, 1 << 20);
        link.grant(1, 1 << 20);
        while let Ok((stream, request)) = link.any() {
            link.answer(stream, OK, request.body.len().to_string().as_bytes());
        }
    });
    let sidecar = before(&origin);
    let before = sidecar.resident();
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    let sent = pours_until_held(&mut link, stream);
    assert!(sent <= HELD, "{sent}");
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
    open.store(true, Ordering::SeqCst);
    link.pour(stream, &vec![b'x'; WHOLE - sent], true).expect("the rest may go");
    assert_eq!(link.message(stream).expect("an answer").text(), WHOLE.to_string());
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
}

/// Reads what comes until nothing does for a while; answers how much content that was.
fn reads_until_silent(link: &mut Link) -> usize {
    link.peer.stream.set_read_timeout(Some(SOON)).expect("it is open");
    let mut read = 0;
    while let Ok(event) = link.event() {
        if let Event::Data(_, octets, _) = event {
            read += octets.len();
        }
    }
    link.peer.stream.set_read_timeout(Some(PATIENCE)).expect("it is open");
    read
}

/// Reads the rest of one answer.
fn reads_to_the_end(link: &mut Link) -> usize {
    let mut read = 0;
    loop {
        if let Event::Data(_, octets, end) = link.event().expect("the answer goes on") {
            read += octets.len();
            if end {
                return read;
            }
        }
    }
}

#[track_caller]
fn an_answer_waits_in(sidecar: &crate::support::sidecar::Sidecar) {
    let before = sidecar.resident();
    let mut link = Link::connect(sidecar.outbound);
    link.generous = false;
    let stream = link.open(&GET, true);
    assert_eq!(reads_until_silent(&mut link), 65_535, "as much as the windows hold");
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
    link.generous = true;
    link.grant(0, 65_535);
    link.grant(stream, 65_535);
    assert_eq!(reads_to_the_end(&mut link), WHOLE - 65_535);
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
}

fn pouring_http1() -> Upstream {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n");
    Upstream::answering([head.as_bytes(), &vec![b'x'; WHOLE]].concat())
}

fn pouring_http2() -> Server {
    Server::treating(|link, stream, _| link.answer(stream, OK, &vec![b'x'; WHOLE]))
}

#[test]
fn an_answer_of_http2_waits_for_its_client() {
    an_answer_waits_in(&before(&pouring_http2()));
}

#[test]
fn an_answer_of_http1_waits_for_its_client() {
    an_answer_waits_in(&before_http1(&pouring_http1()));
}

#[test]
fn an_answer_of_http2_waits_for_a_client_of_http1() {
    let sidecar = before(&pouring_http2());
    let before = sidecar.resident();
    let mut peer = sidecar.calls_out();
    peer.send(GET1);
    let head = peer.head();
    assert_eq!(head.status(), 200);
    std::thread::sleep(SOON);
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
    let mut answer = head;
    peer.try_body(&mut answer).expect("all of it comes");
    assert_eq!(answer.body.len(), WHOLE);
}

#[test]
fn a_stream_that_waits_holds_up_no_other() {
    let sidecar = before_http1(&pouring_http1());
    let mut link = Link::connect(sidecar.outbound);
    link.generous = false;
    let slow = link.open(&GET, true);
    assert_eq!(reads_until_silent(&mut link), 65_535);
    // The connection's window opens, the stream's does not.
    link.grant(0, 1 << 30);
    let fast = link.open(&GET, true);
    link.grant(fast, 1 << 30);
    assert_eq!(reads_to_the_end(&mut link), WHOLE);
    link.grant(slow, 1 << 30);
    assert_eq!(reads_to_the_end(&mut link), WHOLE - 65_535);
}

/// RFC 9113 §6.9.2: open streams change with the setting, even below nothing.
#[test]
fn windows_follow_settings_that_change() {
    let sidecar = before(&pouring_http2());
    let mut link = Link::connect_with(sidecar.outbound, &[(setting::INITIAL_WINDOW_SIZE, 10)]);
    link.generous = false;
    let stream = link.open(&GET, true);
    assert_eq!(reads_until_silent(&mut link), 10);
    link.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 30)]));
    assert_eq!(reads_until_silent(&mut link), 20);
    link.send(&Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 5)]));
    link.grant(stream, 20);
    assert_eq!(reads_until_silent(&mut link), 0, "25 fewer, 20 more");
    link.grant(stream, 12);
    assert_eq!(reads_until_silent(&mut link), 7);
}
