//! Do streams outlive what happens to sidecars? A reload changes the policy, a drain sends callers elsewhere.

use rustix::process::Signal;

use super::client::{Client, ask};
use super::server::Server;
use super::ways::Way;
use crate::support::rig::{Rig, Wishes, eventually, upstream};

#[test]
fn grpc_a_stream_outlives_reloads() {
    let (server, next) = (Server::willing(), Server::willing());
    let way = Way::both(&server, "");
    let client = way.client();
    let mut chat = client.chat(&[]).unwrap();
    chat.exchange("before").unwrap();
    way.rigs[1].reload(&[upstream("other", &[next.addr], "")]);
    assert_eq!(chat.exchange("after one").unwrap().unwrap(), "after one");
    // Not even its endpoint is left.
    way.rigs[0].reload(&[upstream("up", &[next.addr], "")]);
    assert_eq!(chat.exchange("after both").unwrap().unwrap(), "after both");
    assert_eq!(client.unary(ask("new", &[])).unwrap().into_inner(), "new");
    assert_eq!((server.count(), next.count()), (1, 1), "new calls go where the policy says now");
    chat.say("the last");
    assert_eq!(chat.finish().unwrap(), ["the last"]);
}

#[test]
fn u_2_a_drain_finishes_streams_and_sends_new_calls_elsewhere() {
    let server = Server::willing();
    let mut inbound: Vec<_> = (0..2)
        .map(|_| {
            let wishes = Wishes {
                app: Some(server.addr),
                sidecar: "shutdown: {drain: 20s}".to_owned(),
                ..Wishes::default()
            };
            Rig::with(&wishes, &[])
        })
        .collect();
    let addrs: Vec<_> = inbound.iter().map(|rig| rig.inbound).collect();
    // Half of the calls meet the one that is leaving, and are made again elsewhere.
    let settings = "loadBalancer: {policy: round-robin}\nretryBudget: {minRate: 100/s}";
    let outbound = Rig::start(&[upstream("up", &addrs, settings)]);
    let client = Client::connect(outbound.outbound, "up");
    // Two streams, so one through each.
    let mut chats = [client.chat(&[]).unwrap(), client.chat(&[]).unwrap()];
    for chat in &mut chats {
        chat.exchange("before").unwrap();
    }
    let mut leaving = inbound.remove(0);
    leaving.signal(Signal::TERM);
    eventually("readiness to fail", || (leaving.probe("/readyz") == Some(503)).then_some(()));
    for nth in 0..40 {
        let said = client.unary(ask("new", &[]));
        assert!(said.is_ok(), "call {nth} during the drain: {said:?}");
    }
    for chat in &mut chats {
        assert_eq!(chat.exchange("during").unwrap().unwrap(), "during");
        chat.say("the last");
        assert_eq!(chat.finish().unwrap(), ["the last"]);
    }
    assert!(leaving.ended().success());
    for nth in 0..10 {
        let said = client.unary(ask("new", &[]));
        assert!(said.is_ok(), "call {nth} after it: {said:?}");
    }
}

#[test]
fn u_2_own_streams_work_to_the_end_of_a_drain() {
    let server = Server::willing();
    let mut way = Way::out(&server, "");
    let client = way.client();
    let mut chat = client.chat(&[]).unwrap();
    chat.exchange("before").unwrap();
    let rig = &mut way.rigs[0];
    rig.signal(Signal::TERM);
    eventually("readiness to fail", || (rig.probe("/readyz") == Some(503)).then_some(()));
    assert_eq!(chat.exchange("during").unwrap().unwrap(), "during");
    assert_eq!(Client::connect(rig.outbound, "up").unary(ask("new", &[])).unwrap().into_inner(), "new");
    chat.say("the last");
    assert_eq!(chat.finish().unwrap(), ["the last"]);
    drop((chat, client));
    assert!(rig.ended().success());
}

#[test]
fn u_16_old_connections_make_way_and_finish_their_streams() {
    let server = Server::willing();
    let sidecar = "limits: {maxConnectionAge: 500ms}".to_owned();
    let rig = Rig::with(
        &Wishes { sidecar, ..Wishes::default() },
        &[upstream("up", &[server.addr], "limits: {maxConnectionAge: 500ms}")],
    );
    let client = Client::connect(rig.outbound, "up");
    let mut chat = client.chat(&[]).unwrap();
    chat.exchange("young").unwrap();
    let next = eventually("a client that is sent away, and a connection that is replaced", || {
        let next = Client::connect(rig.outbound, "up");
        assert_eq!(next.unary(ask("new", &[])).unwrap().into_inner(), "new");
        (server.connections() > 1 && client.unary(ask("", &[])).is_err()).then_some(next)
    });
    assert_eq!(next.unary(ask("next", &[])).unwrap().into_inner(), "next");
    assert_eq!(chat.exchange("old").unwrap().unwrap(), "old");
    assert_eq!(chat.finish().unwrap().len(), 0);
}
