//! What is counted of one rate limit policy?

use std::sync::Arc;

use super::super::cells::{Counter, WorkerId};
use super::fill::Fills;
use super::series::{Series, SeriesCap};

/// The counters of a policy in one mode, shared by all generations that have it so.
#[derive(Debug)]
pub struct RateLimitMetrics {
    pub(super) decisions: Series<&'static str>,
    pub(super) store: Series<&'static str>,
    pub(super) local: Counter,
    /// Requests in flight, where there is a limit on them.
    pub places: Fills,
}

impl RateLimitMetrics {
    /// Series that exist from the start: three of the places, one of the local share, and two for words that find none.
    pub(super) const SERIES: usize = 6;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            decisions: Series::new(workers, cap),
            store: Series::new(workers, cap),
            local: Counter::new(workers),
            places: Fills::default(),
        }
    }

    /// It decided so, or would have.
    pub fn decided(&self, worker: WorkerId, decision: &'static str) {
        self.decisions.inc(worker, decision);
    }

    /// The store was asked for a lease, with this result.
    pub fn store_answered(&self, worker: WorkerId, result: &'static str) {
        self.store.inc(worker, result);
    }

    /// The replica's own share decided, since the store was away.
    pub fn decided_locally(&self, worker: WorkerId) {
        self.local.inc(worker);
    }
}
