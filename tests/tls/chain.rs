//! What passes between two sidecars that prove themselves to each other? All that passes in plaintext.

use super::{calling, guarded, pair};
use crate::support::authority::Authority;
use crate::support::draft::{get, post};
use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::scripted::Upstream;
use crate::support::secret;

const INBOUND: (&str, &str) = ("direction", "inbound");
const OUTBOUND: (&str, &str) = ("direction", "outbound");

#[test]
fn se_1_sidecars_prove_themselves_to_each_other() {
    let origin = Origin::always(200);
    let [client, server] = pair(&Authority::new("root"), origin.addr, "");
    let mut caller = client.caller();
    for _ in 0..10 {
        assert_eq!(caller.send(&get("origin")).unwrap().status(), 200);
    }
    assert_eq!(origin.count(), 10);
    client.counts("tls_handshakes_total", &[OUTBOUND, ("result", "full")], 1);
    server.counts("tls_handshakes_total", &[INBOUND, ("result", "full")], 1);
    server.counts("connections_active", &[INBOUND, ("protocol", "http1")], 1);
    client.counts("attempts_total", &[("upstream", "origin"), ("outcome", "success")], 10);
}

#[test]
fn se_1_content_of_any_size_passes_both_ways() {
    let origin = Upstream::echoing();
    let [client, _server] = pair(&Authority::new("root"), origin.addr, "");
    let mut caller = client.caller();
    for size in [0, 1, 16_383, 16_384, 16_385, 40_000, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|nth: u32| nth.to_le_bytes()[nth as usize % 3]).collect();
        let answer = caller.send(&post("origin", content.clone())).unwrap();
        assert_eq!((answer.status(), answer.body == content), (200, true), "{size}");
    }
}

#[test]
fn se_1_a_tunnel_leads_through() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send("HTTP/1.1 101 -\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
        let (said, _) = call.peer.rest();
        call.peer.send(said);
    });
    let [client, server] = pair(&Authority::new("root"), origin.addr, "");
    let mut peer = Peer::connect(client.outbound);
    peer.send(
        "GET / HTTP/1.1\r\nhost: origin\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(peer.head().status(), 101);
    peer.send("and back").finish();
    assert_eq!(peer.rest(), (b"helloand back".to_vec(), End::Closed));
    server.counts("tls_handshakes_total", &[INBOUND, ("result", "full")], 1);
}

#[test]
fn se_1_a_second_connection_resumes_the_first_ones_session() {
    let origin = Origin::always(200);
    let [client, server] = pair(&Authority::new("root"), origin.addr, "limits: {maxIdle: 0}");
    let mut caller = client.caller();
    for _ in 0..3 {
        assert_eq!(caller.send(&get("origin")).unwrap().status(), 200);
    }
    client.counts("tls_handshakes_total", &[OUTBOUND, ("result", "resumed")], 2);
    server.counts("tls_handshakes_total", &[INBOUND, ("result", "resumed")], 2);
}

#[test]
fn se_1_an_end_that_nobody_announced_is_a_break() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\n\r\nas long as it lasts";
    let ca = Authority::new("root");
    let certs = ca.house("client");
    for (announced, end) in [(true, End::Closed), (false, End::Reset)] {
        let config = secret::server(&ca.issue("server"), Some(&ca));
        let origin = Upstream::new(move |call| {
            let _ = secret::serve(&config, &mut call.peer.stream, ANSWER, announced);
        });
        let client = calling(&[origin.addr], certs.path(), "server", "");
        let mut peer = Peer::connect(client.outbound);
        peer.send("GET / HTTP/1.0\r\nhost: origin\r\n\r\n");
        assert_eq!(peer.rest().1, end, "announced: {announced}");
    }
}

#[test]
fn se_1_a_port_in_transition_takes_both() {
    let origin = Origin::always(200);
    let ca = Authority::new("root");
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let server = guarded(origin.addr, theirs.path(), "permissive");
    let client = calling(&[server.inbound], ours.path(), "server", "");
    assert_eq!(client.caller().send(&get("origin")).unwrap().status(), 200);
    assert_eq!(Peer::connect(server.inbound).send(get("origin").octets()).message().status(), 200);
    server.counts("tls_handshakes_total", &[INBOUND], 1);
    server.counts("requests_total", &[INBOUND, ("code", "200")], 2);
}
