//! How many connections may an upstream have? `maxConnections`, whichever worker and version they are of.

use super::{Gate, begin, two_workers};
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::peer::Peer;
use crate::support::rig::{Rig, upstream};
use crate::support::server::Server;

const OPEN: &[(&str, &str)] = &[("upstream", "up"), ("limit", "connections")];

#[test]
fn bh_2_no_more_connections_than_allowed_over_two_workers() {
    let gate = Gate::closed();
    let document = upstream("up", &[gate.origin.addr], "limits: {maxConnections: 3, queueTimeout: 10s}");
    let rig = two_workers(&[document]);
    let callers: Vec<_> = (0..12).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_waiting", OPEN, 9);
    assert_eq!(rig.metric("limit_in_flight", OPEN), 3);
    gate.open();
    for mut caller in callers {
        assert_eq!(caller.message().status(), 200);
    }
    rig.storm(12, 20, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    assert_eq!(gate.most(), 3);
    assert!(gate.origin.connections() < 120, "{} for 252 requests", gate.origin.connections());
}

#[test]
fn bh_2_who_gets_no_connection_in_time_is_told_so() {
    let gate = Gate::closed();
    let limits = "limits: {maxConnections: 1, maxPending: 1, queueTimeout: 300ms}";
    let rig = Rig::start(&[upstream("up", &[gate.origin.addr], limits)]);
    let mut inside = begin(rig.outbound, &get("up"));
    rig.counts("limit_in_flight", OPEN, 1);
    let mut late = begin(rig.outbound, &get("up"));
    rig.counts("limit_waiting", OPEN, 1);
    let over = rig.caller().send(&get("up")).unwrap();
    assert_eq!((over.status(), over.reason()), (503, "limit-pending"));
    let late = late.message();
    assert_eq!((late.status(), late.reason()), (503, "limit-connections"));
    gate.open();
    assert_eq!(inside.message().status(), 200);
    rig.counts("limit_exceeded_total", &[("limit", "upstream-connections")], 1);
}

#[test]
fn bh_2_a_connection_that_is_given_back_goes_to_who_waits() {
    let gate = Gate::closed();
    let limits = "limits: {maxConnections: 1, maxIdle: 0, queueTimeout: 10s}";
    let rig = Rig::start(&[upstream("up", &[gate.origin.addr], limits)]);
    let callers: Vec<_> = (0..5).map(|_| begin(rig.outbound, &get("up"))).collect();
    rig.counts("limit_waiting", OPEN, 4);
    gate.open();
    for mut caller in callers {
        assert_eq!(caller.message().status(), 200);
    }
    assert_eq!(gate.origin.connections(), 1);
}

#[test]
fn bh_2_idle_connections_make_room_for_other_workers_and_endpoints() {
    let origins = [(); 2].map(|()| Origin::always(200));
    let addrs: Vec<_> = origins.iter().map(|origin| origin.addr).collect();
    let limits = "loadBalancer: {policy: round-robin}\nlimits: {maxConnections: 1, queueTimeout: 10s}";
    let rig = two_workers(&[upstream("up", &addrs, limits)]);
    for _ in 0..12 {
        let mut peer = Peer::connect(rig.outbound);
        assert_eq!(peer.send(get("up").octets()).message().status(), 200);
    }
    assert_eq!(origins.map(|origin| origin.count()), [6, 6]);
    rig.counts("limit_in_flight", OPEN, 1);
}

#[test]
fn bh_2_http2_connections_count_as_well() {
    // One request at a time on each.
    let server = Server::treating_with(&[(3, 1)], |link, stream, _| {
        link.answer(stream, &[(":status", "200")], b"");
    });
    let limits = "protocol: http2\nlimits: {maxConnections: 2, queueTimeout: 10s}";
    let rig = two_workers(&[upstream("up", &[server.addr], limits)]);
    rig.storm(8, 20, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
    assert!(server.connections() < 80, "{} for 160 requests", server.connections());
    assert!(rig.metric("limit_in_flight", OPEN) <= 2);
}
