//! How many wait before an upstream? One count for all its queues, exact over all workers.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Those who wait, in whatever queue.
#[derive(Debug, Default)]
pub struct Crowd(AtomicUsize);

impl Crowd {
    /// One more, unless `most` wait already.
    pub fn join(&self, most: usize) -> bool {
        let one_more = |waiting| (waiting < most).then_some(waiting + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    /// So many wait no more.
    pub fn leave(&self, waited: usize) {
        self.0.fetch_sub(waited, Ordering::AcqRel);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, for one that is about to leave: nobody comes between.
    pub fn relieve(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
