//! What happens over several hops? Sidecars in front of sidecars, with applications between them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use crate::support::caller::Caller;
use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, upstream};

const MIB: usize = 1 << 20;

/// What an application passes on of whom it calls and by whom it is called.
#[derive(Clone, Copy)]
struct Manners {
    request: &'static [&'static str],
    response: &'static [&'static str],
}

/// An application with its sidecar, which answers as `next` does.
fn hop(next: SocketAddr, manners: Manners, settings: &str) -> Rig {
    let outbound = Arc::<OnceLock<SocketAddr>>::default();
    let there = Arc::clone(&outbound);
    let app = Origin::start(move |_, asked| {
        let mut request = get("next");
        for name in manners.request {
            request = asked.field(name).into_iter().fold(request, |request, value| request.with(name, value));
        }
        let heard = Caller::of(*there.get().unwrap()).send(&request).unwrap();
        let mut said = answer(heard.status());
        for name in manners.response {
            said = heard.field(name).into_iter().fold(said, |said, value| said.with(name, value));
        }
        Reply::Answer(said)
    });
    let rig = Rig::with(
        &Wishes { app: Some(app.addr), ..Wishes::default() },
        &[upstream("next", &[next], settings)],
    );
    outbound.set(rig.outbound).unwrap();
    rig
}

/// A → B → C → leaf, each with retries of its own; the leaf fails and only C may ask it again.
fn rt_10(manners: Manners) {
    let leaf = Origin::always(503);
    let settings = "retry: {on: [5xx], attempts: 2, backoff: {base: 1ms, max: 1ms}}\nretryBudget: {percent: 20%, minRate: 0/s}";
    let c = hop(leaf.addr, manners, settings);
    let b = hop(c.inbound, manners, settings);
    let a = Rig::start(&[upstream("next", &[b.inbound], settings)]);
    let offered = 200;
    a.storm(2, offered / 2, |caller, _| assert_eq!(caller.send(&get("next")).unwrap().status(), 503));
    assert!(leaf.count() > offered, "the hop next to the failure retries");
    assert!(leaf.count() <= offered + offered / 5, "{} of {offered} reached the leaf", leaf.count());
    for (hop, rig) in [("A", &a), ("B", &b)] {
        rig.counts("retries_total", &[], 0);
        assert_eq!(
            rig.metric("retries_refused_total", &[("reason", "settled-below")]),
            offered as u64,
            "{hop}"
        );
    }
}

#[test]
fn rt_10_no_amplification_where_applications_pass_the_mark_on() {
    rt_10(Manners { request: &[], response: &["x-outrigger-reason"] });
}

#[test]
fn rt_10_no_amplification_where_applications_pass_on_request_ids_alone() {
    rt_10(Manners { request: &["x-request-id", "traceparent"], response: &[] });
}

/// Pieces of a long body, each with its number in it, so that what is lost, doubled or swapped shows.
struct Pieces(Vec<u8>);

impl Pieces {
    fn new() -> Self {
        Self((0..MIB / 8).flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect())
    }

    fn nth(&mut self, nth: usize) -> &[u8] {
        self.0[..8].copy_from_slice(&nth.to_le_bytes());
        &self.0
    }
}

/// Bodies pass through and stay nowhere.
#[test]
fn bh_3_a_long_body_takes_no_memory() {
    const PIECES: usize = 256;
    let origin = Origin::start(|_, _| {
        Reply::Act(Box::new(|stream: &mut TcpStream| {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * MIB)?;
            let mut pieces = Pieces::new();
            (0..PIECES).try_for_each(|nth| stream.write_all(pieces.nth(nth)))
        }))
    });
    let server = Rig::with(&Wishes { app: Some(origin.addr), ..Wishes::default() }, &[]);
    let client = Rig::start(&[upstream("up", &[server.inbound], "")]);
    let before = [&server, &client].map(Rig::resident);
    let mut peer = Peer::connect(client.outbound);
    peer.send(get("up").with("connection", "close").octets());
    assert_eq!(peer.head().status(), 200);
    let mut pieces = Pieces::new();
    for nth in 0..PIECES {
        assert!(peer.exactly(MIB).unwrap() == pieces.nth(nth), "piece {nth} is not what was sent");
    }
    assert_eq!(peer.end(), End::Closed);
    for (rig, before) in [&server, &client].into_iter().zip(before) {
        let grown = rig.resident().saturating_sub(before);
        assert!(grown < 8 * MIB as u64, "grew by {} KiB", grown / 1024);
    }
}
