//! Whose fault is it that there is no TLS, and who is asked then?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::date_time_ymd;

use super::{calling, guarded};
use crate::support::authority::Authority;
use crate::support::draft::{ask, get};
use crate::support::link::Link;
use crate::support::rig::eventually;
use crate::support::scripted::Upstream;
use crate::support::secret;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "origin"), (":path", "/")];

/// A server of `spiffe://tests/server` that agrees on nothing inside but this.
fn speaking(ca: &Authority, protocol: &str) -> SocketAddr {
    let mut config = Arc::unwrap_or_clone(secret::server(&ca.issue("server"), Some(ca)));
    config.alpn_protocols = vec![protocol.into()];
    let config = Arc::new(config);
    Upstream::new(move |call| drop(secret::serve(&config, &mut call.peer.stream, OK, true))).addr
}

/// `protocol: auto` asks for HTTP/2 where its caller speaks that. One that knows only HTTP/1 says so in its handshake.
#[test]
fn ec_1_se_1_an_endpoint_that_agrees_only_on_http1_is_asked_in_it() {
    let ca = Authority::new("root");
    let certs = ca.house("client");
    let breaker = "retry: {attempts: 0}\ncircuitBreaker: {consecutive: 1}";
    let client = calling(&[speaking(&ca, "http/1.1")], certs.path(), "server", breaker);
    let mut link = Link::connect(client.outbound);
    for _ in 0..3 {
        assert_eq!(link.ask(&GET).unwrap().status(), 200);
    }
    client.counts("attempts_total", &[("upstream", "origin"), ("outcome", "success")], 3);
    client.counts("attempts_total", &[("upstream", "origin")], 3);
    client.counts("tls_handshakes_total", &[("direction", "outbound"), ("result", "wrong-alpn")], 1);
}

#[test]
fn se_1_ec_2_an_endpoint_that_speaks_something_else_inside_is_told_from_others() {
    let ca = Authority::new("root");
    let certs = ca.house("client");
    for (protocol, speaks) in [("http2", "http/1.1"), ("http1", "h2"), ("auto", "h3")] {
        let settings = format!("protocol: {protocol}\nretry: {{attempts: 0}}");
        let client = calling(&[speaking(&ca, speaks)], certs.path(), "server", &settings);
        let answer = client.caller().send(&get("origin")).unwrap();
        assert_eq!((answer.status(), answer.reason()), (502, "tls-alpn"), "{protocol}");
        client.counts("attempts_total", &[("upstream", "origin"), ("outcome", "tls-alpn")], 1);
    }
}

/// It has looked at nothing that we sent, so another may, whatever it is (RFC 8446 §4.4.2.4).
#[test]
fn rt_1_se_1_who_refuses_us_has_not_seen_the_request() {
    let [ca, other] = ["root", "other"].map(Authority::new);
    let [ours, theirs, friends] = ["client", "server", "server"].map(|name| ca.house(name));
    std::fs::write(theirs.path().join("ca.crt"), other.pem()).unwrap();
    other.furnish(theirs.path(), &other.issue("server"));
    std::fs::write(ours.path().join("ca.crt"), ca.pem() + &other.pem()).unwrap();
    let app = Upstream::answering(OK);
    let [stranger, friend] = [&theirs, &friends].map(|certs| guarded(app.addr, certs.path(), "strict"));
    for protocol in ["http1", "http2"] {
        let settings = format!(
            "protocol: {protocol}\nretry: {{on: [connect-failure], attempts: 1}}\n\
             loadBalancer: {{policy: round-robin}}"
        );
        let client = calling(&[stranger.inbound, friend.inbound], ours.path(), "server", &settings);
        for _ in 0..4 {
            let order = ask("POST", "/orders", "origin").with("content-length", 0);
            let answer = client.caller().send(&order).unwrap();
            assert_eq!(answer.status(), 200, "{protocol}: {}", answer.head);
        }
        assert!(client.metric("retries_total", &[("cause", "tls-refused")]) >= 2, "{protocol}");
    }
    assert_eq!(app.seen().len(), 8, "each of them once");
}

/// All would refuse us, so it says nothing of any of them, and to ask others is of no use.
#[test]
fn se_3_ec_2_our_own_certificate_that_has_expired_is_no_endpoints_fault() {
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = Duration::from_secs(now.as_secs() + 7);
    let shown = ca.issue_with("client", |params| {
        params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(Duration::from_secs(1));
        params.not_after = date_time_ymd(1970, 1, 1) + end;
    });
    ca.furnish(ours.path(), &shown);
    let server = guarded(Upstream::answering(OK).addr, theirs.path(), "strict");
    let settings = "limits: {maxIdle: 0}\nretry: {on: [connect-failure, reset], attempts: 3}\n\
                    outlierDetection: {consecutiveFailures: 1}\ncircuitBreaker: {consecutive: 1}";
    let client = calling(&[server.inbound], ours.path(), "server", settings);
    let mut caller = client.caller();
    assert_eq!(caller.send(&get("origin")).unwrap().status(), 200);
    // Its last second is valid (RFC 5280 §4.1.2.5).
    let over = SystemTime::UNIX_EPOCH + end + Duration::from_secs(1);
    eventually("the certificate to expire", || (SystemTime::now() > over).then_some(()));
    for _ in 0..4 {
        let answer = caller.send(&get("origin")).unwrap();
        assert_eq!((answer.status(), answer.reason()), (502, "tls-own-expired"));
    }
    client.counts("retries_total", &[], 0);
    client.counts("endpoint_ejections_total", &[], 0);
    client.counts("breaker_transitions_total", &[], 0);
    server.counts("tls_handshakes_total", &[("direction", "inbound"), ("result", "expired")], 4);
}
