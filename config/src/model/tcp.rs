//! Which connection goes where, when nobody reads what it carries? Routes of opaque connections, as in the Gateway API.

use std::net::SocketAddr;
use std::time::Duration;

use super::priority::Class;
use super::{Backend, Direction, HostPattern, Location, Name, Network, TrafficPolicy, UpstreamId};

/// What a listener takes its connections for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// HTTP/1 or HTTP/2.
    Http,
    /// Octets, whatever they mean: the upstream is connected to at once, so that a server may speak first.
    Opaque,
    /// What the first octets show; opaque at once on the ports of [`Detection::opaque_ports`].
    Detect,
}

/// How it is found out what a connection speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// How long the first octets are waited for; then the connection is opaque.
    pub timeout: Duration,
    /// Ports, as callers know them, whose protocols are not HTTP: nothing is waited for there.
    pub opaque_ports: Vec<u16>,
}

/// A port of ours that leads to one service, whatever the service beside us speaks to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundTcp {
    /// Where the service connects to.
    pub listen: SocketAddr,
    /// Whom it reaches where no `TCPRoute` says otherwise; `None`: nobody.
    pub upstream: Option<UpstreamId>,
}

/// A route of opaque connections: an ordered list of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpRoute {
    /// Unique over all routes.
    pub name: Name,
    /// Which way it looks.
    pub direction: Direction,
    /// In order of writing; the most specific match over all routes wins, then the earlier one.
    pub rules: Vec<TcpRule>,
    /// Where the document starts.
    pub location: Location,
}

/// What to match, where to go, how.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpRule {
    /// Unique in its route (`rule-0` when not written).
    pub name: Name,
    /// Any of these; never empty (every connection when not written).
    pub matches: Vec<TcpMatch>,
    /// Outbound: at least one. Inbound: empty, it leads to the application.
    pub backends: Vec<Backend>,
    /// Policy of an inbound rule. (An outbound rule's policy is its backend's.)
    pub policy: TrafficPolicy,
    /// What its connections are worth; `None`: what a `RateLimitPolicy` says.
    pub priority: Option<Class>,
    /// Where the rule starts.
    pub location: Location,
}

/// All parts must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpMatch {
    /// Any of these is the port that was meant; empty: any.
    pub ports: Vec<u16>,
    /// Any of these is the address that was meant; empty: any.
    pub addresses: Vec<Network>,
    /// Any of these is the name that a TLS client asks for (RFC 6066 §3); empty: any, or none.
    pub snis: Vec<HostPattern>,
}
