//! Do real servers and their clients notice anything? Sessions and short benchmarks through the sidecar, with nothing lost.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{INBOUND, OUTBOUND, leading_to};
use crate::support::peer::Peer;
use crate::support::rig::{Rig, Wishes};
use crate::support::servers::{Place, Server, client, said};

/// What the clients of a server that is reached through the sidecar run.
struct Through<'a> {
    server: &'a Server,
    rig: Rig,
    port: SocketAddr,
}

impl<'a> Through<'a> {
    fn new(server: &'a Server) -> Self {
        let (rig, port) = leading_to(&[server.place.addr], "");
        Self { server, rig, port }
    }

    /// What a client says in the end.
    #[track_caller]
    fn run(&self, program: &str, words: &[&str]) -> String {
        said(client(&self.server.place, program, self.port).args(words))
    }

    /// None of so many connections at least has failed, and octets went both ways.
    #[track_caller]
    fn all_passed(&self, least: u64) {
        self.rig.counts("connections_active", &[OUTBOUND, ("protocol", "tcp")], 0);
        let ended = self.rig.metric("tcp_connections_total", &[OUTBOUND]);
        let well = self.rig.metric("tcp_connections_total", &[OUTBOUND, ("flag", "-")]);
        let left = self.rig.metric("tcp_connections_total", &[OUTBOUND, ("flag", "DC")]);
        assert!(ended >= least && well + left == ended, "{well} and {left} of {ended}, at least {least}");
        for way in ["tcp_received_bytes_total", "tcp_sent_bytes_total"] {
            assert!(self.rig.metric(way, &[OUTBOUND, ("upstream", "db")]) > 10_000, "{way}");
        }
    }
}

#[test]
fn cf_9_redis_notices_nothing() {
    let Some(redis) = Server::redis(Place::here()) else { return };
    let through = Through::new(&redis);
    assert_eq!(through.run("redis-cli", &["set", "greeting", "hello"]), "OK\n");
    assert_eq!(through.run("redis-cli", &["get", "greeting"]), "hello\n");
    through.run("redis-benchmark", &["-q", "-n", "20000", "-c", "20", "-P", "8", "incr", "hits"]);
    assert_eq!(through.run("redis-cli", &["get", "hits"]), "20000\n", "each command arrived once");
    through.run("redis-benchmark", &["-q", "-n", "500", "-c", "5", "-d", "65536", "-t", "set,get"]);
    through.all_passed(25);
}

#[test]
fn cf_9_postgresql_notices_nothing() {
    let Some(postgres) = Server::postgres(Place::here()) else { return };
    let through = Through::new(&postgres);
    let sql = "create table sums as select generate_series(1, 20000) as n; select sum(n) from sums";
    let sum = through.run("psql", &["-U", "postgres", "-qtAc", sql]);
    assert_eq!(sum.trim(), "200010000");
    let rows = through.run("psql", &["-U", "postgres", "-qtAc", "select n from sums order by n"]);
    assert_eq!(rows.lines().count(), 20_000);
    through.run("pgbench", &["-U", "postgres", "-i", "-q", "postgres"]);
    let told = through.run("pgbench", &["-U", "postgres", "-c", "4", "-t", "100", "postgres"]);
    assert!(told.contains("400/400"), "{told}");
    let done = through.run("psql", &["-U", "postgres", "-qtAc", "select count(*) from pgbench_history"]);
    assert_eq!(done.trim(), "400", "each transaction arrived once");
    through.all_passed(7);
}

#[test]
fn cf_9_mariadb_notices_nothing() {
    let Some(mariadb) = Server::mariadb(Place::here()) else { return };
    let through = Through::new(&mariadb);
    let sql = "create database b; create table b.hits (n int); insert into b.hits values (1), (2); \
               select sum(n) from b.hits";
    assert_eq!(through.run("mariadb", &["-Ne", sql]).trim(), "3");
    let insert = "insert into hits values (1)";
    let words =
        ["--concurrency=4", "--number-of-queries=1000", "--create-schema=b", "--no-drop", "--query", insert];
    through.run("mariadb-slap", &words);
    let hits = through.run("mariadb", &["-Ne", "select count(*) from b.hits"]);
    assert_eq!(hits.trim(), "1002", "each statement arrived once");
    through.all_passed(6);
}

/// The bound that is demanded: less than 5 ms, for a server that speaks first on its known port.
#[test]
fn u_19_mariadb_greets_through_the_sidecar_without_delay() {
    let Some(mariadb) = Server::mariadb(Place::here()) else { return };
    let (app, inbound) = (Some(mariadb.place.addr), "protocol: auto".to_owned());
    let rig = Rig::with(&Wishes { app, inbound, port: Some(3306), ..Wishes::default() }, &[]);
    let greeted = |at: SocketAddr| {
        let start = Instant::now();
        let mut peer = Peer::connect(at);
        assert!(!peer.some().unwrap().is_empty());
        start.elapsed()
    };
    let mut times: [Vec<Duration>; 2] = Default::default();
    for _ in 0..41 {
        times[0].push(greeted(mariadb.place.addr));
        times[1].push(greeted(rig.inbound));
    }
    let [direct, through] = times.map(|mut times| {
        times.sort();
        times[20]
    });
    assert!(through < direct + Duration::from_millis(5), "{through:?}, and {direct:?} without the sidecar");
    rig.counts("detections_total", &[INBOUND], 0);
}
