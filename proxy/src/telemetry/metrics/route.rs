//! What is counted of one route, whichever upstream its requests go to?

use std::sync::Arc;

use outrigger_config::model::Mode;

use super::super::cells::WorkerId;
use super::series::{Series, SeriesCap, Value};

/// What was done, and whether it was done or only reported.
pub(super) type Acted = (&'static str, Mode);

/// The counters of one route's fallbacks and injected faults. Resolved when a snapshot is built, for routes that have
/// any, and shared by all generations.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) fallbacks: Series<Acted>,
    pub(super) faults: Series<Acted>,
}

impl RouteMetrics {
    /// Series that exist from the start: the places of words that find none.
    pub(super) const SERIES: usize = 2;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self { fallbacks: Series::new(workers, cap), faults: Series::new(workers, cap) }
    }

    /// Something of this kind stood in for an upstream.
    pub fn fallback(&self, worker: WorkerId, kind: &'static str, mode: Mode) {
        self.fallbacks.inc(worker, (kind, mode));
    }

    /// A fault of this kind was injected.
    pub fn fault(&self, worker: WorkerId, kind: &'static str, mode: Mode) {
        self.faults.inc(worker, (kind, mode));
    }
}

/// The value of the label `mode`.
pub const fn word_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::DryRun => "dry_run",
    }
}

impl Value for Acted {
    fn same(self, other: Self) -> bool {
        self.1 == other.1 && self.0.same(other.0)
    }
}
