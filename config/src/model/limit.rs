//! How many requests may there be? Rates, requests in flight, and whom a limit tells apart.

use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;

use super::priority::{Class, Order, Shares};
use super::{Applied, Direction, HostPattern, Location, Mode, Name, RouteMatch};

/// A document of kind `RateLimitPolicy`. Of several that concern a request, each must let it pass.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimitPolicy {
    /// Unique over all policies of this kind.
    pub name: Name,
    /// Whether it acts.
    pub mode: Mode,
    /// Which way it looks.
    pub direction: Direction,
    /// Authorities that it concerns; never empty (`*` when the document says none).
    pub hosts: Vec<HostPattern>,
    /// Requests that it concerns: any of these; never empty (`PathPrefix /` when not written).
    pub matches: Vec<RouteMatch>,
    /// Of all requests together.
    pub total: Option<Total>,
    /// Of each caller.
    pub per_key: Vec<PerKey>,
    /// In flight at one time.
    pub concurrency: Option<Concurrency>,
    /// What requests are worth, the first that matches; a rule's own `priority` comes before.
    pub priorities: Vec<(RouteMatch, Class)>,
    /// Where the document starts.
    pub location: Location,
}

/// `{rate: 100/s, burst: 20}`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Requests a second in the long run, above 0.
    pub rate: f64,
    /// Requests at once, at least 1.
    pub burst: u32,
}

/// The rate of all requests together.
#[derive(Debug, Clone, PartialEq)]
pub struct Total {
    /// The rate.
    pub limit: RateLimit,
    /// Requests above it may wait so long, so many at a time; `None`: 429 at once.
    pub queue: Option<QueueLimits>,
    /// Whose rate it is.
    pub share: Share,
}

/// Whose rate it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// Each replica has the whole of it.
    Replica,
    /// All replicas have it together, counted in a store.
    Service(Store),
}

/// A Redis or Valkey server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Store {
    /// A name or an IP address (without brackets).
    pub host: String,
    /// 6379 unless written.
    pub port: u16,
    /// Number of the database; 0 unless written.
    pub database: u16,
}

/// The limits of each caller. At least one of them is set.
#[derive(Debug, Clone, PartialEq)]
pub struct PerKey {
    /// Who is a caller.
    pub by: KeyBy,
    /// Requests of each.
    pub limit: Option<RateLimit>,
    /// Requests of each in flight.
    pub max_concurrent: Option<NonZeroU32>,
    /// Callers that are told apart at one time; the rest share one place.
    pub max_keys: u32,
}

/// What callers are told apart by. At least one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyBy {
    /// What mTLS proved.
    pub identity: bool,
    /// The value of a header field.
    pub header: Option<HeaderName>,
    /// Where the connection came from.
    pub source: bool,
}

/// Requests in flight at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Concurrency {
    /// The most.
    pub max: NonZeroU32,
    /// Fewer, as the answers' latency demands; within `max`.
    pub adaptive: Option<Applied<AdaptiveLimit>>,
    /// How much of it each class may fill.
    pub shares: Shares,
    /// Those above it may wait, the worthiest first.
    pub queue: QueueLimits,
    /// Whose requests go first when it is nearly full; `None`: nobody's.
    pub fair_share: Option<FairSharing>,
}

/// Whose requests go first when some must be shed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FairSharing {
    /// Who is a caller.
    pub by: KeyBy,
    /// Who is shed first.
    pub order: Order,
    /// Callers that are remembered.
    pub max_keys: u32,
}

/// `adaptive: {min: 3, max: 1000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveLimit {
    /// Never below, at least 1.
    pub min: u32,
    /// Never above; not below `min`.
    pub max: u32,
}

/// `{maxPending: 100, queueTimeout: 1s}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// How many may wait, all classes together.
    pub capacity: usize,
    /// How long one may wait.
    pub timeout: Duration,
}
