//! Where did a connection mean to go? Asked of the kernel, for connections that rules redirected to a listener of ours.
//!
//! A rule of the network namespace (`outrigger intercept`) changes the destination of a connection, and conntrack keeps
//! what it was. Whoever connects to the listener's own port was not redirected: there the kernel knows nothing, or names
//! the listener itself, and to go on to that would be to call ourselves for ever.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{SockRef, Socket};

/// Why a captured connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No rule has redirected it: it was meant for the listener.
    NotRedirected,
    /// It was meant for a port of ours, or we have opened it ourselves.
    Loop,
    /// Nobody names the port, and who does not is not let in.
    UnknownPort,
}

impl Refused {
    /// The word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotRedirected => "not-redirected",
            Self::Loop => "loop",
            Self::UnknownPort => "unknown-port",
        }
    }
}

/// Where it meant to go. Costs two or three system calls, so ask only where connections are captured.
pub fn original_dst(stream: &impl AsFd, peer: SocketAddr) -> Result<SocketAddr, Refused> {
    let socket = SockRef::from(stream);
    let here = socket.local_addr().ok().and_then(|here| here.as_socket()).ok_or(Refused::NotRedirected)?;
    redirected(original(&socket, peer).ok(), here)
}

/// What conntrack has. A socket of IPv6 may carry IPv4, whose option then answers: the peer tells which it is.
fn original(socket: &Socket, peer: SocketAddr) -> io::Result<SocketAddr> {
    let asked = if peer.ip().to_canonical().is_ipv4() {
        socket.original_dst_v4() // SO_ORIGINAL_DST (linux/netfilter_ipv4.h)
    } else {
        socket.original_dst_v6() // IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv6/ip6_tables.h)
    };
    asked?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// What was meant, unless that is where the connection has come in.
fn redirected(original: Option<SocketAddr>, here: SocketAddr) -> Result<SocketAddr, Refused> {
    let plain = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    match original.map(plain) {
        Some(meant) if meant != plain(here) => Ok(meant),
        _ => Err(Refused::NotRedirected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn cf_9_what_was_meant_is_what_the_kernel_says() {
        let meant = redirected(Some(at("10.1.0.7:5432")), at("127.0.0.1:15001"));
        assert_eq!(meant, Ok(at("10.1.0.7:5432")));
        let meant = redirected(Some(at("[fd00::7]:5432")), at("[::1]:15001"));
        assert_eq!(meant, Ok(at("[fd00::7]:5432")));
    }

    #[test]
    fn cf_9_a_direct_call_is_no_redirected_one_in_either_family() {
        for (original, here) in [
            ("10.1.0.2:15006", "10.1.0.2:15006"),
            ("10.1.0.2:15006", "[::ffff:10.1.0.2]:15006"),
            ("[fd00::2]:15006", "[fd00::2]:15006"),
        ] {
            assert_eq!(redirected(Some(at(original)), at(here)), Err(Refused::NotRedirected));
        }
        assert_eq!(redirected(None, at("127.0.0.1:15001")), Err(Refused::NotRedirected));
    }
}
