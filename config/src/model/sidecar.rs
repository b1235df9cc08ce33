//! What runs beside the service: listeners, admin, logs, limits.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::fault::FaultCaps;
use super::{
    Accepts, ActiveCheck, Applied, Capture, Detection, Discovery, ForwardTo, Http2Limits, IdentityFiles,
    InboundCapture, InboundTls, Locality, Name, Network, OutboundTcp, Paths, PortRange, Protocol, Setting,
    TrafficPolicy, Unknown, Upstream,
};

/// The process beside one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// The service's name; says `via` whom a request came.
    pub name: Name,
    /// Where we are; `None`: nobody said, and everything is near.
    pub locality: Option<Locality>,
    /// Data-path threads.
    pub workers: Workers,
    /// Who it is; `None`: nobody, and all is plaintext.
    pub identity: Option<IdentityFiles>,
    /// Ports on which others call the service.
    pub inbound: Vec<Inbound>,
    /// Where connections to captured ones arrive; `None`: none of them is captured.
    pub inbound_capture: Option<InboundCapture>,
    /// Where the service calls others; `None` when the document has no `outbound`.
    pub outbound: Option<Outbound>,
    /// How it is found out what a connection speaks, where that is not declared.
    pub detection: Detection,
    /// Where operators and Prometheus look.
    pub admin: Admin,
    /// How it ends.
    pub shutdown: Shutdown,
    /// What is written of each exchange.
    pub access_log: AccessLog,
    /// Bounds on what a downstream peer may cost us.
    pub limits: SidecarLimits,
    /// Bounds on faults that are injected on purpose.
    pub faults: FaultCaps,
}

/// How many data-path threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as the cgroup quota grants processors.
    Auto,
    /// Exactly so many.
    Fixed(NonZeroUsize),
}

/// One port of the service: `port` as others know it, led to `forward_to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbound {
    /// The port that callers use; names this entry in metrics (`inbound-8080`).
    pub port: u16,
    /// How its connections get here.
    pub capture: Capture,
    /// Where we listen: `0.0.0.0:port` unless `listen` says otherwise. Of a captured port it is only a name: nobody listens
    /// there but the application.
    pub listen: SocketAddr,
    /// The application.
    pub forward_to: ForwardTo,
    /// What its connections are taken for.
    pub accepts: Accepts,
    /// What the application speaks.
    pub protocol: Protocol,
    /// What becomes of odd paths where a rule looks at paths.
    pub paths: Paths,
    /// What is asked of callers.
    pub tls: InboundTls,
    /// How it is checked; readiness mirrors it (LB-12).
    pub health_check: Setting<Option<Applied<ActiveCheck>>>,
    /// Policy where no inbound route says otherwise. Attempts are 0 unless written: the caller's side retries.
    pub policy: TrafficPolicy,
}

/// The port through which the service calls others. The authority decides who is called; where connections are captured
/// and nobody is named so, the address that was meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Outbound {
    /// Where the service's calls arrive; where they are captured, at the [twin](super::twin) of this address too.
    pub listen: SocketAddr,
    /// How they get there.
    pub capture: Capture,
    /// What the connections to it are taken for.
    pub accepts: Accepts,
    /// Ports of their own, each for one service.
    pub tcp: Vec<OutboundTcp>,
    /// What becomes of what no route and no upstream names.
    pub unknown: Unknown,
    /// Ports of others that the rules leave alone.
    pub exclude_ports: Vec<PortRange>,
    /// Addresses that the rules leave alone.
    pub exclude_cidrs: Vec<Network>,
    /// Policy of what is let through unnamed.
    pub policy: TrafficPolicy,
    /// What becomes of odd paths where a rule looks at paths.
    pub paths: Paths,
}

/// Operators' ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `/config`, `/upstreams`: loopback or a socket file, unless the document says that it is exposed.
    pub listen: AdminAddress,
    /// `/metrics`, `/livez`, `/readyz`.
    pub metrics: SocketAddr,
}

/// Where operators look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdminAddress {
    /// A port.
    Port(SocketAddr),
    /// A socket file, for its owner alone.
    File(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(addr) => addr.fmt(f),
            Self::File(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// The grace after SIGTERM: for callers to leave, for the application if it is a child of ours, for work in flight.
    pub drain: Duration,
}

/// What is written of each exchange (OB-3): all failures and slow ones, a sample of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Write anything at all (`format: json | off`).
    pub enabled: bool,
    /// Share of fast successes that is written, 0..=1.
    pub success_sample: f64,
    /// Every exchange that took at least so long is written.
    pub slower_than: Duration,
    /// Bytes a second; what is over is dropped and counted.
    pub max_bytes_per_second: u64,
}

/// Bounds on a downstream peer. Names and defaults: DESIGN §2, table "Limits".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SidecarLimits {
    /// Bytes of a request head; 431 above.
    pub request_head: usize,
    /// Fields of a request head; 431 above. At most 100 (what hyper parses without allocating).
    pub request_fields: usize,
    /// Bytes of a request target; 414 above.
    pub request_target: usize,
    /// From a head's first byte to its end; 408 after.
    pub head_timeout: Duration,
    /// Between requests of a connection.
    pub idle_timeout: Duration,
    /// Between bytes of a body in either direction.
    pub body_idle_timeout: Duration,
    /// Connections a listener, all workers together.
    pub max_connections: usize,
    /// Of a TLS handshake, from the connection's acceptance on.
    pub handshake_timeout: Duration,
    /// TLS handshakes at one time, all listeners and workers together; more connections wait to begin theirs.
    pub max_handshakes: usize,
    /// `listen(2)` backlog.
    pub backlog: u32,
    /// Bytes and fields of trailers.
    pub trailers: usize,
    /// Fields of trailers.
    pub trailer_fields: usize,
    /// How long an HTTP/2 connection takes new requests, less up to a tenth by chance.
    pub max_connection_age: Duration,
    /// Of an HTTP/2 connection.
    pub http2: Http2Limits,
    /// Octets of an HTTP/2 request's header list as RFC 9113 §10.5.1 counts them; 431 above.
    pub header_list: u32,
}

impl Inbound {
    /// What the name of each application begins with; its port follows.
    pub(crate) const PREFIX: &str = "inbound-";

    /// The application as an upstream: one endpoint, named after the port, with the built-in bounds. It is not ejected,
    /// since there is no other; who calls it although its checks fail gets through, fit or not; and how many requests it gets is up to the listener and `RateLimitPolicy`.
    pub fn application(&self) -> Upstream {
        let discovery = match self.forward_to {
            ForwardTo::Address(address) => Discovery::Static(vec![address]),
            ForwardTo::Original => Discovery::Original,
        };
        Upstream {
            protocol: self.protocol,
            health_check: self.health_check.clone(),
            ..Upstream::unguarded(&format!("{}{}", Self::PREFIX, self.port), discovery, &self.policy)
        }
    }
}

impl Outbound {
    /// The name of whatever is let through unnamed.
    pub const PASSTHROUGH: &str = "passthrough";

    /// Whatever is let through unnamed, as an upstream; `None`: nothing is.
    pub fn passthrough(&self) -> Option<Upstream> {
        let passthrough = || Upstream::unguarded(Self::PASSTHROUGH, Discovery::Original, &self.policy);
        (self.unknown == Unknown::Allow).then(passthrough)
    }
}
