//! Whom do we call? A named group of endpoints and how it is treated.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Location, Name, TrafficPolicy};

/// Position of an upstream in [`super::Config::upstreams`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub usize);

/// A named group of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Unique; also an authority by which the service may call it.
    pub name: Name,
    /// Further authorities without port, lower case, exact. Unique over all upstreams.
    pub hosts: Vec<String>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// How many retries its traffic earns. Always on.
    pub retry_budget: RetryBudget,
    /// Bounds on what it may cost us.
    pub limits: UpstreamLimits,
    /// Policy of requests that reach it without a route.
    pub policy: TrafficPolicy,
    /// Where the document starts.
    pub location: Location,
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// Written down. Not empty, no duplicates.
    Static(Vec<SocketAddr>),
    /// A and AAAA records, refreshed by their TTL (clamped to 5 s … 5 min).
    Dns {
        /// Name to resolve.
        name: String,
        /// Port of every endpoint.
        port: u16,
        /// How long the last good answer serves while the resolver fails (LB-11).
        stale_for: Duration,
    },
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadBalancer {
    /// Each in turn.
    RoundRobin,
    /// The less loaded of two drawn at random.
    LeastRequest,
    /// The one of two drawn at random with the lower expected latency (Finagle's peak EWMA).
    PeakEwma,
}

/// How many retries the traffic earns: `percent` of the requests of the last `interval`, plus `min_rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Share of requests, 0..=1.
    pub percent: f64,
    /// Length of the sliding window.
    pub interval: Duration,
    /// Retries a second that are always allowed.
    pub min_rate: f64,
}

/// Bounds on an upstream. Names and defaults: DESIGN §2, table "Limits".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Requests that wait for a connection at one time; 503 above.
    pub max_pending: usize,
    /// Bytes of a response head; 502 above.
    pub response_head: usize,
    /// Fields of a response head; 502 above.
    pub response_fields: usize,
    /// Idle connections kept an endpoint and worker.
    pub max_idle: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}
