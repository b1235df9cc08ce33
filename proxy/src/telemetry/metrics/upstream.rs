//! What is counted of one upstream?

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use outrigger_config::model::Mode;

use super::super::cells::{Counter, Gauge, Held, WorkerId};
use super::cache::CacheMetrics;
use super::fill::Fills;
use super::guards::GuardMetrics;
use super::registry::Registry;
use super::route::Acted;
use super::series::{Series, SeriesCap};

/// The counters of one upstream, shared by all generations that name it. The label values are words of closed sets,
/// owned by the rooms that decide: outcome, cause, reason.
#[derive(Debug)]
pub struct UpstreamMetrics {
    pub(super) attempts: Series<&'static str>,
    pub(super) retries: Series<&'static str>,
    pub(super) refused: Series<&'static str>,
    pub(super) dns: Series<&'static str>,
    pub(super) paced: Series<Acted>,
    /// Requests a second; 0: as many as come.
    pub(super) pace: AtomicI64,
    pub(super) stale: Counter,
    pub(super) pending: Gauge,
    pub(super) endpoints: AtomicI64,
    /// Of breakers, ejection and checks.
    pub guards: GuardMetrics,
    /// Requests in flight, where there is a limit on them.
    pub requests: Fills,
    /// Connections, where there is a limit on them.
    pub connections: Fills,
    /// Of caches, for upstreams that have one.
    caches: Arc<Registry<Box<str>, CacheMetrics>>,
    name: Box<str>,
    workers: usize,
    cap: Arc<SeriesCap>,
}

impl UpstreamMetrics {
    /// Series that exist from the start: four plain ones, three a limit, five places for words that find none, and those
    /// of the guards.
    pub(super) const SERIES: usize = 15 + GuardMetrics::SERIES;

    pub(super) fn new(
        name: &str,
        workers: usize,
        cap: &Arc<SeriesCap>,
        caches: &Arc<Registry<Box<str>, CacheMetrics>>,
    ) -> Self {
        Self {
            attempts: Series::new(workers, cap),
            retries: Series::new(workers, cap),
            refused: Series::new(workers, cap),
            dns: Series::new(workers, cap),
            paced: Series::new(workers, cap),
            pace: AtomicI64::new(0),
            stale: Counter::new(workers),
            pending: Gauge::new(workers),
            endpoints: AtomicI64::new(0),
            guards: GuardMetrics::new(workers, cap),
            requests: Fills::default(),
            connections: Fills::default(),
            caches: Arc::clone(caches),
            name: name.into(),
            workers,
            cap: Arc::clone(cap),
        }
    }

    /// An attempt ended like this.
    pub fn attempt(&self, worker: WorkerId, outcome: &'static str) {
        self.attempts.inc(worker, outcome);
    }

    /// A retry was started because of this.
    pub fn retry(&self, worker: WorkerId, cause: &'static str) {
        self.retries.inc(worker, cause);
    }

    /// A retry that the condition asked for was not made, because of this: budget, deadline, body, attempts.
    pub fn retry_refused(&self, worker: WorkerId, reason: &'static str) {
        self.refused.inc(worker, reason);
    }

    /// An idle connection turned out closed when it was used.
    pub fn stale_connection(&self, worker: WorkerId) {
        self.stale.inc(worker);
    }

    /// A request waits for a connection, until the guard is dropped.
    pub fn pending(&self, worker: WorkerId) -> Held {
        self.pending.hold(worker)
    }

    /// The resolver was asked, with this result.
    pub fn dns_refresh(&self, worker: WorkerId, result: &'static str) {
        self.dns.inc(worker, result);
    }

    /// The counters of its cache. For snapshot builds, where there is one: takes a lock, and room for its series.
    pub fn cache(&self) -> Arc<CacheMetrics> {
        let new = || CacheMetrics::new(self.workers, &self.cap);
        self.caches.resolve(self.name.clone(), CacheMetrics::SERIES, new)
    }

    /// A request met the pace that the upstream's answers ask for, with this decision.
    pub fn paced(&self, worker: WorkerId, decision: &'static str, mode: Mode) {
        self.paced.inc(worker, (decision, mode));
    }

    /// So many requests a second pass now; `None`: as many as come.
    pub fn set_pace(&self, pace: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, reason = "saturates; a gauge of whole requests")]
        let pace = pace.map_or(0, |pace| pace.round().max(1.0) as i64);
        self.pace.store(pace, Relaxed);
    }

    /// So many endpoints are known now.
    pub fn set_endpoints(&self, count: usize) {
        self.endpoints.store(i64::try_from(count).unwrap_or(i64::MAX), Relaxed);
    }
}
