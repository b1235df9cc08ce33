//! Whom do we call? A named group of endpoints and how it is treated.

use std::net::SocketAddr;
use std::time::Duration;

use super::priority::Shares;
use super::{
    ActiveCheck, AdaptiveLimit, Applied, Balancing, Cache, CircuitBreakers, Location, Name, Origin,
    OutlierDetection, Pacing, QueueLimits, Setting, TrafficPolicy, UpstreamTls,
};
use crate::defaults;

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
    /// Where captured calls to it go as well as to its endpoints: virtual addresses, say. Unique over all upstreams.
    pub addresses: Vec<SocketAddr>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// What its endpoints speak.
    pub protocol: Protocol,
    /// How they are spoken with.
    pub tls: Setting<UpstreamTls>,
    /// How an endpoint is chosen.
    pub load_balancer: LoadBalancer,
    /// Among which endpoints, and where requests with a key go.
    pub balancing: Balancing,
    /// How its endpoints are checked. A block's origin is the strongest document that says anything in it.
    pub health_check: Setting<Option<Applied<ActiveCheck>>>,
    /// When an endpoint is left alone.
    pub outlier_detection: Setting<Option<Applied<OutlierDetection>>>,
    /// When requests are refused at once.
    pub circuit_breaker: Setting<Option<Applied<CircuitBreakers>>>,
    /// Whether requests keep to the rate that its answers tell.
    pub pacing: Setting<Option<Applied<Pacing>>>,
    /// Which of its responses are kept.
    pub cache: Setting<Option<Applied<Cache>>>,
    /// How many retries its traffic earns. Always on.
    pub retry_budget: RetryBudget,
    /// Bounds on what it may cost us.
    pub limits: UpstreamLimits,
    /// Policy of requests that reach it without a route.
    pub policy: TrafficPolicy,
    /// Where the document starts.
    pub location: Location,
}

impl Upstream {
    /// An upstream that is called as it is, whatever comes of it.
    pub(crate) fn unguarded(name: &str, discovery: Discovery, policy: &TrafficPolicy) -> Self {
        fn off<T>() -> Setting<Option<T>> {
            Setting { value: None, origin: Origin::BuiltIn }
        }
        Self {
            name: Name(name.into()),
            hosts: Vec::new(),
            addresses: Vec::new(),
            discovery,
            protocol: defaults::PROTOCOL,
            tls: Setting { value: UpstreamTls::Off, origin: Origin::BuiltIn },
            load_balancer: LoadBalancer::RoundRobin,
            balancing: Balancing { panic_threshold: 1.0, ..Balancing::default() },
            health_check: off(),
            outlier_detection: off(),
            circuit_breaker: off(),
            pacing: off(),
            cache: off(),
            retry_budget: defaults::RETRY_BUDGET,
            limits: UpstreamLimits { max_requests: None, ..defaults::UPSTREAM_LIMITS },
            policy: policy.clone(),
            location: Location { file: "".into(), line: 1, column: 1 },
        }
    }

    /// Whether an authority in lower case, without its port, is one of its names.
    pub fn is_called(&self, host: &str) -> bool {
        self.name.as_str() == host || self.hosts.iter().any(|name| name == host)
    }
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
    /// None of its own: wherever a captured connection meant to go.
    Original,
}

/// What the endpoints of an upstream speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Something else, of which nothing is read: only opaque connections and tunnels lead there.
    Tcp,
    /// Whatever the caller speaks: gRPC stays HTTP/2, HTTP/1 stays HTTP/1. An endpoint that answers HTTP/2 with something
    /// else is asked in HTTP/1 for some minutes.
    Auto,
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpstreamLimits {
    /// Connections, all endpoints and workers together; `None`: as many as requests need.
    pub max_connections: Option<u32>,
    /// Requests in flight, tunnels too; `None`: as many as come.
    pub max_requests: Option<u32>,
    /// Fewer requests in flight, as the answers' latency demands; within `max_requests`.
    pub adaptive: Option<Applied<AdaptiveLimit>>,
    /// How much of the requests in flight each class may fill.
    pub shares: Shares,
    /// Requests that wait for a place among the requests or the connections at one time, and apart from them those whose
    /// connection is being opened; 503 above.
    pub max_pending: usize,
    /// How long one may wait for a place; 503 after.
    pub queue_timeout: Duration,
    /// Bytes of a response head; 502 above.
    pub response_head: usize,
    /// Fields of a response head; 502 above.
    pub response_fields: usize,
    /// Idle connections kept an endpoint and worker.
    pub max_idle: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How long an HTTP/2 connection takes new requests, less up to a tenth by chance.
    pub max_connection_age: Duration,
    /// Of an HTTP/2 connection.
    pub http2: Http2Limits,
}

impl UpstreamLimits {
    /// The queue before the upstream.
    pub fn queue(&self) -> QueueLimits {
        QueueLimits { capacity: self.max_pending, timeout: self.queue_timeout }
    }
}

/// Bounds on an HTTP/2 connection, whichever end of it we are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Http2Limits {
    /// Requests at one time; towards an upstream also no more than it allows (RFC 9113 §5.1.2).
    pub max_streams: u32,
    /// Octets of content that a peer may send ahead on one stream.
    pub stream_window: u32,
    /// Octets of content that a peer may send ahead on all streams together.
    pub connection_window: u32,
    /// Streams that may be reset within 10 s before they were answered, by the peer or for what the peer sent.
    pub resets: u32,
    /// PING and SETTINGS frames a second.
    pub control_frames: f64,
    /// DATA frames without content in a row.
    pub empty_data: u32,
}
