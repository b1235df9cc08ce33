//! What does it cost when nothing goes on? Clients that say half of what they want, or take nothing of what they get
//! (REQUIREMENTS SE-5).

use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::attacked::Victim;
use super::{GET, POST};
use crate::support::draft::answer;
use crate::support::frames::{Frame, PREFACE, block, flag, kind, setting};
use crate::support::link::{Broken, Event, Link};
use crate::support::origin::Reply;
use crate::support::peer::{End, Message, Peer};
use crate::support::scripted::Upstream;
use crate::support::sidecar::{Policy, Sidecar};

const CROWD: usize = 300;
/// Timeouts short enough to wait for; what they do does not depend on their length.
const IMPATIENT: &str = "limits: {headTimeout: 500ms, bodyIdleTimeout: 500ms, idleTimeout: 1s}";

/// Three hundred connections that say this and no more; each is cut off.
#[track_caller]
fn are_sent_away(said: &[u8]) {
    let victim = Victim::new(IMPATIENT, |_| Reply::Answer(answer(200)));
    victim.under(|inbound| {
        let mut crowd: Vec<_> = (0..CROWD).map(|_| Peer::connect(inbound)).collect();
        for peer in &mut crowd {
            peer.send(said);
        }
        for peer in &mut crowd {
            assert_ne!(peer.rest().1, End::Open, "it is not cut off");
        }
    });
}

#[test]
fn se_5_300_slow_heads_of_http1() {
    are_sent_away(b"GET / HTTP/1.1\r\nhost: us\r\nx-slow");
}

#[test]
fn se_5_300_slow_heads_of_http2() {
    let half = Frame::new(kind::HEADERS, flag::END_STREAM, 1, block(&GET));
    are_sent_away(&[PREFACE, &Frame::settings(&[]).octets(), &half.octets()].concat());
}

#[test]
fn se_5_300_heads_of_http2_without_end_in_parts_of_a_frame() {
    let half = Frame::headers(1, &GET, true).octets();
    are_sent_away(&[PREFACE, &Frame::settings(&[]).octets(), &half[..20]].concat());
}

#[test]
fn se_5_300_slow_prefaces() {
    are_sent_away(&PREFACE[..20]);
}

#[test]
fn se_5_300_prefaces_without_settings() {
    are_sent_away(PREFACE);
}

/// Octets that trickle put nothing off.
#[test]
fn se_5_slow_heads_of_http2_are_not_put_off_by_parts_that_trickle() {
    let victim = Victim::new(IMPATIENT, |_| Reply::Answer(answer(200)));
    victim.under(|inbound| {
        let mut link = Link::connect(inbound);
        link.sync().expect("the victim is well");
        let long = Frame::headers(1, &[GET.as_slice(), &[("x", &"y".repeat(10_000))]].concat(), true);
        let began = Instant::now();
        for octet in long.octets() {
            if link.peer.stream.write_all(&[octet]).is_err() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "it is not cut off");
            thread::sleep(Duration::from_millis(20));
        }
    });
}

/// That is the body's time, not the head's.
#[test]
fn content_may_pause_within_a_frame() {
    let origin = Upstream::echoing();
    let policy =
        Policy { sidecar: "limits: {headTimeout: 100ms}", upstream: "protocol: http1", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    let frame = Frame::data(stream, *b"hello", true).octets();
    let (first, rest) = frame.split_at(11);
    link.peer.send(first);
    thread::sleep(Duration::from_millis(500));
    link.peer.send(rest);
    assert_eq!(link.message(stream).expect("an answer").text(), "hello");
}

#[test]
fn se_5_300_stalled_uploads_of_http1() {
    are_sent_away(b"POST / HTTP/1.1\r\nhost: us\r\ncontent-length: 100000\r\n\r\nsome");
}

#[test]
fn se_5_300_stalled_uploads_of_http2() {
    let victim = Victim::new(IMPATIENT, |_| Reply::Answer(answer(200)));
    victim.under(|inbound| {
        let mut crowd: Vec<_> = (0..CROWD / 100).map(|_| Link::connect(inbound)).collect();
        for link in &mut crowd {
            link.sync().expect("the victim is well");
            for _ in 0..100 {
                let stream = link.open(&POST, false);
                link.send(&Frame::data(stream, *b"some", false));
            }
        }
        for link in &mut crowd {
            for nth in 0..100 {
                match link.message(nth * 2 + 1) {
                    Ok(answer) => assert_eq!((answer.status(), answer.reason()), (408, "body-idle-timeout")),
                    Err(broken) => assert_ne!(broken, Broken::End(End::Open), "it is not cut off"),
                }
            }
        }
    });
}

/// An application that answers with a megabyte, and leaves if nobody wants it.
fn generous(_: &Message) -> Reply {
    Reply::Act(Box::new(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n")?;
        stream.write_all(&vec![b'x'; 1 << 20])
    }))
}

/// A hundred streams that want large answers and open these windows only.
fn hungry(inbound: SocketAddr, window: u32) -> Link {
    let mut link = Link::connect_with(inbound, &[(setting::INITIAL_WINDOW_SIZE, window)]);
    link.generous = false;
    link.sync().expect("the victim is well");
    for _ in 0..100 {
        link.open(&GET, true);
    }
    link
}

#[test]
fn se_5_windows_of_nothing_over_100_streams() {
    let victim = Victim::new(IMPATIENT, generous);
    let before = victim.rig.resident();
    victim.under(|inbound| {
        let mut link = hungry(inbound, 0);
        link.peer.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("it is open");
        while link.event().is_ok() {}
        let held = victim.rig.resident().saturating_sub(before);
        assert!(held < 16 << 20, "100 streams hold {held} octets");
    });
}

/// Every octet in a frame of its own, and each asked for by another.
#[test]
fn se_5_windows_of_one_octet_over_100_streams() {
    let victim = Victim::new(IMPATIENT, generous);
    victim.under(|inbound| {
        let mut link = hungry(inbound, 1);
        link.peer.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("it is open");
        let mut read = 0;
        while let Ok(event) = link.event() {
            if let Event::Data(stream, octets, false) = event
                && !octets.is_empty()
            {
                link.grant(stream, 1);
                read += 1;
            }
            if read == 50_000 {
                break;
            }
        }
    });
}
