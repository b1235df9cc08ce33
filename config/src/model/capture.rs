//! How do connections get to the sidecar, and what becomes of those that the policy does not name?

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Discovery, TrafficPolicy, Upstream};

/// How connections get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// Whoever connects was told the sidecar's address.
    Explicit,
    /// Rules of the network namespace redirect what was meant for others; the kernel tells for whom
    /// (`SO_ORIGINAL_DST`).
    Redirect,
}

/// What becomes of what the policy does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// A request is answered 404 with the reason `no-route`; a connection is closed.
    Reject,
    /// It goes where it was meant to go.
    Allow,
}

/// The listener of all captured inbound ports.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundCapture {
    /// Where redirected connections arrive, on every address.
    pub port: u16,
    /// What becomes of connections to a port that no entry names.
    pub unknown: Unknown,
    /// Ports that the rules leave alone.
    pub exclude_ports: Vec<PortRange>,
    /// Policy of what is let in unnamed.
    pub policy: TrafficPolicy,
}

impl InboundCapture {
    /// The name of whatever is let in at ports that nobody names.
    pub const PASSTHROUGH: &str = "inbound-passthrough";

    /// Where it listens: a redirected connection arrives at the address of the interface that it came through.
    pub fn listen(&self) -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, self.port).into()
    }

    /// Whatever is let in unnamed, as an upstream; `None`: nothing is.
    pub fn passthrough(&self) -> Option<Upstream> {
        let passthrough = || Upstream::unguarded(Self::PASSTHROUGH, Discovery::Original, &self.policy);
        (self.unknown == Unknown::Allow).then(passthrough)
    }
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The least, above 0.
    pub first: u16,
    /// The greatest.
    pub last: u16,
}

impl PortRange {
    /// A port alone.
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The same ports, in order, each in one range alone.
    pub fn merged(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let meets = next.first <= before.last.saturating_add(1);
            if meets {
                before.last = before.last.max(next.last);
            }
            meets
        });
        ranges
    }

    /// `9100` or `20000-20999`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (0 < range.first && range.first <= range.last).then_some(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => first.fmt(f),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Where the application behind an inbound port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardTo {
    /// Always there.
    Address(SocketAddr),
    /// Where the connection meant to go: an address of this host, as its caller knows it.
    Original,
}

impl fmt::Display for ForwardTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Original => f.write_str("original"),
        }
    }
}

/// Where IPv6 is redirected to when IPv4 is redirected to this address: the kernel takes the loopback address, or the
/// interface's, of either family. `None`: the address is of neither kind.
pub fn twin(listen: SocketAddr) -> Option<SocketAddr> {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv6Addr::LOCALHOST,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv6Addr::UNSPECIFIED,
        _ => return None,
    };
    Some((ip, listen.port()).into())
}
