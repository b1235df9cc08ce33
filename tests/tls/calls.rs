//! Whom does a sidecar not call? Endpoints that don't prove what the policy expects, each for its own reason.

use std::net::SocketAddr;

use rcgen::date_time_ymd;

use super::calling;
use crate::support::authority::{Authority, Pair, self_signed};
use crate::support::draft::get;
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;
use crate::support::secret;

const ONCE: &str = "retry: {attempts: 0}";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that shows this, and asks for certificates of this authority if any.
fn showing(pair: &Pair, asks: Option<&Authority>) -> SocketAddr {
    let config = secret::server(pair, asks);
    Upstream::new(move |call| drop(secret::serve(&config, &mut call.peer.stream, OK, true))).addr
}

#[track_caller]
fn assert_refused(client: &Rig, reason: &str, result: &str) {
    let answer = client.caller().send(&get("origin")).unwrap();
    assert_eq!((answer.status(), answer.reason()), (502, reason), "{result}");
    client.counts("attempts_total", &[("upstream", "origin"), ("outcome", reason)], 1);
    client.counts("tls_handshakes_total", &[("direction", "outbound"), ("result", result)], 1);
    client.counts("requests_total", &[("code", "502"), ("flag", "UF")], 1);
}

#[test]
fn se_1_ec_2_an_endpoint_that_proves_something_else_is_not_called() {
    let [ca, other] = ["root", "other"].map(Authority::new);
    let certs = ca.house("client");
    let late = ca.issue_with("server", |params| params.not_after = date_time_ymd(2024, 2, 1));
    let shown = [
        (ca.issue("somebody-else"), "tls-wrong-identity", "wrong-identity"),
        (ca.issue("server-2"), "tls-wrong-identity", "wrong-identity"),
        (other.issue("server"), "tls-untrusted", "unknown-ca"),
        (self_signed("server"), "tls-untrusted", "self-signed"),
        (late, "tls-untrusted", "expired"),
    ];
    for (pair, reason, result) in shown {
        let client = calling(&[showing(&pair, None)], certs.path(), "server", ONCE);
        assert_refused(&client, reason, result);
    }
    let client = calling(&[showing(&ca.issue("server"), Some(&ca))], certs.path(), "server", "");
    assert_eq!(client.caller().send(&get("origin")).unwrap().status(), 200);
}

#[test]
fn se_1_ec_2_an_endpoint_without_tls_is_not_called() {
    let certs = Authority::new("root").house("client");
    let plain = Upstream::new(|call| {
        let _ = call.peer.stream.peek(&mut [0; 1]);
        call.peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").rest();
    });
    let client = calling(&[plain.addr], certs.path(), "server", ONCE);
    assert_refused(&client, "tls-failed", "malformed-handshake");
    let ending = Upstream::new(|call| drop(call.peer.stream.peek(&mut [0; 1])));
    let client = calling(&[ending.addr], certs.path(), "server", ONCE);
    assert_refused(&client, "tls-failed", "truncated");
}

/// TLS 1.3 tells its client only after the handshake (RFC 8446 §4.4.2.4), when the request is on its way.
#[test]
fn se_1_ec_2_an_endpoint_that_refuses_us_is_told_from_one_that_breaks() {
    let [ca, other] = ["root", "other"].map(Authority::new);
    let certs = ca.house("client");
    let theirs = other.house("server");
    let server = super::guarded(Upstream::answering(OK).addr, theirs.path(), "strict");
    // The client trusts both authorities, the server only its own.
    std::fs::write(certs.path().join("ca.crt"), ca.pem() + &other.pem()).unwrap();
    for settings in ["", "protocol: http2\n"] {
        let client = calling(&[server.inbound], certs.path(), "server", &format!("{settings}{ONCE}"));
        let answer = client.caller().send(&get("origin")).unwrap();
        assert_eq!((answer.status(), answer.reason()), (502, "tls-refused"), "{settings}");
        client.counts("attempts_total", &[("upstream", "origin"), ("outcome", "tls-refused")], 1);
    }
    server.counts("tls_handshakes_total", &[("result", "unknown-ca")], 2);
}

#[test]
fn to_6_a_handshake_that_stalls_fails_within_connect() {
    let certs = Authority::new("root").house("client");
    let silent = Upstream::new(|call| drop(call.peer.rest()));
    for settings in ["", "protocol: http2\n"] {
        let settings = format!("{settings}timeouts: {{connect: 100ms}}\n{ONCE}");
        let client = calling(&[silent.addr], certs.path(), "server", &settings);
        let answer = client.caller().send(&get("origin")).unwrap();
        assert_eq!((answer.status(), answer.reason()), (502, "tls-timeout"));
        client.counts("attempts_total", &[("outcome", "tls-timeout")], 1);
        client.counts("tls_handshakes_total", &[("direction", "outbound"), ("result", "timeout")], 1);
        client.counts("deadline_exceeded_total", &[("where", "tls-handshake")], 1);
    }
}

#[test]
fn se_1_another_endpoint_is_tried_where_one_proves_nothing() {
    let ca = Authority::new("root");
    let certs = ca.house("client");
    let endpoints = [showing(&ca.issue("impostor"), None), showing(&ca.issue("server"), Some(&ca))];
    let settings = "retry: {on: [connect-failure], attempts: 1}\nloadBalancer: {policy: round-robin}";
    let client = calling(&endpoints, certs.path(), "server", settings);
    for _ in 0..4 {
        assert_eq!(client.caller().send(&get("origin")).unwrap().status(), 200);
    }
    assert!(client.metric("retries_total", &[("upstream", "origin"), ("cause", "tls-wrong-identity")]) >= 2);
}

#[test]
fn se_1_checks_are_made_within_tls() {
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let server = super::guarded(Upstream::answering(OK).addr, theirs.path(), "strict");
    for check in ["http: /", "tcp: true"] {
        let settings = format!("healthCheck: {{{check}, interval: 100ms, timeout: 5s}}");
        let client = calling(&[server.inbound], ours.path(), "server", &settings);
        let checked = || client.metric("health_checks_total", &[("result", "ready")]) > 1;
        crate::support::eventually("checks that succeed", checked);
        client.counts("health_checks_total", &[("result", "failed")], 0);
    }
    server.counts("tls_handshakes_total", &[("result", "truncated")], 0);
}

#[test]
fn se_1_a_service_outside_proves_its_name_alone() {
    let ca = Authority::new("outside");
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), ca.pem()).unwrap();
    let to = showing(&ca.issue("server"), None);
    let simple = |name: &str| {
        let tls = format!("tls: {{mode: simple, sni: {name}, caFile: {}}}\n{ONCE}", roots.path().display());
        Rig::start(&[upstream("origin", &[to], &tls)])
    };
    assert_eq!(simple("localhost").caller().send(&get("origin")).unwrap().status(), 200);
    assert_refused(&simple("somebody.else"), "tls-wrong-identity", "wrong-identity");
}
