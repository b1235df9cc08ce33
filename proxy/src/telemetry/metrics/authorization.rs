//! What is counted of one authorization policy?

use super::super::cells::{Counter, WorkerId};

/// The counters of a policy in one mode, shared by all generations that have it so.
#[derive(Debug)]
pub struct AuthorizationMetrics {
    pub(super) allowed: Counter,
    pub(super) denied: Counter,
}

impl AuthorizationMetrics {
    /// Series that exist from the start.
    pub(super) const SERIES: usize = 2;

    pub(super) fn new(workers: usize) -> Self {
        Self { allowed: Counter::new(workers), denied: Counter::new(workers) }
    }

    /// It let a request pass.
    pub fn allowed(&self, worker: WorkerId) {
        self.allowed.inc(worker);
    }

    /// It did not, or would not have.
    pub fn denied(&self, worker: WorkerId) {
        self.denied.inc(worker);
    }
}
