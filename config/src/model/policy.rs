//! How is one exchange treated? Timeouts and retries, each value with where it came from.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use http::Method;

use super::Location;
use crate::defaults;

/// Effective policy of one way from a request to an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficPolicy {
    /// One word a clock.
    pub timeouts: Timeouts,
    /// When and how often to try again.
    pub retry: Retry,
    /// What a connection may be turned into.
    pub upgrades: Setting<Vec<Upgrade>>,
}

impl TrafficPolicy {
    /// The same for connections that nobody reads: they may be silent for longer, unless somebody says otherwise.
    #[must_use]
    pub fn of_connections(mut self) -> Self {
        if self.timeouts.idle.origin == Origin::BuiltIn {
            self.timeouts.idle.value = defaults::OPAQUE_IDLE;
        }
        self
    }
}

/// What a connection may be turned into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// A tunnel to an endpoint, by CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// A protocol by its token in `Upgrade`, lower case (RFC 9110 §7.8), such as `websocket`.
    Protocol(String),
}

/// A value and who said so.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

impl<T> Deref for Setting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Who said so. Later ones win: built-in < `Defaults` < `Upstream` < rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A const in `defaults.rs`.
    BuiltIn,
    /// The `Defaults` document.
    Defaults(Location),
    /// The `Upstream` document.
    Upstream(Location),
    /// The `Sidecar` document.
    Sidecar(Location),
    /// The route's rule.
    Rule(Location),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in default"),
            Self::Defaults(at) => write!(f, "Defaults, {at}"),
            Self::Sidecar(at) => write!(f, "Sidecar, {at}"),
            Self::Upstream(at) => write!(f, "Upstream, {at}"),
            Self::Rule(at) => write!(f, "rule, {at}"),
        }
    }
}

/// One word a clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    /// The exchange with its retries.
    pub request: Setting<RequestTimeout>,
    /// One attempt, whole response; `None`: the request's.
    pub backend_request: Setting<Option<Duration>>,
    /// One attempt until its response head; `None`: the request's.
    pub response_headers: Setting<Option<Duration>>,
    /// No byte in either direction.
    pub idle: Setting<Duration>,
    /// TCP connect of one attempt.
    pub connect: Setting<Duration>,
}

/// How long an exchange may take, and what that covers.
///
/// The built-in default must not cut a download that flows (TO-1), and a written limit must mean what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestTimeout {
    /// Nobody wrote one: bounds the wait for the response head; a body that flows is bounded by `idle`.
    UntilHead(Duration),
    /// Written: bounds the exchange to its last byte (a stream, such as `text/event-stream`, until its head).
    Whole(Duration),
}

impl RequestTimeout {
    /// The length.
    pub fn limit(self) -> Duration {
        match self {
            Self::UntilHead(limit) | Self::Whole(limit) => limit,
        }
    }
}

/// When and how often to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Outcomes that are retried.
    pub on: Setting<Vec<RetryCondition>>,
    /// Retries after the first attempt, 0..=10.
    pub attempts: Setting<u32>,
    /// Waits between attempts.
    pub backoff: Setting<Backoff>,
    /// Methods that are retried after something was sent; the idempotent ones unless written (RFC 9110 §9.2.2).
    pub methods: Setting<Vec<Method>>,
    /// A request body up to so many bytes is kept for replay.
    pub replay_body: Setting<usize>,
}

/// An outcome that can be retried. Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryCondition {
    /// No connection: refused, unreachable, too slow. Nothing was sent.
    ConnectFailure,
    /// The connection broke before a response head.
    Reset,
    /// The per-attempt limit (`responseHeaders`, `backendRequest`) ran out before a response head.
    Timeout,
    /// 502, 503, 504, or no usable response: connect failure, reset, timeout, an unreadable head.
    GatewayError,
    /// Any 5xx, or no usable response.
    ServerError,
    /// 409.
    Retriable4xx,
    /// The endpoint says that it has not begun with the request (RFC 9113 §8.7).
    RefusedStream,
    /// Status codes, both ends included: `503`, `500-504`.
    Status(u16, u16),
    /// A gRPC status, in the head or in trailers without content before them.
    Grpc(GrpcStatus),
}

/// A gRPC status that can be retried. Envoy's and Linkerd's five.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GrpcStatus {
    /// `cancelled`
    Cancelled = 1,
    /// `deadline-exceeded`
    DeadlineExceeded = 4,
    /// `resource-exhausted`
    ResourceExhausted = 8,
    /// `internal`
    Internal = 13,
    /// `unavailable`
    Unavailable = 14,
}

/// Full jitter in `[0, min(base·2^(n-1), max)]` before retry n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Of the first retry.
    pub base: Duration,
    /// Of any.
    pub max: Duration,
}
