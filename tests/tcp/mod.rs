//! What becomes of connections that nobody reads? Octets in, octets out, and everything that policy promises of them.

mod access;
mod bounds;
mod detection;
mod passthrough;
mod relay;
mod servers;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use crate::support::free_addr;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, upstream};
use crate::support::scripted::Upstream;

const OUTBOUND: (&str, &str) = ("direction", "outbound");
const INBOUND: (&str, &str) = ("direction", "inbound");

/// Gives back what it gets, and an end for an end.
fn echo() -> Upstream {
    Upstream::new(|call| {
        let (said, _) = call.peer.rest();
        call.peer.send(said);
    })
}

/// Speaks first, and then gives back all that it hears, as it comes.
fn greeter() -> Upstream {
    Upstream::new(|call| {
        call.peer.send("220 ready\r\n");
        while let Ok(said) = call.peer.some() {
            call.peer.send(said);
        }
    })
}

/// Connects, and sees a break: whoever reads must not take it for an end.
#[track_caller]
fn is_broken_off(at: SocketAddr) {
    match TcpStream::connect(at) {
        // It may be there before the connection is looked at for the first time.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        Ok(stream) => assert_eq!(Peer::new(stream).rest(), (Vec::new(), End::Reset)),
    }
}

/// A sidecar with a port of its own for these endpoints, and where that is.
fn leading_to(endpoints: &[SocketAddr], settings: &str) -> (Rig, SocketAddr) {
    let port = free_addr();
    let wishes =
        Wishes { outbound: format!("tcp: [{{listen: \"{port}\", upstream: db}}]"), ..Wishes::default() };
    (Rig::with(&wishes, &[db(endpoints, settings)]), port)
}

/// An upstream that speaks no HTTP.
fn db(endpoints: &[SocketAddr], settings: &str) -> String {
    upstream("db", endpoints, &format!("protocol: tcp\n{settings}"))
}
