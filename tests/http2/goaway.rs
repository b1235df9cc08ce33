//! What is lost when an upstream leaves? Nothing that it did not treat (RFC 9113 §6.8).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use super::{GET, OK, before};
use crate::support::frames::{Frame, code, setting};
use crate::support::link::Link;
use crate::support::rig::{Rig, upstream};
use crate::support::server::Server;

/// Requests that one connection of the upstream serves.
const A_LIFE: usize = 50;
/// Of the client; each with a hundred streams.
const CONNECTIONS: usize = 5;
const STREAMS: usize = 100;

/// How often each target was answered.
type Ledger = Arc<Mutex<BTreeMap<String, usize>>>;

/// Answers fifty requests, says so, and leaves; what came besides is never looked at.
fn mortal(settings: &[(u16, u32)]) -> (Server, Ledger) {
    let ledger = Ledger::default();
    let book = Arc::clone(&ledger);
    let server = Server::scripted(settings, move |link| {
        for nth in 1..=A_LIFE {
            let Ok((stream, request)) = link.any() else { return };
            let path = request.head.get(":path").unwrap_or_default().to_owned();
            *book.lock().unwrap().entry(path).or_default() += 1;
            if nth == A_LIFE {
                link.send(&Frame::goaway(stream, code::NO_ERROR));
            }
            link.answer(stream, OK, b"ok");
        }
        link.peer.finish().rest();
    });
    (server, ledger)
}

/// Keeps a hundred streams busy until so many requests are answered.
fn storm(rig: &Rig, client: usize, requests: usize) {
    let mut link = Link::connect(rig.outbound);
    let ask = |link: &mut Link, nth: usize| {
        let path = format!("/{client}/{nth}");
        link.open(&[GET[0], GET[1], GET[2], (":path", &path)], true)
    };
    for nth in 0..STREAMS {
        ask(&mut link, nth);
    }
    for nth in STREAMS..requests + STREAMS {
        let (stream, answer) = link.any().unwrap_or_else(|end| panic!("{end:?}; resets: {:?}", link.resets));
        assert_eq!(
            (answer.status(), answer.text()),
            (200, "ok".to_owned()),
            "stream {stream}: {:?}",
            answer.head
        );
        if nth < requests {
            ask(&mut link, nth);
        }
    }
}

#[track_caller]
fn nothing_is_lost(settings: &[(u16, u32)], requests: usize) {
    let (origin, ledger) = mortal(settings);
    let rig = Rig::start(&[upstream("origin", &[origin.addr], "protocol: http2")]);
    thread::scope(|scope| {
        for client in 0..CONNECTIONS {
            let rig = &rig;
            scope.spawn(move || storm(rig, client, requests));
        }
    });
    let ledger = ledger.lock().unwrap();
    assert_eq!(ledger.len(), CONNECTIONS * requests);
    let twice: Vec<_> = ledger.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "answered more than once: {twice:?}");
    assert!(origin.connections() >= CONNECTIONS * requests / A_LIFE);
}

#[test]
fn u_16_rt_6_goaway_every_fifty_requests_loses_none_of_500_streams() {
    nothing_is_lost(&[(setting::MAX_CONCURRENT_STREAMS, 100)], 1000);
}

/// The worst case: all five hundred streams may be on the connection that ends after fifty.
#[test]
fn u_16_rt_6_goaway_every_fifty_requests_without_a_bound_on_streams() {
    nothing_is_lost(&[], 300);
}

/// What the upstream may have treated is not repeated unless it may be (RFC 9110 §9.2.2).
#[test]
fn rt_8_what_was_treated_before_goaway_is_not_repeated() {
    let origin = Server::scripted(&[], |link| {
        if let Ok((stream, _)) = link.any() {
            link.send(&Frame::goaway(stream, code::NO_ERROR));
        }
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let answer = link.ask(&[(":method", "POST"), GET[1], GET[2], GET[3]]).expect("an answer");
    assert_eq!((answer.status(), answer.reason()), (502, "upstream-reset"));
    assert_eq!(origin.connections(), 1);
}

/// What it has not is repeated, whatever it was.
#[test]
fn rt_6_what_was_not_treated_before_goaway_is_repeated_even_if_unsafe() {
    let origin = Server::scripted(&[], |link| {
        static FIRST: std::sync::Once = std::sync::Once::new();
        let mut first = false;
        FIRST.call_once(|| first = true);
        let Ok((stream, request)) = link.any() else { return };
        if first {
            link.send(&Frame::goaway(0, code::NO_ERROR)).peer.finish().rest();
            return;
        }
        link.answer(stream, OK, &request.body);
        link.peer.rest();
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let answer = link.post(&super::POST, b"once").expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, "once".to_owned()));
    assert_eq!(origin.connections(), 2);
}

/// A connection of which nobody asks anything may end at any time; the next request makes another.
#[test]
fn goaway_between_requests_goes_unnoticed() {
    let origin = Server::treating(|link, stream, _| {
        link.answer(stream, OK, b"ok");
        link.send(&Frame::goaway(stream, code::NO_ERROR)).peer.finish().rest();
    });
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    for nth in 1..=20 {
        assert_eq!(link.ask(&GET).map(|answer| answer.text()), Ok("ok".to_owned()));
        assert_eq!(origin.connections(), nth);
    }
}
