//! What bounds a connection that nobody reads? The limits of its upstream, silence, and breakers.

use super::{INBOUND, OUTBOUND, greeter, is_broken_off, leading_to};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes};
use crate::support::{eventually, free_addr};

#[test]
fn bh_1_an_upstream_gets_no_more_connections_than_it_may() {
    let server = greeter();
    let (rig, port) =
        leading_to(&[server.addr], "limits: {maxConnections: 1, maxPending: 1, queueTimeout: 200ms}");
    let mut first = Peer::connect(port);
    assert_eq!(first.exactly(11).unwrap(), b"220 ready\r\n");
    is_broken_off(port);
    rig.counts("tcp_connections_total", &[OUTBOUND, ("flag", "UO")], 1);
    rig.counts("limit_exceeded_total", &[("limit", "upstream-connections")], 1);
    assert_eq!(server.connections(), 1);
    drop(first);
    eventually("the place of who has left", || Peer::connect(port).exactly(11).is_ok());
}

#[test]
fn bh_2_a_bulkhead_counts_connections_as_requests_in_flight() {
    let server = greeter();
    let (rig, port) =
        leading_to(&[server.addr], "limits: {maxRequests: 1, maxPending: 1, queueTimeout: 200ms}");
    let mut first = Peer::connect(port);
    assert_eq!(first.exactly(11).unwrap(), b"220 ready\r\n");
    is_broken_off(port);
    rig.counts("limit_exceeded_total", &[("limit", "requests")], 1);
}

#[test]
fn rl_1_a_rate_limit_counts_connections_where_nobody_reads_requests() {
    let server = greeter();
    let limit =
        "apiVersion: outrigger/v1\nkind: RateLimitPolicy\nname: gate\ntotal: {rate: 0.1/s, burst: 1}\n";
    let inbound = "protocol: tcp".to_owned();
    let rig =
        Rig::with(&Wishes { app: Some(server.addr), inbound, ..Wishes::default() }, &[limit.to_owned()]);
    assert_eq!(Peer::connect(rig.inbound).exactly(11).unwrap(), b"220 ready\r\n");
    is_broken_off(rig.inbound);
    rig.counts("tcp_connections_total", &[INBOUND, ("flag", "RL")], 1);
    rig.counts("rate_limit_decisions_total", &[("policy", "gate"), ("decision", "denied-rate")], 1);
}

#[test]
fn to_1_silence_has_an_end() {
    let server = greeter();
    let (rig, port) = leading_to(&[server.addr], "timeouts: {idle: 300ms}");
    let mut peer = Peer::connect(port);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n");
    assert_eq!(peer.rest(), (Vec::new(), End::Reset));
    rig.counts("tcp_connections_total", &[OUTBOUND, ("flag", "UT")], 1);
    rig.counts("deadline_exceeded_total", &[("where", "idle")], 1);
}

#[test]
fn lb_6_an_endpoint_that_takes_nobody_is_left_alone() {
    let (live, dead) = (greeter(), free_addr());
    let settings = "outlierDetection: {consecutiveFailures: 1, baseEjectionTime: 1m, maxEjectionTime: 1m}\n\
                    loadBalancer: {policy: round-robin}\nretryBudget: {minRate: 100/s}";
    let (rig, port) = leading_to(&[dead, live.addr], settings);
    eventually("an ejection", || {
        assert_eq!(Peer::connect(port).exactly(11).unwrap(), b"220 ready\r\n");
        rig.metric("endpoint_ejections_total", &[("upstream", "db")]) == 1
    });
    let before = rig.metric("attempts_total", &[("outcome", "connect-refused")]);
    for _ in 0..10 {
        assert_eq!(Peer::connect(port).exactly(11).unwrap(), b"220 ready\r\n");
    }
    assert_eq!(rig.metric("attempts_total", &[("outcome", "connect-refused")]), before);
}
