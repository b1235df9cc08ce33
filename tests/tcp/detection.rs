//! Is anybody kept waiting to see what is spoken? Not on ports that are listed, once elsewhere, and each time is counted
//! (REQUIREMENTS U19).

use std::time::{Duration, Instant};

use super::{INBOUND, OUTBOUND, db, echo, greeter};
use crate::support::caller::Caller;
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes};

/// A sidecar before this application, by whose callers the port is called 3306, and which sees for itself what is spoken.
fn detecting(app: std::net::SocketAddr, detection: &str) -> Rig {
    let inbound = "protocol: auto".to_owned();
    let sidecar = format!("detection: {{{detection}}}\naccessLog: {{successSample: 100%}}");
    let wishes = Wishes { app: Some(app), inbound, port: Some(3306), sidecar, ..Wishes::default() };
    Rig::with(&wishes, &[])
}

#[test]
fn u_19_a_server_that_speaks_first_on_a_listed_port_is_not_delayed() {
    let server = greeter();
    // Whoever waited would wait for longer than a test does.
    let rig = detecting(server.addr, "timeout: 60s");
    let mut peer = Peer::connect(rig.inbound);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n");
    rig.counts("detections_total", &[], 0);
    rig.counts("connections_active", &[INBOUND, ("protocol", "tcp")], 1);
}

#[test]
fn u_19_elsewhere_it_waits_once_for_a_bounded_time_that_is_counted() {
    let server = greeter();
    let rig = detecting(server.addr, "timeout: 300ms, opaquePorts: []");
    let start = Instant::now();
    let mut peer = Peer::connect(rig.inbound);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n");
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    rig.counts("detections_total", &[INBOUND, ("result", "timeout")], 1);
    assert_eq!(peer.send("and then").exactly(8).unwrap(), b"and then");
}

#[test]
fn u_19_what_is_http_is_served_as_such_and_all_else_passes() {
    let origin = Origin::always(200);
    let rig = detecting(origin.addr, "timeout: 60s, opaquePorts: []");
    assert_eq!(Caller::of(rig.inbound).send(&get("us")).unwrap().status(), 200);
    assert!(origin.seen()[0].message.field("x-request-id").is_some(), "it was read");
    rig.counts("requests_total", &[INBOUND, ("code", "200")], 1);
    let server = echo();
    let rig = detecting(server.addr, "timeout: 60s, opaquePorts: []");
    let mut peer = Peer::connect(rig.inbound);
    // In pieces, so that none says by itself what it is.
    for piece in ["*1\r", "\n$4\r\nPI", "NG\r\n"] {
        peer.send(piece);
    }
    assert_eq!(peer.finish().rest(), (b"*1\r\n$4\r\nPING\r\n".to_vec(), End::Closed));
    rig.counts("detections_total", &[INBOUND, ("result", "opaque")], 1);
}

/// Whoever sends half a request and waits would else be let through unread.
#[test]
fn half_a_request_is_no_way_around_what_is_said_of_requests() {
    let origin = Origin::always(200);
    let rig = detecting(origin.addr, "timeout: 200ms, opaquePorts: []");
    let mut peer = Peer::connect(rig.inbound);
    peer.send("GET /secret HT");
    rig.counts("detections_total", &[INBOUND, ("result", "timeout")], 1);
    peer.send("TP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(peer.message().status(), 200);
    assert!(origin.seen()[0].message.field("x-request-id").is_some(), "it was read");
}

#[test]
fn what_speaks_no_http_gets_none() {
    let server = echo();
    let rig = Rig::start(&[db(&[server.addr], "")]);
    let said = Caller::of(rig.outbound).send(&get("db")).unwrap();
    assert_eq!((said.status(), said.reason()), (404, "no-route"), "{}", said.head);
    assert_eq!(server.connections(), 0);
    rig.counts("tcp_connections_total", &[OUTBOUND], 0);
}
