//! What becomes of a connection that stops being HTTP? Upgrades to `websocket` and others, and CONNECT.

mod connect;
mod curl;
mod extended;
mod life;
mod upgrade;
mod websocket;

use crate::support::draft::{Draft, get};
use crate::support::peer::Peer;
use crate::support::rig::{Rig, Wishes, upstream};
use crate::support::scripted::Upstream;

/// An upstream agrees.
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// A client asks for a WebSocket.
fn websocket(authority: &str) -> Draft {
    get(authority)
        .with("connection", "Upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", 13)
        .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// Asks for a tunnel.
fn connect(authority: &str) -> Draft {
    crate::support::draft::ask("CONNECT", authority, authority)
}

/// Agrees to whatever upgrade it is asked for and gives back all that follows, until the other side ends.
fn parrot() -> Upstream {
    Upstream::new(|call| {
        if call.head().is_some() {
            call.peer.send(SWITCHING);
            give_back(&mut call.peer);
        }
    })
}

/// Gives back what comes, without any HTTP.
fn plain_parrot() -> Upstream {
    Upstream::new(|call| give_back(&mut call.peer))
}

/// Gives back what comes, until the other side ends.
fn give_back(peer: &mut Peer) {
    while let Ok(said) = peer.some() {
        peer.send(said);
    }
}

/// A sidecar before `server`, which is the application behind the inbound port and the upstream `up` alike.
fn before(server: &Upstream, settings: &str) -> Rig {
    before_with("accessLog: {successSample: 100%}", server, settings)
}

/// The same, with further keys of the `Sidecar` document.
fn before_with(sidecar: &str, server: &Upstream, settings: &str) -> Rig {
    let wishes = Wishes { app: Some(server.addr), sidecar: sidecar.to_owned(), ..Wishes::default() };
    Rig::with(&wishes, &[upstream("up", &[server.addr], settings)])
}

/// A tunnel through an upgrade to `up`.
#[track_caller]
fn upgraded(rig: &Rig) -> Peer {
    let mut peer = Peer::connect(rig.outbound);
    peer.send(websocket("up").octets());
    assert_eq!(peer.head().status(), 101);
    peer
}

/// The other end gives back what it is sent.
#[track_caller]
fn echoes(peer: &mut Peer, said: &str) {
    peer.send(said);
    assert_eq!(peer.exactly(said.len()).as_deref(), Ok(said.as_bytes()));
}
