//! What may the proxy rely on? The resolved configuration: every name bound, every default filled in.

mod applied;
mod authorization;
mod balance;
mod capture;
mod fallback;
pub mod fault;
mod identity;
mod limit;
mod paths;
mod policy;
pub mod priority;
mod resilience;
mod route;
mod sidecar;
mod tcp;
mod upstream;

pub use applied::{Applied, Mode};
pub use authorization::{AccessRule, AuthorizationPolicy, IdentityMatch};
pub use balance::{Balancing, HashOn, Localities, Locality, Network};
pub use capture::{Capture, ForwardTo, InboundCapture, PortRange, Unknown, twin};
pub use fallback::{Cache, CacheRules, Canned, CannedBody, Fallback, FallbackCondition, StandIn};
pub use identity::{IdentityFiles, InboundTls, PeerIdentity, SpiffeId, UpstreamTls};
pub use limit::{
    AdaptiveLimit, Concurrency, FairSharing, KeyBy, PerKey, QueueLimits, RateLimit, RateLimitPolicy, Share,
    Store, Total,
};
pub use paths::{Oddity, Paths};
pub use policy::{
    Backoff, GrpcStatus, Origin, RequestTimeout, Retry, RetryCondition, Setting, Timeouts, TrafficPolicy,
    Upgrade,
};
pub use resilience::{
    ActiveCheck, BreakerScope, CircuitBreaker, CircuitBreakers, HealthCheck, OutlierDetection, Pacing, Probe,
};
pub use route::{
    Backend, Direction, HeaderMatch, HostPattern, HttpRoute, PathMatch, QueryMatch, RouteMatch, Rule,
    TextMatch,
};
pub use sidecar::{
    AccessLog, Admin, AdminAddress, Inbound, Outbound, Shutdown, Sidecar, SidecarLimits, Workers,
};
pub use tcp::{Accepts, Detection, OutboundTcp, TcpMatch, TcpRoute, TcpRule};
pub use upstream::{
    Discovery, Http2Limits, LoadBalancer, Protocol, RetryBudget, Upstream, UpstreamId, UpstreamLimits,
};

use std::fmt;
use std::sync::Arc;

/// A whole generation of policy: what every file of the directory says, together.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The process beside the service.
    pub sidecar: Sidecar,
    /// Who may be called; [`UpstreamId`] is the position in this list.
    pub upstreams: Vec<Upstream>,
    /// Routes of both directions, in the order in which they were written.
    pub routes: Vec<HttpRoute>,
    /// Routes of opaque connections, in the order in which they were written.
    pub tcp_routes: Vec<TcpRoute>,
    /// Limits of both directions, in the order in which they were written.
    pub rate_limits: Vec<RateLimitPolicy>,
    /// Who may do what, in both directions, in the order in which they were written.
    pub authorization: Vec<AuthorizationPolicy>,
}

impl Config {
    /// The upstream behind an id. Ids come only from the `Config` that they are used with.
    pub fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.upstreams[id.0]
    }

    /// Whether connections of either direction are redirected to the sidecar.
    pub fn captures(&self) -> bool {
        let outbound = self.sidecar.outbound.as_ref();
        self.sidecar.inbound_capture.is_some()
            || outbound.is_some_and(|outbound| outbound.capture == Capture::Redirect)
    }
}

/// A place in a policy file, for people: `routes.yaml:14:7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file as it was named on the command line or found in the directory.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A name that other documents and metrics use: `[a-z0-9]([a-z0-9.-]*[a-z0-9])?`, at most 63 characters.
/// Made only by the parser.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub(crate) Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text, for labels.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
