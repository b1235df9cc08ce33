//! What becomes of connections that nobody reads? Octets in, octets out, and everything that policy promises of them.

mod relay;

use std::net::SocketAddr;

use crate::support::rig::{Rig, Wishes, upstream};
use crate::support::scripted::Upstream;

/// Gives back what it gets, and an end for an end.
fn echo() -> Upstream {
    Upstream::new(|call| {
        let (said, _) = call.peer.rest();
        call.peer.send(said);
    })
}

/// A sidecar with a port of its own for these endpoints, and where that is.
fn leading_to(endpoints: &[SocketAddr], settings: &str) -> (Rig, SocketAddr) {
    let port = crate::support::free_addr();
    let wishes =
        Wishes { outbound: format!("tcp: [{{listen: \"{port}\", upstream: db}}]"), ..Wishes::default() };
    let rig = Rig::with(&wishes, &[upstream("db", endpoints, &format!("protocol: tcp\n{settings}"))]);
    (rig, port)
}
