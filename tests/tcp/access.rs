//! Who may connect? Two sidecars with mutual TLS between them, and whatever is spoken inside.

use std::net::SocketAddr;
use std::path::Path;

use super::{INBOUND, OUTBOUND, echo, greeter, is_broken_off};
use crate::support::authority::Authority;
use crate::support::free_addr;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, upstream};
use crate::support::scripted::Upstream;

fn identified(certs: &Path) -> String {
    format!("identity: {{certDir: {}}}\naccessLog: {{successSample: 100%}}", certs.display())
}

/// The sidecar of `spiffe://tests/server` before this application.
fn guarded(app: &Upstream, certs: &Path, inbound: &str, policy: &str) -> Rig {
    let policy = format!("apiVersion: outrigger/v1\nkind: AuthorizationPolicy\nname: callers\n{policy}\n");
    let (inbound, sidecar) = (inbound.to_owned(), identified(certs));
    Rig::with(&Wishes { app: Some(app.addr), inbound, sidecar, ..Wishes::default() }, &[policy])
}

/// A sidecar that leads there from a port of its own.
fn calling(server: SocketAddr, certs: &Path) -> (Rig, SocketAddr) {
    calling_what_speaks("tcp", server, certs)
}

/// The same, where the upstream's `protocol` is this one.
fn calling_what_speaks(protocol: &str, server: SocketAddr, certs: &Path) -> (Rig, SocketAddr) {
    let port = free_addr();
    let outbound = format!("tcp: [{{listen: \"{port}\", upstream: db}}]");
    let tls = "tls: {mode: mutual, peerIdentities: [\"spiffe://tests/server\"]}";
    let wishes = Wishes { outbound, sidecar: identified(certs), ..Wishes::default() };
    (Rig::with(&wishes, &[upstream("db", &[server], &format!("protocol: {protocol}\n{tls}"))]), port)
}

#[test]
fn se_4_a_connection_is_let_in_by_who_proves_to_be_whom() {
    let ca = Authority::new("root");
    let [ours, others, theirs] = ["client", "other", "server"].map(|name| ca.house(name));
    for protocol in ["tcp", "auto"] {
        let app = greeter();
        let allowed = "allow: [{identities: [\"spiffe://tests/client\"], sources: [127.0.0.0/8]}]";
        let server = guarded(&app, theirs.path(), &format!("protocol: {protocol}"), allowed);
        // What an upstream speaks besides doesn't matter to octets.
        let (client, port) = calling_what_speaks(protocol, server.inbound, ours.path());
        let mut peer = Peer::connect(port);
        assert_eq!(peer.exactly(11).unwrap(), b"220 ready\r\n", "{protocol}: the server speaks first");
        assert_eq!(peer.send("QUIT\r\n").exactly(6).unwrap(), b"QUIT\r\n");
        drop(peer);
        client.counts("tls_handshakes_total", &[OUTBOUND, ("result", "full")], 1);
        server.counts("tcp_connections_total", &[INBOUND, ("flag", "-")], 1);
        server.counts("authorization_decisions_total", &[("decision", "allowed")], 1);
        server.counts("detections_total", &[], 0);
        assert_eq!(server.logged(1)[0]["identity"], "spiffe://tests/client");

        let (_other, port) = calling(server.inbound, others.path());
        is_broken_off(port);
        server.counts("authorization_decisions_total", &[("policy", "callers"), ("decision", "denied")], 1);
        server.counts("tcp_connections_total", &[INBOUND, ("flag", "UAEX")], 1);
        assert_eq!(server.logged(2)[1]["reason"], "authorization");
        assert_eq!(app.connections(), 1, "{protocol}");
    }
}

#[test]
fn se_1_half_a_connection_ends_through_mutual_tls() {
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let app = echo();
    let server =
        guarded(&app, theirs.path(), "protocol: tcp", "allow: [{identities: [\"spiffe://tests/*\"]}]");
    let (_client, port) = calling(server.inbound, ours.path());
    let content = vec![b'.'; 1_000_000];
    let (said, end) = Peer::connect(port).send(&content).finish().rest();
    assert!(said == content && end == End::Closed, "{} octets, {end:?}", said.len());
}

#[test]
fn se_1_plaintext_does_not_pass_where_only_tls_is_taken() {
    let ca = Authority::new("root");
    let theirs = ca.house("server");
    let app = echo();
    for protocol in ["tcp", "auto"] {
        let server =
            guarded(&app, theirs.path(), &format!("protocol: {protocol}"), "deny: [{sources: [10.0.0.1]}]");
        let (said, _) = Peer::connect(server.inbound).send("*1\r\n$4\r\nPING\r\n").rest();
        assert!(said.is_empty(), "{protocol}: {said:?}");
        server.counts("protocol_errors_total", &[INBOUND, ("reason", "plaintext-refused")], 1);
    }
    assert_eq!(app.connections(), 0);
}

/// On a port that takes both, a server that speaks first is not waited for in vain.
#[test]
fn u_19_a_port_in_transition_takes_plaintext_that_waits_for_the_server() {
    let ca = Authority::new("root");
    let theirs = ca.house("server");
    let app = greeter();
    let (inbound, sidecar) = ("protocol: tcp, tls: permissive".to_owned(), identified(theirs.path()));
    let sidecar = format!("{sidecar}\ndetection: {{timeout: 100ms}}");
    let rig = Rig::with(&Wishes { app: Some(app.addr), inbound, sidecar, ..Wishes::default() }, &[]);
    assert_eq!(Peer::connect(rig.inbound).exactly(11).unwrap(), b"220 ready\r\n");
    rig.counts("detections_total", &[INBOUND, ("result", "timeout")], 1);
}

/// Nobody finds a path in octets: what speaks of one denies, and never allows.
#[test]
fn se_4_rules_about_requests_let_no_octets_pass() {
    let app = echo();
    for rules in ["deny: [{paths: [/admin]}]", "allow: [{paths: [/]}]"] {
        let policy = format!("apiVersion: outrigger/v1\nkind: AuthorizationPolicy\nname: paths\n{rules}\n");
        let inbound = "protocol: auto".to_owned();
        let rig = Rig::with(&Wishes { app: Some(app.addr), inbound, ..Wishes::default() }, &[policy]);
        assert_eq!(Peer::connect(rig.inbound).send("*1\r\n$4\r\nPING\r\n").rest(), (Vec::new(), End::Reset));
        rig.counts("tcp_connections_total", &[INBOUND, ("flag", "UAEX")], 1);
    }
    assert_eq!(app.connections(), 0);
}
