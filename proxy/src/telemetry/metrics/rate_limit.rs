//! What is counted of one rate limit policy?

use std::sync::Arc;

use super::super::cells::WorkerId;
use super::fill::Fill;
use super::series::{Series, SeriesCap};

/// The counters of a policy in one mode, shared by all generations that have it so.
#[derive(Debug)]
pub struct RateLimitMetrics {
    pub(super) decisions: Series<&'static str>,
    /// Requests in flight, where there is a limit on them.
    pub places: Arc<Fill>,
}

impl RateLimitMetrics {
    /// Series that exist from the start: three of the places, and one for words that find none.
    pub(super) const SERIES: usize = 4;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self { decisions: Series::new(workers, cap), places: Arc::default() }
    }

    /// It decided so, or would have.
    pub fn decided(&self, worker: WorkerId, decision: &'static str) {
        self.decisions.inc(worker, decision);
    }
}
