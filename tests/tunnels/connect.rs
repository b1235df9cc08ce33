//! Who may have a tunnel by CONNECT, and when does it stand? (RFC 9110 §9.3.6)

use std::sync::mpsc::channel;

use crate::support::caller::Caller;
use crate::support::draft::get;
use crate::support::free_addr;
use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;

use super::{before, connect, give_back, plain_parrot};

/// Tells all that it hears, and answers when it has heard all.
fn listening() -> (Upstream, std::sync::mpsc::Receiver<(Vec<u8>, End)>) {
    let (tell, told) = channel();
    let server = Upstream::new(move |call| {
        let _ = tell.send(call.peer.rest());
        call.peer.send("I heard");
    });
    (server, told)
}

#[test]
fn a_tunnel_carries_octets_both_ways_and_ends_direction_by_direction() {
    let server = Upstream::new(|call| {
        call.peer.send("220 ready\r\n");
        give_back(&mut call.peer);
        call.peer.send("bye");
    });
    let rig = before(&server, "");
    for authority in ["up:443", "up:80"] {
        let mut peer = Peer::connect(rig.outbound);
        peer.send(connect(authority).octets());
        let said = peer.head();
        assert_eq!(said.status(), 200, "{}", said.head);
        assert!(
            said.field("content-length").is_none() && said.field("transfer-encoding").is_none(),
            "{}",
            said.head
        );
        assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n", "a server may speak first");
        super::echoes(&mut peer, "\x16\x03\x01 GET / HTTP/1.1\r\n\r\n");
        assert_eq!(peer.finish().rest(), (b"bye".to_vec(), End::Closed));
    }
}

#[test]
fn octets_that_come_before_the_tunnel_stands_go_through_it() {
    let (server, told) = listening();
    let rig = before(&server, "");
    let mut peer = Peer::connect(rig.outbound);
    let early = vec![b'.'; 100_000];
    peer.send([connect("up:443").octets(), early.clone()].concat()).finish();
    assert_eq!(peer.head().status(), 200);
    assert_eq!(peer.rest(), (b"I heard".to_vec(), End::Closed));
    assert!(told.recv().unwrap() == (early, End::Closed), "nothing is lost, and nothing is put before it");
}

#[test]
fn no_tunnel_stands_before_the_endpoint_is_connected() {
    let nobody = free_addr();
    let rig = Rig::start(&[upstream("up", &[nobody], "retry: {attempts: 0}")]);
    let said = Caller::of(rig.outbound).send(&connect("up:443")).unwrap();
    assert_eq!((said.status(), said.reason()), (502, "connect-refused"), "{}", said.head);
    rig.counts("requests_total", &[("code", "502")], 1);
    rig.counts("attempts_total", &[("outcome", "connect-refused")], 1);
}

/// Nothing has been said yet when a connect fails, so somebody else may be tried.
#[test]
fn rt_1_a_tunnel_finds_the_endpoint_that_lives() {
    let server = plain_parrot();
    let rig = Rig::start(&[upstream("up", &[free_addr(), server.addr], "retryBudget: {minRate: 100/s}")]);
    for _ in 0..100 {
        let mut peer = Peer::connect(rig.outbound);
        peer.send(connect("up:443").octets());
        let said = peer.head();
        assert_eq!(said.status(), 200, "{}", said.head);
        super::echoes(&mut peer, "here");
        if rig.metric("retries_total", &[("upstream", "up")]) > 0 {
            return;
        }
    }
    panic!("nobody met the endpoint that is dead");
}

#[test]
fn a_tunnel_leads_to_named_upstreams_only() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    for authority in ["nowhere:443".to_owned(), origin.addr.to_string()] {
        let said = Caller::of(rig.outbound).send(&connect(&authority)).unwrap();
        assert_eq!(said.status(), 404, "{authority}: {}", said.head);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_tunnel_needs_leave() {
    let (server, _) = listening();
    let rig = before(&server, "upgrades: [websocket]");
    for (way, addr) in [("outbound", rig.outbound), ("inbound", rig.inbound)] {
        let said = Caller::of(addr).send(&connect("up:443")).unwrap();
        assert_eq!((said.status(), said.reason()), (403, "connect-not-allowed"), "{way}: {}", said.head);
    }
    assert_eq!(server.connections(), 0);
}

/// RFC 9112 §3.2.3: the target of CONNECT is an authority with its port.
#[test]
fn a_target_that_names_no_place_is_malformed() {
    let (server, _) = listening();
    let rig = before(&server, "");
    for target in ["/", "up", "http://up:80/", "up:80/path", "*", "up:", ":80", "up:http"] {
        let mut peer = Peer::connect(rig.outbound);
        peer.send(format!("CONNECT {target} HTTP/1.1\r\nhost: up:80\r\n\r\n"));
        assert_eq!(peer.head().status(), 400, "{target}");
    }
    assert_eq!(server.connections(), 0);
}

/// Octets behind a CONNECT that was refused may have been meant for the tunnel: none of them may become a request that
/// was never routed. Either they are read as the next request, or the connection ends.
#[test]
fn what_follows_an_ungranted_connect_reaches_nobody_unrouted() {
    let (server, told) = listening();
    let other = Origin::always(204);
    let settings = "upgrades: [websocket]";
    let rig = Rig::start(&[upstream("up", &[server.addr], settings), upstream("other", &[other.addr], "")]);
    let mut peer = Peer::connect(rig.outbound);
    peer.send([connect("up:443").octets(), get("other").octets()].concat()).finish();
    assert_eq!(peer.message().status(), 403);
    if let Ok(said) = peer.try_message() {
        assert_eq!(said.status(), 204, "{}", said.head);
        assert!(other.seen()[0].message.field("x-request-id").is_some());
    }
    assert!(told.try_recv().is_err() && server.connections() == 0);
}

/// RFC 9110 §9.3.6: a request for a tunnel has no content, so a length that it announces must not be believed by one
/// side alone.
#[test]
fn content_announced_with_a_connect_is_refused() {
    let (server, _) = listening();
    let rig = before(&server, "");
    for field in ["content-length: 5", "transfer-encoding: chunked"] {
        let mut peer = Peer::connect(rig.outbound);
        peer.send(format!("CONNECT up:443 HTTP/1.1\r\nhost: up:443\r\n{field}\r\n\r\nhello"));
        assert_eq!(peer.head().status(), 400, "{field}");
    }
    assert_eq!(server.connections(), 0);
}
