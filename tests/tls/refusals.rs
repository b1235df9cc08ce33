//! Who is turned away? Each for its own reason, which is counted.

use std::io::Write;
use std::net::TcpStream;

use rcgen::date_time_ymd;

use super::{guarded, identified};
use crate::support::authority::{Authority, self_signed};
use crate::support::draft::{ask, get};
use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes};
use crate::support::secret::Caller;

/// What TLS 1.1 says first (RFC 4346 §7.4.1.2): version, randomness, no session, one cipher suite, no compression.
fn hello_of_tls_1_1() -> Vec<u8> {
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x14, 1, 0]].concat();
    let length = |octets: &[u8]| u8::try_from(octets.len()).unwrap();
    let message = [&[1, 0, 0, length(&hello)][..], &hello].concat();
    [&[22, 3, 1, 0, length(&message)][..], &message].concat()
}

#[track_caller]
fn refused(rig: &Rig, result: &str) {
    rig.counts("tls_handshakes_total", &[("direction", "inbound"), ("result", result)], 1);
}

#[test]
fn se_1_who_proves_nothing_is_refused_and_told_why() {
    let origin = Origin::always(200);
    let [ca, other] = ["root", "other"].map(Authority::new);
    let certs = ca.house("server");
    let server = guarded(origin.addr, certs.path(), "strict");
    let past = ca.issue_with("late", |params| params.not_after = date_time_ymd(2024, 2, 1));
    let future = ca.issue_with("early", |params| params.not_before = date_time_ymd(2098, 1, 1));
    let callers = [
        ("no-certificate", None),
        ("self-signed", Some(self_signed("client"))),
        ("expired", Some(past)),
        ("not-yet-valid", Some(future)),
        ("unknown-ca", Some(other.issue("client"))),
    ];
    for (reason, shows) in callers {
        let error = Caller::new(&ca, shows.as_ref()).get(server.inbound).unwrap_err();
        // Not a reset: the alert must arrive although the caller has sent its request already.
        assert!(error.to_string().contains("alert"), "{reason}: {error}");
        refused(&server, reason);
    }
    assert!(Caller::new(&ca, Some(&ca.issue("client"))).get(server.inbound).unwrap().contains(" 200 "));
    assert_eq!(origin.count(), 1);
}

#[test]
fn se_7_who_was_taken_back_is_refused() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let [bad, good] = ["bad", "good"].map(|name| ca.issue(name));
    std::fs::write(certs.path().join("ca.crl"), ca.revoke(&[&bad])).unwrap();
    let server = guarded(origin.addr, certs.path(), "strict");
    Caller::new(&ca, Some(&bad)).get(server.inbound).unwrap_err();
    refused(&server, "revoked");
    assert!(Caller::new(&ca, Some(&good)).get(server.inbound).unwrap().contains(" 200 "));
}

#[test]
fn se_1_what_is_no_handshake_of_ours_is_refused() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let server = guarded(origin.addr, certs.path(), "strict");
    let mut peer = Peer::connect(server.inbound);
    let (answer, _) = peer.send(hello_of_tls_1_1()).rest();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 40], "a fatal alert: handshake_failure (RFC 8446 §6.2)");
    refused(&server, "wrong-version");

    let client = ca.issue("client");
    let error = Caller::new(&ca, Some(&client)).speaking(&["h3"]).get(server.inbound).unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    refused(&server, "wrong-alpn");

    Peer::connect(server.inbound).send(&hello_of_tls_1_1()[..20]).finish().rest();
    refused(&server, "truncated");

    Peer::connect(server.inbound).send([22, 3, 1, 0, 4, 9, 9, 9, 9]).rest();
    refused(&server, "malformed-handshake");
    assert_eq!(origin.count(), 0);
}

#[test]
fn se_1_a_handshake_that_stalls_ends() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let mut wishes = identified(Some(origin.addr), certs.path());
    wishes.inbound = "tls: strict".to_owned();
    wishes.sidecar += "\nlimits: {handshakeTimeout: 200ms, maxHandshakes: 1}";
    let server = Rig::with(&wishes, &[]);
    let mut stalled = Peer::connect(server.inbound);
    stalled.send(&hello_of_tls_1_1()[..20]);
    crate::support::eventually("its place to be taken", || server.metric("connections_active", &[]) > 0);
    // Who comes meanwhile waits for the one place, and has it when the other is late.
    let mut waiting = Peer::connect(server.inbound);
    waiting.send(&hello_of_tls_1_1()[..20]);
    assert_eq!((stalled.end(), waiting.end()), (End::Closed, End::Closed));
    server.counts("tls_handshakes_total", &[("result", "timeout")], 2);
    server.counts("limit_exceeded_total", &[("limit", "handshakes")], 1);
}

#[test]
fn se_1_plaintext_to_a_port_of_tls_is_refused_but_for_probes() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let server = guarded(origin.addr, certs.path(), "strict, plaintextPaths: [/ping]");
    let send = |octets: &[u8]| Peer::connect(server.inbound).send(octets).message();
    let probe = send(&ask("GET", "/ping?who=kubelet", "origin").octets());
    assert_eq!(probe.status(), 200);
    let others = [
        get("origin"),
        ask("GET", "/ping/", "origin"),
        ask("GET", "/pin", "origin"),
        ask("GET", "/PING", "origin"),
        ask("GET", "//ping", "origin"),
        ask("GET", "/ping/../secret", "origin"),
        ask("GET", "/%70ing", "origin"),
        ask("POST", "/ping", "origin").with_body("x"),
        ask("GET", "/ping", "origin").with("connection", "upgrade").with("upgrade", "websocket"),
    ];
    for (nth, other) in (1..).zip(&others) {
        let answer = send(&other.octets());
        assert_eq!((answer.status(), answer.reason()), (403, "plaintext-refused"), "{other:?}");
        server.counts("protocol_errors_total", &[("reason", "plaintext-refused")], nth);
    }
    // On a connection that began with a probe, too.
    let mut peer = Peer::connect(server.inbound);
    assert_eq!(peer.send(ask("GET", "/ping", "origin").octets()).message().status(), 200);
    assert_eq!(peer.send(get("origin").octets()).message().status(), 403);
    // HTTP/2 has no probes in plaintext.
    let answer = send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert_eq!(answer.reason(), "plaintext-refused");
    assert_eq!(origin.count(), 2);
}

#[test]
fn se_1_tls_to_a_port_of_plaintext_is_refused_in_words_of_tls() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let server = Rig::with(&Wishes { app: Some(origin.addr), ..Wishes::default() }, &[]);
    for (nth, port) in (1..).zip([server.inbound, server.outbound]) {
        let error = Caller::new(&ca, None).get(port).unwrap_err();
        assert!(error.to_string().contains("HandshakeFailure"), "{error}");
        server.counts("protocol_errors_total", &[("reason", "tls-to-plaintext")], nth);
    }
    server.counts("requests_total", &[], 0);
}

#[test]
fn se_1_a_crowd_that_says_nothing_leaves_room_for_others() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let certs = ca.house("server");
    let mut wishes = identified(Some(origin.addr), certs.path());
    wishes.inbound = "tls: strict".to_owned();
    wishes.sidecar += "\nlimits: {maxHandshakes: 1}";
    let server = Rig::with(&wishes, &[]);
    // Connected, but without an octet of a handshake: no place is theirs.
    let mut crowd: Vec<_> = (0..20).map(|_| TcpStream::connect(server.inbound).unwrap()).collect();
    assert!(Caller::new(&ca, Some(&ca.issue("client"))).get(server.inbound).unwrap().contains(" 200 "));
    for stream in &mut crowd {
        let _ = stream.write(b"x");
    }
}
