//! When does a connection stop being HTTP? When the route allows it and the upstream agrees, and not an octet before.

use std::sync::mpsc::channel;

use crate::support::caller::Caller;
use crate::support::draft::{Draft, answer, get, post};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;

use super::{SWITCHING, before, echoes, parrot, websocket};

/// Both ways in: as the application calls out, and as others call it.
fn ways(rig: &Rig) -> [(&'static str, Peer); 2] {
    [("outbound", Peer::connect(rig.outbound)), ("inbound", Peer::connect(rig.inbound))]
}

/// A connection that carries this token alone, as [`websocket`] does its own.
fn upgrade(token: &str) -> Draft {
    get("up").with("connection", "Upgrade").with("upgrade", token)
}

#[test]
fn an_upgrade_is_passed_on_as_it_was_asked_for() {
    let server = parrot();
    let rig = before(&server, "");
    for (way, mut peer) in ways(&rig) {
        peer.send(websocket("up").with("sec-websocket-protocol", "chat").octets());
        let said = peer.head();
        assert_eq!((said.status(), said.field("upgrade")), (101, Some("websocket")), "{way}");
        assert!(said.field("connection").is_some_and(|said| said.eq_ignore_ascii_case("upgrade")), "{way}");
        assert!(said.field("content-length").is_none() && said.field("transfer-encoding").is_none(), "{way}");
        echoes(&mut peer, "\0\r\n\r\nGET / HTTP/1.1\r\n");
        assert_eq!(peer.finish().end(), End::Closed, "{way}");
        let asked = server.seen().pop().unwrap();
        for (name, value) in [
            ("upgrade", "websocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
        ] {
            assert_eq!(asked.fields(name), [value], "{way}");
        }
        assert!(asked.field("connection").is_some_and(|said| said.eq_ignore_ascii_case("upgrade")), "{way}");
    }
}

#[test]
fn each_direction_of_an_upgraded_connection_ends_by_itself() {
    let (tell, told) = channel();
    let server = Upstream::new(move |call| {
        let leaves_first = call.head().is_some_and(|asked| asked.target() == "/leaves-first");
        call.peer.send(SWITCHING);
        if leaves_first {
            call.peer.send("I go").finish();
        }
        tell.send(call.peer.rest()).unwrap();
        call.peer.send("I heard");
    });
    let rig = before(&server, "");
    for (way, mut peer) in ways(&rig) {
        peer.send(websocket("up").octets());
        assert_eq!(peer.head().status(), 101);
        peer.send("I go").finish();
        assert_eq!(told.recv().unwrap(), (b"I go".to_vec(), End::Closed), "{way}");
        assert_eq!(peer.rest(), (b"I heard".to_vec(), End::Closed), "{way}");
    }
    for (way, mut peer) in ways(&rig) {
        let asked = String::from_utf8(websocket("up").octets()).unwrap();
        peer.send(asked.replace("GET /", "GET /leaves-first"));
        assert_eq!(peer.head().status(), 101);
        assert_eq!(peer.rest(), (b"I go".to_vec(), End::Closed), "{way}");
        peer.send("I heard").finish();
        assert_eq!(told.recv().unwrap(), (b"I heard".to_vec(), End::Closed), "{way}");
    }
}

#[test]
fn what_an_upstream_refuses_stays_http() {
    for status in [200, 403, 426] {
        let origin = Origin::start(move |nth, _| {
            Reply::Answer(if nth == 0 { answer(status).with("x-no", "thanks") } else { answer(204) })
        });
        let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
        let mut caller = rig.caller();
        let said = caller.send(&websocket("up")).unwrap();
        assert_eq!((said.status(), said.field("x-no")), (status, Some("thanks")));
        assert_eq!(said.field("upgrade"), None);
        assert_eq!(caller.send(&get("up")).unwrap().status(), 204);
        assert_eq!(caller.connections, 1, "after {status} the connection goes on");
        rig.counts("requests_total", &[("code", &status.to_string())], 1);
    }
}

/// Request smuggling by an upgrade that never was: what follows is the next request, and is treated as such.
#[test]
fn what_follows_an_ungranted_upgrade_is_the_next_request() {
    let refuses = Origin::always(403);
    let other = Origin::always(204);
    let rig = Rig::start(&[upstream("up", &[refuses.addr], ""), upstream("other", &[other.addr], "")]);
    let mut peer = Peer::connect(rig.outbound);
    let smuggled = ["other", "nowhere", "other"].map(|authority| get(authority).octets()).concat();
    peer.send([websocket("up").octets(), smuggled].concat());
    let answers = [(); 4].map(|()| peer.message().status());
    assert_eq!(answers, [403, 204, 404, 204]);
    assert_eq!((refuses.count(), other.count()), (1, 2), "each went where it is routed");
    assert!(other.seen()[0].message.field("x-request-id").is_some(), "and was read, not relayed");
}

/// RFC 9110 §7.8: a server may ignore `Upgrade`, and so does whoever may not pass it on.
#[test]
fn an_upgrade_that_the_policy_does_not_list_goes_on_without_it() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "upgrades: []")]);
    let mut caller = rig.caller();
    assert_eq!(caller.send(&websocket("up")).unwrap().status(), 200);
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
    let asked = &origin.seen()[0].message;
    assert_eq!((asked.field("upgrade"), asked.field("connection")), (None, None), "{}", asked.head);
}

#[test]
fn tokens_that_the_policy_does_not_list_are_left_out() {
    let server = parrot();
    let rig = before(&server, "");
    let mut peer = Peer::connect(rig.outbound);
    peer.send(upgrade("hulk/2, WebSocket, h2c").octets());
    assert_eq!(peer.head().status(), 101);
    let asked = server.seen().pop().unwrap();
    assert!(
        asked.fields("upgrade").iter().all(|token| token.eq_ignore_ascii_case("websocket")),
        "{}",
        asked.head
    );

    let rig = before(&server, "upgrades: [hulk]");
    for (token, passed) in [("websocket", None), ("hulk", Some("hulk"))] {
        peer = Peer::connect(rig.outbound);
        peer.send(upgrade(token).octets());
        let said = peer.head();
        assert_eq!(server.seen().pop().unwrap().field("upgrade"), passed, "{}", said.head);
    }
}

/// RFC 9113 §3.1: the token `h2c` is obsolete, and no way around the rules of HTTP/1.
#[test]
fn an_upgrade_to_h2c_is_ignored() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let request = get("up")
        .with("connection", "Upgrade, HTTP2-Settings")
        .with("upgrade", "h2c")
        .with("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA");
    let mut caller = rig.caller();
    assert_eq!(caller.send(&request).unwrap().status(), 200);
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
    let asked = &origin.seen()[0].message;
    assert_eq!(["upgrade", "http2-settings", "connection"].map(|name| asked.field(name)), [None; 3]);
}

/// RFC 9110 §15.2.2: a server switches to what it was asked for, and only if it was asked.
#[test]
fn an_upstream_that_switches_unasked_is_no_tunnel() {
    let server = parrot();
    let rig = Rig::start(&[upstream("up", &[server.addr], "retry: {attempts: 0}\nupgrades: [hulk]")]);
    for request in [get("up"), websocket("up"), upgrade("hulk")] {
        let said = Caller::of(rig.outbound).send(&request).unwrap();
        assert_eq!(said.status(), 502, "{}", said.head);
    }
    assert_eq!(server.connections(), 3, "and none of its connections is used again");
}

/// RFC 9110 §7.8: `Upgrade` in a request of HTTP/1.0 is ignored, and so is one that `Connection` does not name.
#[test]
fn an_upgrade_that_nobody_asked_for_properly_is_ignored() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let asked = String::from_utf8(websocket("up").octets()).unwrap();
    for request in [asked.replace("HTTP/1.1", "HTTP/1.0"), asked.replace("connection: Upgrade\r\n", "")] {
        let mut peer = Peer::connect(rig.outbound);
        assert_eq!(peer.send(request).message().status(), 200);
        assert_eq!(origin.seen().pop().unwrap().message.field("upgrade"), None);
    }
}

/// RFC 9110 §7.8 lets a request with content ask for an upgrade. We pass on its content, and never ask: where that ends and
/// another protocol begins is nothing to have two opinions about.
#[test]
fn content_of_a_request_for_an_upgrade_is_content() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let request = post("up", "GET /admin HTTP/1.1\r\nhost: up\r\n\r\n");
    let request = request.with("connection", "upgrade").with("upgrade", "websocket");
    let mut caller = rig.caller();
    assert_eq!(caller.send(&request).unwrap().status(), 200);
    assert_eq!(caller.send(&get("up")).unwrap().status(), 200);
    let [first, second] = origin.seen().try_into().unwrap_or_else(|seen| panic!("{seen:?}"));
    assert_eq!(first.message.body, b"GET /admin HTTP/1.1\r\nhost: up\r\n\r\n");
    assert_eq!((first.message.field("upgrade"), second.message.target()), (None, "/"));
}
