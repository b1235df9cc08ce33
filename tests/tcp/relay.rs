//! Do octets pass as they are? Both ways, in any amount, and each end for itself.

use std::time::Duration;

use rustix::process::Signal;

use super::{INBOUND, OUTBOUND, db, echo, greeter, is_broken_off, leading_to};
use crate::support::free_addr;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, eventually};

#[test]
fn octets_pass_out_of_the_service_and_each_direction_ends_for_itself() {
    let server = echo();
    let (rig, port) = leading_to(&[server.addr], "");
    let mut peer = Peer::connect(port);
    let content: Vec<u8> = (0..3_000_000_u32).map(|nth| nth.to_le_bytes()[nth as usize % 3]).collect();
    peer.send(&content).finish();
    let (said, end) = peer.rest();
    assert!(said == content, "{} octets of {}", said.len(), content.len());
    assert_eq!(end, End::Closed);
    let labels = [OUTBOUND, ("route", "-"), ("upstream", "db")];
    rig.counts("tcp_connections_total", &[labels[0], labels[1], labels[2], ("flag", "-")], 1);
    rig.counts("tcp_received_bytes_total", &labels, 3_000_000);
    rig.counts("tcp_sent_bytes_total", &labels, 3_000_000);
    rig.counts("connections_active", &[OUTBOUND, ("protocol", "tcp")], 0);
    rig.counts("requests_total", &[], 0);
}

#[test]
fn octets_pass_into_the_service_and_are_written_down() {
    let server = greeter();
    let wishes = Wishes { app: Some(server.addr), inbound: "protocol: tcp".to_owned(), ..Wishes::default() };
    let rig = Rig::with(&wishes, &[]);
    let mut peer = Peer::connect(rig.inbound);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n", "a server may speak first");
    rig.counts("connections_active", &[INBOUND, ("protocol", "tcp")], 1);
    rig.counts("tcp_sent_bytes_total", &[INBOUND], 11);
    peer.send("QUIT\r\n");
    assert_eq!(peer.exactly(6).unwrap(), b"QUIT\r\n");
    drop(peer);
    let line = &rig.logged(1)[0];
    assert_eq!(
        (&line["protocol"], &line["bytes_in"], &line["bytes_out"]),
        (&"tcp".into(), &6.into(), &17.into())
    );
    assert_eq!((&line["endpoint"], &line["flag"]), (&server.addr.to_string().into(), &"-".into()), "{line}");
    assert!(line.get("method").is_none() && line.get("path").is_none(), "{line}");
    assert_eq!(line["authority"], format!("{}", rig.inbound), "where it was meant to go");
}

#[test]
fn rt_1_a_connection_finds_the_endpoint_that_lives() {
    let server = echo();
    let (rig, port) = leading_to(&[free_addr(), server.addr], "retryBudget: {minRate: 100/s}");
    for nth in 1..=100 {
        assert_eq!(Peer::connect(port).send("here").finish().rest(), (b"here".to_vec(), End::Closed));
        rig.counts("tcp_connections_total", &[OUTBOUND, ("upstream", "db"), ("flag", "-")], nth);
        if rig.metric("retries_total", &[("upstream", "db"), ("cause", "connect-refused")]) > 0 {
            return;
        }
    }
    panic!("nobody met the endpoint that is dead");
}

#[test]
fn who_reaches_nobody_sees_a_break_and_no_end() {
    let (rig, port) = leading_to(&[free_addr()], "retry: {attempts: 0}");
    is_broken_off(port);
    rig.counts("tcp_connections_total", &[("upstream", "db"), ("flag", "UF")], 1);
    rig.counts("attempts_total", &[("outcome", "connect-refused")], 1);
    assert_eq!(rig.logged(1)[0]["reason"], "connect-refused");
}

#[test]
fn a_port_without_an_upstream_leads_nowhere() {
    let port = free_addr();
    let wishes = Wishes { outbound: format!("tcp: [{{listen: \"{port}\"}}]"), ..Wishes::default() };
    let rig = Rig::with(&wishes, &[db(&[echo().addr], "")]);
    is_broken_off(port);
    rig.counts("tcp_connections_total", &[OUTBOUND, ("route", "-"), ("upstream", "-"), ("flag", "NR")], 1);
}

#[test]
fn a_route_splits_connections_by_weight_and_by_port() {
    let [old, new] = ["old", "new"].map(|name| {
        crate::support::scripted::Upstream::new(move |call| {
            call.peer.send(name);
        })
    });
    let [one, other] = [free_addr(), free_addr()];
    let outbound = format!("tcp: [{{listen: \"{one}\"}}, {{listen: \"{other}\", upstream: old}}]");
    let route = format!(
        "apiVersion: outrigger/v1\nkind: TCPRoute\nname: split\nrules: [{{matches: [{{ports: [{}]}}], \
         backendRefs: [{{name: old, weight: 1}}, {{name: new, weight: 1}}]}}]\n",
        one.port()
    );
    let named = |name: &str, addr| crate::support::rig::upstream(name, &[addr], "protocol: tcp");
    let documents = [named("old", old.addr), named("new", new.addr), route];
    let rig = Rig::with(&Wishes { outbound, ..Wishes::default() }, &documents);
    assert_eq!(Peer::connect(other).rest().0, b"old");
    eventually("both", || {
        Peer::connect(one).rest();
        let met =
            |upstream| rig.metric("tcp_connections_total", &[("route", "split"), ("upstream", upstream)]);
        (met("old") > 0 && met("new") > 0).then_some(())
    });
}

/// What a drain cannot tell to go, it waits for until its time is up.
#[test]
fn u_2_a_connection_goes_on_through_a_drain_up_to_its_end() {
    let server = greeter();
    let sidecar = "shutdown: {drain: 20s}".to_owned();
    let inbound = "protocol: tcp".to_owned();
    let mut rig = Rig::with(&Wishes { app: Some(server.addr), inbound, sidecar, ..Wishes::default() }, &[]);
    let mut peer = Peer::connect(rig.inbound);
    assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n");
    rig.signal(Signal::TERM);
    eventually("readiness to fail", || (rig.probe("/readyz") == Some(503)).then_some(()));
    assert_eq!(peer.send("still here").exactly(10).unwrap(), b"still here");
    assert!(peer.is_silent_for(Duration::from_millis(300)));
    drop(peer);
    assert!(rig.ended().success());
}
