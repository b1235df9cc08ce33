//! What is counted of the exchanges of one route with one upstream?

use std::sync::Arc;
use std::time::Duration;

use super::super::cells::{Histogram, WorkerId};
use super::flag::Flag;
use super::series::{Series, SeriesCap, Value};

/// The counters of one direction, route and upstream. Resolved when a snapshot is built, shared by all generations
/// that have the same three names, so that a reload resets nothing.
#[derive(Debug)]
pub struct ExchangeMetrics {
    pub(super) codes: Series<(u16, Flag)>,
    pub(super) durations: Histogram,
}

impl ExchangeMetrics {
    /// Series that exist from the start: the histogram, and the place of codes that find none.
    pub(super) const SERIES: usize = Histogram::SERIES + 1;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self { codes: Series::new(workers, cap), durations: Histogram::new(workers) }
    }

    /// Counts an exchange at its end: the status that the caller saw (0 if none), why, and how long it took from the
    /// request's head to the last byte of the answer.
    pub fn record(&self, worker: WorkerId, code: u16, flag: Flag, took: Duration) {
        self.codes.inc(worker, (code, flag));
        self.durations.observe(worker, took);
    }
}

impl Value for (u16, Flag) {
    fn same(self, other: Self) -> bool {
        self == other
    }
}
