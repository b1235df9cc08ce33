//! What is counted of one cache? The cache itself counts how full it is, so that a scrape takes none of its locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use outrigger_config::model::Mode;

use super::super::cells::WorkerId;
use super::route::Acted;
use super::series::{Series, SeriesCap};

/// The counters of the cache of one upstream, and what it holds now: of all generations that still have a part of it.
#[derive(Debug)]
pub struct CacheMetrics {
    pub(super) looks: Series<Acted>,
    /// Responses.
    pub entries: AtomicI64,
    /// What they take, in octets.
    pub bytes: AtomicI64,
    /// Responses that went, so far, for want of room.
    pub evicted: AtomicU64,
}

impl CacheMetrics {
    /// Series that exist from the start: three plain ones, and a place for words that find none.
    pub(super) const SERIES: usize = 4;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            looks: Series::new(workers, cap),
            entries: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// A request looked into it, with this result.
    pub fn looked(&self, worker: WorkerId, result: &'static str, mode: Mode) {
        self.looks.inc(worker, (result, mode));
    }
}
