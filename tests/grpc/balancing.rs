//! Who gets the next call of a connection? Calls are shared out one by one, however long connections live.

use std::net::SocketAddr;

use tonic::Status;

use super::client::{Client, ask};
use super::server::{Act, Server};
use crate::support::free_addr;
use crate::support::rig::{Rig, upstream};

const ROUND_ROBIN: &str = "loadBalancer: {policy: round-robin}";
/// A budget that grants all retries.
const GENEROUS: &str = "retryBudget: {minRate: 100000/s}";

fn addrs(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.addr).collect()
}

fn call(client: &Client, times: usize) {
    for _ in 0..times {
        client.unary(ask("", &[])).unwrap();
    }
}

#[test]
fn lb_1_calls_of_one_connection_are_shared_equally() {
    let servers = [(); 3].map(|()| Server::willing());
    let rig = Rig::start(&[upstream("up", &addrs(&servers), ROUND_ROBIN)]);
    call(&Client::connect(rig.outbound, "up"), 300);
    for server in &servers {
        assert!(server.count().abs_diff(100) <= 5, "{} of 300", server.count());
        assert_eq!(server.connections(), 1, "one that all calls share");
    }
}

#[test]
fn u_16_a_new_replica_gets_its_share_of_old_connections() {
    let servers = [(); 3].map(|()| Server::willing());
    let rig = Rig::start(&[upstream("up", &addrs(&servers[..2]), ROUND_ROBIN)]);
    let client = Client::connect(rig.outbound, "up");
    call(&client, 20);
    rig.reload(&[upstream("up", &addrs(&servers), ROUND_ROBIN)]);
    call(&client, 90);
    assert!(servers[2].count().abs_diff(30) <= 3, "{} of 90", servers[2].count());
}

#[test]
fn u_16_a_full_connection_gets_a_second_one() {
    let server = Server::willing();
    let rig = Rig::start(&[upstream("up", &[server.addr], "")]);
    let clients = [(); 2].map(|()| Client::connect(rig.outbound, "up"));
    let mut chats: Vec<_> =
        clients.iter().cycle().take(160).map(|client| client.chat(&[]).unwrap()).collect();
    for chat in &mut chats {
        assert_eq!(chat.exchange("hello").unwrap().unwrap(), "hello");
    }
    assert_eq!(server.connections(), 2, "100 streams are a connection's share");
}

#[test]
fn rt_6_a_replica_that_is_gone_costs_no_call() {
    let server = Server::willing();
    let settings = format!("{ROUND_ROBIN}\n{GENEROUS}");
    let rig = Rig::start(&[upstream("up", &[free_addr(), server.addr], &settings)]);
    let client = Client::connect(rig.outbound, "up");
    call(&client, 10);
    for _ in 0..4 {
        assert_eq!(client.chat(&[]).unwrap().exchange("hello").unwrap().unwrap(), "hello");
    }
}

#[test]
fn rt_11_a_retry_goes_elsewhere() {
    let servers =
        [Server::start(|_, _| Act::Fail(Status::unavailable("never"))), Server::willing(), Server::willing()];
    let settings = format!(
        "{ROUND_ROBIN}\n{GENEROUS}\n\
         retry: {{on: [unavailable], attempts: 1, backoff: {{base: 1ms, max: 1ms}}}}"
    );
    let rig = Rig::start(&[upstream("up", &addrs(&servers), &settings)]);
    call(&Client::connect(rig.outbound, "up"), 60);
    let failed = servers[0].count();
    assert!(failed > 0, "the one that fails was asked");
    assert_eq!(servers.iter().map(Server::count).sum::<usize>(), 60 + failed, "and no retry asked it again");
}
