//! Do servers and clients that everybody has notice anything? Redis, `PostgreSQL` and `MariaDB` between two captured hosts that
//! prove themselves to each other.

use std::time::Duration;

use super::scene::Beside;
use crate::support::authority::Authority;
use crate::support::namespaces::{Host, pair};
use crate::support::servers::{Server, client, said};

/// What a server's own words before the client's may cost more than without us.
const ADDED: Duration = Duration::from_millis(5);

fn between([one, other]: [&Host; 2], port: u16) -> [Beside<'_>; 2] {
    let authority = Authority::new("root");
    let inbound =
        format!("inbound: [{{port: {port}, capture: redirect, protocol: tcp, forwardTo: original}}]");
    let outbound = format!(
        "outbound: {{capture: redirect}}\n---\napiVersion: outrigger/v1\nkind: Upstream\nname: db\nprotocol: tcp\n\
         discovery: {{static: [\"10.77.0.2:{port}\"]}}\ntls: {{mode: mutual, peerIdentities: [\"spiffe://tests/db\"]}}\n"
    );
    [Beside::start(other, &authority, "db", &inbound), Beside::start(one, &authority, "ui", &outbound)]
}

#[test]
fn cf_9_redis_is_served_through_two_captured_hosts() {
    let Some([one, other]) = pair() else { return };
    let Some(redis) = Server::redis(other.place(6379)) else { return };
    let [server, _client] = between([&one, &other], 6379);
    let here = one.place(1);
    let ask = |words: &[&str]| said(client(&here, "redis-cli", redis.place.addr).args(words));
    assert_eq!(ask(&["set", "held", "7"]).trim(), "OK");
    assert_eq!(ask(&["get", "held"]).trim(), "7");
    let load = ["-n", "20000", "-c", "20", "-t", "set,get,incr", "-q"];
    let bench = said(client(&here, "redis-benchmark", redis.place.addr).args(load));
    assert_eq!(bench.matches("requests per second").count(), 3, "{bench}");
    assert_eq!(ask(&["get", "counter:__rand_int__"]).trim(), "20000", "nothing was lost");
    assert!(server.metric("tls_handshakes_total", &[("direction", "inbound"), ("result", "full")]) > 0);
}

#[test]
fn cf_9_postgres_is_served_through_two_captured_hosts() {
    let Some([one, other]) = pair() else { return };
    let Some(postgres) = Server::postgres(other.place(5432)) else { return };
    let [server, _client] = between([&one, &other], 5432);
    let here = one.place(1);
    let ask = |words: &str| {
        let options = ["-U", "postgres", "-At", "-c", words];
        said(client(&here, "psql", postgres.place.addr).args(options)).trim().to_owned()
    };
    ask("create table held (id serial, amount int)");
    ask("insert into held (amount) select * from generate_series(1, 100000)");
    assert_eq!(ask("select sum(amount) from held"), "5000050000");
    assert_eq!(ask("select amount from held order by id").lines().count(), 100_000);
    assert!(server.metric("tls_handshakes_total", &[("direction", "inbound"), ("result", "full")]) > 0);
}

#[test]
fn cf_9_u_19_mariadb_speaks_first_through_two_captured_hosts() {
    let Some([one, other]) = pair() else { return };
    let Some(mariadb) = Server::mariadb(other.place(3306)) else { return };
    let here = one.place(1);
    let greeting = || {
        let script = format!(
            "import socket, time\nfastest = 9\nfor _ in range(20):\n t = time.perf_counter()\n \
             with socket.create_connection(('{}', 3306)) as s: s.recv(1)\n \
             fastest = min(fastest, time.perf_counter() - t)\nprint(fastest)",
            other.v4
        );
        let mut asked = one.user(1000, "/usr/bin/python3");
        Duration::from_secs_f64(said(asked.args(["-c", &script])).trim().parse().unwrap())
    };
    let without = greeting();
    let [server, _client] = between([&one, &other], 3306);
    let with = greeting();
    assert!(with < without + ADDED, "{with:?} with us, {without:?} without");
    let ask = |words: &str| {
        said(client(&here, "mariadb", mariadb.place.addr).args(["-N", "-e", words])).trim().to_owned()
    };
    ask("create database tests; create table tests.held (amount bigint)");
    ask("use tests; insert into held select seq from seq_1_to_100000");
    assert_eq!(ask("select sum(amount) from tests.held"), "5000050000");
    let load = ["--auto-generate-sql", "--concurrency=10", "--number-of-queries=2000", "--silent"];
    said(client(&here, "mariadb-slap", mariadb.place.addr).args(load));
    assert!(server.metric("tls_handshakes_total", &[("direction", "inbound"), ("result", "full")]) > 0);
}
