//! How does a tunnel live and end? Counted, bounded by silence, indifferent to reloads, cut at the end of a drain.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::caller::{Caller, timed};
use crate::support::draft::get;
use crate::support::free_addr;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, eventually, upstream};
use crate::support::scripted::Upstream;

use super::{SWITCHING, before, before_with, connect, echoes, parrot, plain_parrot, upgraded};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A tunnel by CONNECT.
#[track_caller]
fn connected(rig: &Rig) -> Peer {
    let mut peer = Peer::connect(rig.outbound);
    peer.send(connect("up:443").octets());
    assert_eq!(peer.head().status(), 200);
    peer
}

#[test]
fn ob_1_a_tunnel_is_counted_and_logged() {
    let (server, origin) = (parrot(), plain_parrot());
    for (server, code, open) in [(&server, "101", upgraded as fn(&Rig) -> Peer), (&origin, "200", connected)]
    {
        let rig = before(server, "");
        let mut peer = open(&rig);
        echoes(&mut peer, "to and fro");
        rig.counts("connections_active", &[("direction", "outbound"), ("protocol", "tcp")], 1);
        rig.counts("connections_active", &[("direction", "outbound"), ("protocol", "http1")], 0);
        assert_eq!(peer.send("!").finish().rest(), (b"!".to_vec(), End::Closed));
        rig.counts("requests_total", &[("direction", "outbound"), ("upstream", "up"), ("code", code)], 1);
        rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "success")], 1);
        rig.counts("connections_active", &[("direction", "outbound")], 0);
        let line = &rig.logged(1)[0];
        assert_eq!(line["status"].to_string(), code, "{line}");
        assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&11.into(), &11.into()), "{line}");
        assert_eq!(line["flag"], "-", "{line}");
    }
}

#[test]
fn to_4_a_silent_tunnel_ends_on_both_sides_and_octets_keep_it() {
    let (server, origin) = (parrot(), plain_parrot());
    for (server, open) in [(&server, upgraded as fn(&Rig) -> Peer), (&origin, connected)] {
        let rig = before(server, "timeouts: {idle: 300ms}");
        let mut peer = open(&rig);
        let start = Instant::now();
        while start.elapsed() < MS(600) {
            echoes(&mut peer, "still here");
            std::thread::sleep(MS(20));
        }
        let (end, took) = timed(|| peer.rest());
        assert!(end.0.is_empty() && end.1 != End::Open, "{end:?}");
        assert!(took >= MS(200) && took < MS(3000), "{took:?}");
        rig.counts("deadline_exceeded_total", &[("where", "idle")], 1);
        rig.counts("connections_active", &[("direction", "outbound")], 0);
    }
}

/// Neither the time for a request nor that for its head is a bound on what follows an upgrade.
#[test]
fn to_4_nothing_but_silence_bounds_a_tunnel() {
    let server = parrot();
    let rig = before(&server, "timeouts: {request: 300ms, backendRequest: 200ms, responseHeaders: 200ms}");
    let mut peer = upgraded(&rig);
    std::thread::sleep(MS(500));
    echoes(&mut peer, "still here");
}

#[test]
fn dl_2_a_tunnel_ends_with_its_callers_patience() {
    let (server, origin) = (parrot(), plain_parrot());
    for (server, draft) in [(&server, super::websocket("up")), (&origin, connect("up:443"))] {
        let rig = before(server, "timeouts: {request: 10s}");
        let mut peer = Peer::connect(rig.outbound);
        let start = Instant::now();
        peer.send(draft.with("x-deadline", 500).octets());
        assert!(matches!(peer.head().status(), 101 | 200));
        while peer.send("still here").exactly(10).is_ok() {
            assert!(start.elapsed() < MS(3000), "{:?}", start.elapsed());
            std::thread::sleep(MS(20));
        }
        assert!(start.elapsed() >= MS(500), "{:?}", start.elapsed());
        rig.counts("deadline_exceeded_total", &[("where", "request")], 1);
    }
}

/// The next hop would take what policy allows for the head for all of the tunnel.
#[test]
fn dl_1_a_limit_that_ends_with_the_head_is_not_passed_on_as_a_tunnels() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Upstream::new(move |call| {
        let _ = tell.send(call.head().and_then(|asked| asked.field("x-deadline").map(str::to_owned)));
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n.");
        let _ = call.peer.rest();
    });
    let rig = before(&server, "timeouts: {request: 300ms}");
    let mut peer = Peer::connect(rig.outbound);
    peer.send(super::websocket("up").octets());
    assert_eq!(peer.head().status(), 200);
    assert_eq!(told.recv().unwrap(), None);
    // An answer instead of the tunnel is bounded to its last octet.
    let (end, took) = timed(|| peer.rest());
    assert!(end.1 != End::Open && took < MS(3000), "{end:?} after {took:?}");
}

#[test]
fn cf_3_a_tunnel_lives_through_reloads_that_take_its_upstream_away() {
    let (server, origin) = (parrot(), plain_parrot());
    for (server, open) in [(&server, upgraded as fn(&Rig) -> Peer), (&origin, connected)] {
        let rig = before(server, "");
        let mut peer = open(&rig);
        for documents in [vec![upstream("up", &[free_addr()], "")], vec![]] {
            echoes(&mut peer, "before");
            rig.reload(&documents);
            echoes(&mut peer, "after");
        }
        assert_eq!(Caller::of(rig.outbound).send(&get("up")).unwrap().status(), 404, "the upstream is gone");
        echoes(&mut peer, "still");
    }
}

#[test]
fn u_2_a_drain_waits_for_tunnels_and_has_an_end() {
    let server = parrot();
    let mut rig = before_with("shutdown: {drain: 1s}", &server, "");
    let (mut inbound, mut outbound) = (Peer::connect(rig.inbound), upgraded(&rig));
    inbound.send(super::websocket("us").octets());
    assert_eq!(inbound.head().status(), 101);
    let start = Instant::now();
    rig.signal(Signal::TERM);
    eventually("a drain", || (rig.probe("/readyz") == Some(503)).then_some(()));
    std::thread::sleep(MS(500));
    echoes(&mut inbound, "not idle");
    echoes(&mut outbound, "not yet");
    for peer in [&mut inbound, &mut outbound] {
        assert_ne!(peer.rest().1, End::Open);
        assert!(start.elapsed() >= MS(1000), "{:?}", start.elapsed());
    }
    rig.ended();
    assert!(start.elapsed() < MS(5000), "{:?}", start.elapsed());
}

#[test]
fn u_2_a_drain_ends_with_the_last_tunnel() {
    let server = parrot();
    let mut rig = before_with("shutdown: {drain: 20s}", &server, "");
    let mut peer = upgraded(&rig);
    let start = Instant::now();
    rig.signal(Signal::TERM);
    eventually("a drain", || (rig.probe("/readyz") == Some(503)).then_some(()));
    echoes(&mut peer, "a word still");
    assert_eq!(peer.finish().end(), End::Closed);
    assert!(rig.ended().success());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn an_end_without_manners_ends_the_other_side() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Upstream::new(move |call| {
        if call.head().is_some_and(|asked| asked.target() == "/") {
            call.peer.send(SWITCHING);
            let _ = tell.send(call.peer.rest().1);
        }
    });
    let rig = before(&server, "");
    let peer = upgraded(&rig);
    peer.reset();
    assert_eq!(told.recv().unwrap(), End::Reset, "the server learns that its client is gone");
    rig.counts("connections_active", &[("direction", "outbound")], 0);

    let server = Upstream::new(|call| {
        call.head();
        call.peer.send(SWITCHING);
        let _ = call.peer.exactly(1);
        let _ = socket2::SockRef::from(&call.peer.stream).set_linger(Some(Duration::ZERO));
    });
    let rig = before(&server, "");
    let mut peer = upgraded(&rig);
    peer.send("x");
    assert_eq!(peer.rest().1, End::Reset, "the client learns that its server is gone");
    rig.counts("connections_active", &[("direction", "outbound")], 0);
}

/// Neither direction waits for the other, however full the pipes are.
#[test]
fn bp_1_both_directions_flow_at_once() {
    const LENGTH: usize = 16 << 20;
    let said: Vec<u8> = (0..u32::try_from(LENGTH / 4).unwrap()).flat_map(u32::to_le_bytes).collect();
    let answer = said.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let server = Upstream::new(move |call| {
        call.head();
        call.peer.send(SWITCHING);
        let (mut writer, answer) = (call.peer.stream.try_clone().unwrap(), answer.clone());
        let writing = std::thread::spawn(move || writer.write_all(&answer));
        let _ = tell.send(call.peer.exactly(LENGTH));
        let _ = writing.join();
    });
    let rig = before(&server, "");
    let mut peer = upgraded(&rig);
    let (mut writer, ours) = (peer.stream.try_clone().unwrap(), said.clone());
    let writing = std::thread::spawn(move || writer.write_all(&ours));
    assert!(peer.exactly(LENGTH).is_ok_and(|heard| heard == said));
    assert!(told.recv().unwrap().is_ok_and(|heard| heard == said));
    writing.join().unwrap().unwrap();
}

/// Whoever does not read holds up whoever sends, and costs no memory.
#[test]
fn bp_1_a_stalled_tunnel_holds_back_its_sender() {
    let server = Upstream::new(|call| {
        call.head();
        call.peer.send(SWITCHING);
        std::thread::park_timeout(crate::support::PATIENCE);
    });
    let rig = before(&server, "");
    let mut peer = upgraded(&rig);
    let before = rig.resident();
    peer.stream.set_write_timeout(Some(MS(500))).unwrap();
    let sent = (0..4096).take_while(|_| peer.stream.write_all(&[b'.'; 16_384]).is_ok()).count();
    assert!(sent < 4096, "64 MiB went nowhere");
    assert!(rig.resident() < before + (2 << 20), "grew by {} octets", rig.resident() - before);
}
