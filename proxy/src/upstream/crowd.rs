//! Who comes to an upstream, or to what a policy protects? Those who wait, counted exactly over all workers and all queues,
//! and the limits that they meet.
//!
//! A name that goes and comes back meets whoever is inside still: its crowd lasts for as long as anybody of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::bulkhead::Bulkhead;

/// Those who come, to whatever queue.
#[derive(Debug, Default)]
pub struct Crowd {
    waiting: AtomicUsize,
    /// By what they limit; each is there for as long as somebody is inside, or somebody else knows of it.
    limits: Mutex<[Weak<Bulkhead>; 2]>,
}

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Requests in flight.
    Requests,
    /// Open connections.
    Connections,
}

impl Crowd {
    /// One more, unless `most` wait already.
    pub fn join(&self, most: usize) -> bool {
        let one_more = |waiting| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    /// So many wait no more.
    pub fn leave(&self, waited: usize) {
        self.waiting.fetch_sub(waited, Ordering::AcqRel);
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// One more, for one that is about to leave: nobody comes between.
    pub fn relieve(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// The limit that it meets, if there is one.
    pub fn limit(&self, on: On) -> Option<Arc<Bulkhead>> {
        self.limits()[on as usize].upgrade()
    }

    /// From now on it meets this one.
    pub fn meet(&self, on: On, limit: &Arc<Bulkhead>) {
        self.limits()[on as usize] = Arc::downgrade(limit);
    }

    fn limits(&self) -> MutexGuard<'_, [Weak<Bulkhead>; 2]> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose a crowd is; an application may be called like an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// An upstream's.
    Upstream,
    /// Of the application behind an inbound port.
    Application,
    /// A rate limit policy's.
    Policy,
}

/// All crowds by name.
#[derive(Debug, Clone, Default)]
pub struct Crowds(BTreeMap<(Of, Box<str>), Weak<Crowd>>);

impl Crowds {
    /// The same without those of whom nobody is left.
    #[must_use]
    pub fn living(&self) -> Self {
        let living = self.0.iter().filter(|(_, crowd)| crowd.strong_count() > 0);
        Self(living.map(|(name, crowd)| (name.clone(), Weak::clone(crowd))).collect())
    }

    /// That of this name: the one there is, or a new one.
    pub fn of(&mut self, of: Of, name: &str) -> Arc<Crowd> {
        let known = self.0.entry((of, name.into())).or_default();
        known.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *known = Arc::downgrade(&new);
            new
        })
    }
}
