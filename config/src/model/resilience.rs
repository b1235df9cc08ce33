//! When is an endpoint or an upstream left alone? Active checks, ejection, circuit breakers, pacing.

use std::num::NonZeroU32;
use std::time::Duration;

use super::Backoff;

/// How endpoints are checked, beside the requests that they get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCheck {
    /// What is asked.
    pub probe: Probe,
    /// Of one check, with its connect.
    pub timeout: Duration,
    /// When, and what makes a difference.
    pub thresholds: HealthCheck,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `GET`; 2xx is life.
    Http {
        /// The target, from `/` on.
        path: String,
        /// Another target: what is not 2xx there means "alive, but not ready".
        readiness: Option<String>,
    },
    /// A connect is life.
    Tcp {
        /// As of [`Probe::Http`].
        readiness: Option<String>,
    },
    /// `grpc.health.v1.Health/Check`; `NOT_SERVING` means "alive, but not ready".
    Grpc {
        /// Of which service; empty: the server as a whole.
        service: String,
    },
}

/// When a check counts: the thresholds of `healthCheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthCheck {
    /// From the end of one check to the beginning of the next, in the mean.
    pub interval: Duration,
    /// Failures in a row that make an endpoint Down.
    pub unhealthy_after: NonZeroU32,
    /// Signs of life in a row that make it Up again.
    pub healthy_after: NonZeroU32,
}

/// When to eject, and for how long: `outlierDetection` of an upstream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierDetection {
    /// Failures in a row.
    pub consecutive_failures: NonZeroU32,
    /// The first ejection.
    pub base_ejection_time: Duration,
    /// The longest, but for jitter; not shorter than the first.
    pub max_ejection_time: Duration,
    /// Share of the endpoints that may be out at one time, above 0 and below 1: never everyone.
    pub max_ejection_percent: f64,
}

/// Circuit breakers of an upstream: the same thresholds at each place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CircuitBreakers {
    /// Where they are.
    pub scope: BreakerScope,
    /// When they open and close.
    pub thresholds: CircuitBreaker,
}

/// What a circuit breaker stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerScope {
    /// The upstream as a whole.
    Upstream,
    /// Each endpoint by itself.
    Endpoint,
    /// Each endpoint, and the upstream.
    Both,
}

impl BreakerScope {
    /// Whether the upstream as a whole has one.
    pub fn of_upstream(self) -> bool {
        matches!(self, Self::Upstream | Self::Both)
    }

    /// Whether each endpoint has one.
    pub fn of_endpoints(self) -> bool {
        matches!(self, Self::Endpoint | Self::Both)
    }
}

/// When a circuit opens, and how it closes again: `circuitBreaker` of an upstream. By rate or by count, or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CircuitBreaker {
    /// Length of the sliding window.
    pub window: Duration,
    /// Opens at this share of failures in the window, above 0 and up to 1; `None`: not by rate.
    pub failure_rate: Option<f64>,
    /// Counted outcomes below which the rate says nothing.
    pub min_requests: u32,
    /// Opens after so many failures in a row; `None`: not by count.
    pub consecutive: Option<NonZeroU32>,
    /// A call that takes as long is a failure; `None`: none is for its slowness.
    pub slow_call_duration: Option<Duration>,
    /// Trials that must succeed before it closes, and the most that are out at one time.
    pub trial_requests: NonZeroU32,
    /// How long it stays open: `base` at first, twice as long each time, `max` at most; up to half of that more by chance.
    pub backoff: Backoff,
}

/// How requests to an upstream keep to the rate limit that its answers tell: `pacing` of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// How long one may wait for its turn; 429 beyond.
    pub max_wait: Duration,
}
