//! What stands in for an upstream that fails? The cache, and a rule's chain of fallbacks.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::Backend;

/// The cache of an upstream's responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// What is kept, and for how long.
    pub rules: CacheRules,
    /// Responses.
    pub max_entries: usize,
    /// Octets of all of them, heads included.
    pub max_bytes: usize,
    /// Octets of one of them.
    pub max_body: usize,
}

/// What a cache keeps, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRules {
    /// Which requests are looked at: GET, HEAD or both.
    pub methods: Vec<Method>,
    /// How long a response that does not say is fresh; `None`: not at all.
    pub ttl: Option<Duration>,
    /// How long after that it may stand in for an error, if it does not say.
    pub stale_if_error: Duration,
}

/// One step of a chain; the first whose condition holds is taken, and if it fails too, the next after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// Failures for which it stands in; never empty.
    pub on: Vec<FallbackCondition>,
    /// What stands in.
    pub with: StandIn,
}

/// Why a request may need something to stand in. Never an answer below 500: that is the caller's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FallbackCondition {
    /// All of the others.
    Any,
    /// The upstream answered with a 5xx, or for gRPC with a failure of its own.
    ServerError,
    /// No connection.
    ConnectFailure,
    /// The connection broke before a response head, or that could not be read.
    Reset,
    /// Any deadline ran out but the caller's own.
    Timeout,
    /// The circuit is open.
    BreakerOpen,
    /// No endpoint is fit.
    NoEndpoint,
    /// One of our own limits towards the upstream is reached.
    Limit,
}

/// What stands in.
#[derive(Debug, Clone, PartialEq)]
pub enum StandIn {
    /// What the upstream's cache still has.
    Stale,
    /// Another upstream.
    Backend(Box<Backend>),
    /// A stub.
    Static(Canned),
    /// A stub with a header field by which the caller can tell that something is missing.
    Degrade(Canned),
}

/// A response that is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canned {
    /// 200 to 599.
    pub status: StatusCode,
    /// None of them about the connection or the framing.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What follows.
    pub body: CannedBody,
}

/// The content of a response that is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CannedBody {
    /// As it stands; empty for a status that has none (RFC 9110 §6.4.1).
    Inline(String),
    /// What is in this file when the snapshot is built.
    File(PathBuf),
}
