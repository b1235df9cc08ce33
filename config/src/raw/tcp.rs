//! What may a `TCPRoute` document say, and what a listener of connections that nobody reads?

use super::declare::mapping;
use super::policy::Backoff;
use super::route::BackendRef;
use super::types::{Lasting, List, Whole};
use crate::model::priority::Class;
use crate::model::{Direction, HostPattern, Name, Network};
use crate::scalars::{ListenAddress, NonZeroDuration};

mapping! {
    /// Which connection goes where, when nobody reads what it carries.
    TcpRoute {
        /// Unique over all routes.
        "name" => name: Name, required;
        /// Outbound unless written.
        "direction" => direction: Direction;
        /// The most specific match wins, then the earlier rule.
        "rules" => rules: List<TcpRule>, required;
    }
}

mapping! {
    /// What to match, where to go, how.
    TcpRule {
        /// Unique in its route; `rule-0` for the first one unless written.
        "name" => name: Name;
        /// Any of these; every connection unless written.
        "matches" => matches: List<TcpMatch>;
        /// Outbound: at least one. Inbound: none, the rule leads to the application.
        "backendRefs" => backend_refs: List<BackendRef>;
        /// Of this rule's connections.
        "timeouts" => timeouts: TcpTimeouts;
        /// Of this rule's connections, before anything was sent.
        "retry" => retry: TcpRetry;
        /// What its connections are worth; what a `RateLimitPolicy` says unless written.
        "priority" => priority: Class;
    }
}

mapping! {
    /// All parts must hold.
    TcpMatch {
        /// Any of these is the port that the connection was for.
        "ports" => ports: List<Whole<1, 65_535>>;
        /// Any of these networks has the address that the connection was for.
        "addresses" => addresses: List<Network>;
        /// Any of these is the name that a TLS client asks for: exact, `*.suffix` or `*`. TLS passes through unopened.
        "snis" => snis: List<HostPattern>;
    }
}

mapping! {
    /// One word a clock.
    TcpTimeouts {
        /// One attempt's TCP handshake, and that of TLS.
        "connect" => connect: NonZeroDuration;
        /// Without a byte in either direction; one hour unless written.
        "idle" => idle: NonZeroDuration;
    }
}

mapping! {
    /// When another endpoint is tried: there is no connection yet, so nothing can happen twice.
    TcpRetry {
        /// Retries after the first attempt; 0 turns them off.
        "attempts" => attempts: Whole<0, 10>;
        /// Waits between attempts, with full jitter.
        "backoff" => backoff: Backoff;
    }
}

mapping! {
    /// How it is found out what a connection speaks.
    Detection {
        /// How long the first octets are waited for; then the connection is opaque.
        "timeout" => timeout: Lasting<1, 60_000>;
        /// Ports, as callers know them, that carry no HTTP: nothing is waited for there.
        "opaquePorts" => opaque_ports: List<Whole<1, 65_535>, 0>;
    }
}

mapping! {
    /// A port that leads to one service, whatever is spoken there.
    OutboundTcp {
        /// Where the service connects to.
        "listen" => listen: ListenAddress, required;
        /// Whom it reaches where no `TCPRoute` says otherwise.
        "upstream" => upstream: Name;
    }
}
