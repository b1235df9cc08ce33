//! What happened, and who is told? Counters for Prometheus, a line of text for each exchange worth one.
//!
//! Three layers, each using only what is above it:
//!
//! - [`cells`]: numbers that a worker writes without a locked instruction and without sharing a cache line.
//! - [`metrics`]: the families, their labels, the bound on how many series they may have, the scrape.
//! - [`access_log`]: which exchanges are written down, how one looks, and the thread that writes it.
//!
//! Nothing here decides about traffic, and no clock is read: time comes in as an argument.

pub mod access_log;
pub mod cells;
pub mod metrics;

pub use access_log::{AccessLog, LineSink, Record, SinkEnd};
pub use cells::{Counter, Gauge, Held, Histogram, WorkerId};
pub use metrics::{
    AuthorizationMetrics, CacheMetrics, ConfigMetrics, ConnectionMetrics, DownstreamMetrics, EndpointState,
    ExchangeMetrics, Fill, Fills, Flag, GuardMetrics, IdentityMetrics, Metrics, Protocol, RateLimitMetrics,
    RouteMetrics, Turn, UpstreamMetrics, word_of,
};
