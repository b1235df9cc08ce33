//! Which families are there, and who holds the counters? The registry of everything that is counted.
//!
//! Handles are resolved by name when a snapshot is built, never on the request path; the same names give the same
//! handle, so counters survive a reload. Counters of what is gone stay, because a counter that vanishes and
//! returns looks like a restart; gauges of what is gone are left out of the scrape.
//!
//! Label values are names from policy files or words of closed sets, never anything that a peer sent. Still there
//! is a cap on the series: what comes after it shares one `overflow` handle (OB-11).

mod authorization;
mod cache;
mod connection;
mod downstream;
mod exchange;
mod families;
mod fill;
mod flag;
mod generation;
mod guards;
mod identity;
mod rate_limit;
mod registry;
mod route;
mod scrape;
mod series;
#[cfg(test)]
mod tests;
mod upstream;

use std::fmt;
use std::sync::Arc;

use outrigger_config::model::{Direction, Mode};
use prometheus::process_collector::ProcessCollector;

use self::registry::Registry;
use self::series::{OVERFLOW, Series, SeriesCap};
use super::cells::{Counter, WorkerId};

pub use self::authorization::AuthorizationMetrics;
pub use self::cache::CacheMetrics;
pub use self::connection::ConnectionMetrics;
pub use self::downstream::{DownstreamMetrics, Protocol};
pub use self::exchange::ExchangeMetrics;
pub use self::fill::{Fill, Fills};
pub use self::flag::Flag;
pub use self::generation::ConfigMetrics;
pub use self::guards::{EndpointState, GuardMetrics, Turn};
pub use self::identity::IdentityMetrics;
pub use self::rate_limit::RateLimitMetrics;
pub use self::route::{RouteMetrics, word_of};
pub use self::upstream::UpstreamMetrics;

/// Everything that is counted, of all generations.
pub struct Metrics {
    workers: usize,
    cap: Arc<SeriesCap>,
    inbound: Side,
    outbound: Side,
    upstreams: Registry<Box<str>, UpstreamMetrics>,
    caches: Arc<Registry<Box<str>, CacheMetrics>>,
    /// By policy and mode.
    rate_limits: Registry<(Box<str>, &'static str), RateLimitMetrics>,
    /// By policy and mode.
    authorization: Registry<(Box<str>, &'static str), AuthorizationMetrics>,
    routes: Registry<Box<str>, RouteMetrics>,
    limits: Series<&'static str>,
    deadlines: Series<&'static str>,
    panics: Counter,
    access_log_dropped: Counter,
    config: ConfigMetrics,
    identity: IdentityMetrics,
    process: ProcessCollector,
}

/// What is counted of one direction.
struct Side {
    downstream: DownstreamMetrics,
    /// Handshakes of TLS: of those who call us, or ours with those whom we call.
    handshakes: Arc<Series<&'static str>>,
    /// By route and upstream.
    exchanges: Registry<(Box<str>, Box<str>), ExchangeMetrics>,
    /// The same of connections that nobody reads.
    connections: Registry<(Box<str>, Box<str>), ConnectionMetrics>,
}

impl Metrics {
    /// Nothing counted yet. `series_cap` bounds the series that carry a route's or an upstream's name, those of
    /// the overflow included; the rest is fixed by the code.
    pub fn new(workers: usize, series_cap: usize) -> Arc<Self> {
        let cap = SeriesCap::new(series_cap.saturating_sub(OVERFLOW_SERIES));
        // Words of closed sets, once a process: bounded without a cap.
        let fixed = SeriesCap::new(usize::MAX);
        let side = || {
            let key = || (OVERFLOW.into(), OVERFLOW.into());
            Side {
                downstream: DownstreamMetrics::new(workers, &fixed),
                handshakes: Arc::new(Series::new(workers, &fixed)),
                exchanges: Registry::new(&cap, (key(), ExchangeMetrics::new(workers, &cap))),
                connections: Registry::new(&cap, (key(), ConnectionMetrics::new(workers, &cap))),
            }
        };
        let outbound = side();
        let caches = (OVERFLOW.into(), CacheMetrics::new(workers, &cap));
        let caches = Arc::new(Registry::new(&cap, caches));
        let overflow = UpstreamMetrics::new(OVERFLOW, workers, &cap, &caches, &outbound.handshakes);
        let overflow = (OVERFLOW.into(), overflow);
        Arc::new(Self {
            workers,
            inbound: side(),
            outbound,
            upstreams: Registry::new(&cap, overflow),
            caches,
            rate_limits: Registry::new(
                &cap,
                ((OVERFLOW.into(), OVERFLOW), RateLimitMetrics::new(workers, &cap)),
            ),
            authorization: Registry::new(
                &cap,
                ((OVERFLOW.into(), OVERFLOW), AuthorizationMetrics::new(workers)),
            ),
            routes: Registry::new(&cap, (OVERFLOW.into(), RouteMetrics::new(workers, &cap))),
            limits: Series::new(workers, &fixed),
            deadlines: Series::new(workers, &fixed),
            panics: Counter::new(workers),
            access_log_dropped: Counter::new(workers),
            config: ConfigMetrics::new(),
            identity: IdentityMetrics::new(),
            process: ProcessCollector::for_self(),
            cap,
        })
    }

    /// The counters of a route with an upstream. For snapshot builds: takes a lock and compares names.
    pub fn exchange(&self, direction: Direction, route: &str, upstream: &str) -> Arc<ExchangeMetrics> {
        let key = (route.into(), upstream.into());
        let new = || ExchangeMetrics::new(self.workers, &self.cap);
        self.side(direction).exchanges.resolve(key, ExchangeMetrics::SERIES, new)
    }

    /// The same of connections that nobody reads.
    pub fn connection(&self, direction: Direction, route: &str, upstream: &str) -> Arc<ConnectionMetrics> {
        let key = (route.into(), upstream.into());
        let new = || ConnectionMetrics::new(self.workers, &self.cap);
        self.side(direction).connections.resolve(key, ConnectionMetrics::SERIES, new)
    }

    /// The counters of an upstream. For snapshot builds: takes a lock and compares names.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        let handshakes = &self.outbound.handshakes;
        let new = || UpstreamMetrics::new(name, self.workers, &self.cap, &self.caches, handshakes);
        self.upstreams.resolve(name.into(), UpstreamMetrics::SERIES, new)
    }

    /// The counters of a rate limit policy. For snapshot builds: takes a lock and compares names.
    pub fn rate_limit(&self, policy: &str, mode: Mode) -> Arc<RateLimitMetrics> {
        let new = || RateLimitMetrics::new(self.workers, &self.cap);
        self.rate_limits.resolve((policy.into(), word_of(mode)), RateLimitMetrics::SERIES, new)
    }

    /// The counters of an authorization policy. For snapshot builds: takes a lock and compares names.
    pub fn authorization(&self, policy: &str, mode: Mode) -> Arc<AuthorizationMetrics> {
        let new = || AuthorizationMetrics::new(self.workers);
        self.authorization.resolve((policy.into(), word_of(mode)), AuthorizationMetrics::SERIES, new)
    }

    /// The counters of a route's fallbacks and faults. For snapshot builds: takes a lock and compares names.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let new = || RouteMetrics::new(self.workers, &self.cap);
        self.routes.resolve(name.into(), RouteMetrics::SERIES, new)
    }

    /// The counters of a direction's connections.
    pub fn downstream(&self, direction: Direction) -> &DownstreamMetrics {
        &self.side(direction).downstream
    }

    /// What is told of the configuration.
    pub fn config(&self) -> &ConfigMetrics {
        &self.config
    }

    /// What is told of our certificates.
    pub fn identity(&self) -> &IdentityMetrics {
        &self.identity
    }

    /// A bound of DESIGN §2 "Limits" was hit; `limit` is its name in the policy files.
    pub fn limit_exceeded(&self, worker: WorkerId, limit: &'static str) {
        self.limits.inc(worker, limit);
    }

    /// A handshake of TLS with somebody who calls us ended so.
    pub fn handshake(&self, worker: WorkerId, result: &'static str) {
        self.inbound.handshakes.inc(worker, result);
    }

    /// For whom the data path has so many threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A deadline passed while waiting here.
    pub fn deadline_exceeded(&self, worker: WorkerId, place: &'static str) {
        self.deadlines.inc(worker, place);
    }

    /// A connection's task panicked; the panic ended there.
    pub fn connection_panicked(&self, worker: WorkerId) {
        self.panics.inc(worker);
    }

    /// Counts the lines that the access log could not write; for [`super::AccessLog`] and [`super::LineSink`].
    pub fn access_log_dropped(&self) -> Counter {
        self.access_log_dropped.clone()
    }

    /// A scrape: content type and text. The order is stable.
    pub fn render(&self) -> (&'static str, String) {
        (scrape::CONTENT_TYPE, self.scrape().into_text())
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// The overflow handles: an exchange and a connection a direction, an upstream, a cache, a policy of each kind, and a route.
const OVERFLOW_SERIES: usize = 2 * ExchangeMetrics::SERIES
    + 2 * ConnectionMetrics::SERIES
    + UpstreamMetrics::SERIES
    + CacheMetrics::SERIES
    + RateLimitMetrics::SERIES
    + AuthorizationMetrics::SERIES
    + RouteMetrics::SERIES;
