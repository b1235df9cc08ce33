//! What is told of the configuration that runs?

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::SystemTime;

use super::super::cells::{Counter, WorkerId};

/// The running generation and how the reloads went. Written by the control thread only.
#[derive(Debug)]
pub struct ConfigMetrics {
    pub(super) generation: AtomicI64,
    pub(super) in_sync: AtomicBool,
    pub(super) loaded: Counter,
    pub(super) rejected: Counter,
    /// Unix time in seconds.
    pub(super) loaded_at: AtomicI64,
}

impl ConfigMetrics {
    pub(super) fn new() -> Self {
        Self {
            generation: AtomicI64::new(0),
            in_sync: AtomicBool::new(false),
            loaded: Counter::new(0),
            rejected: Counter::new(0),
            loaded_at: AtomicI64::new(0),
        }
    }

    /// This generation runs, and is what the files say.
    pub fn loaded(&self, generation: u64, now: SystemTime) {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.loaded_at.store(since_epoch.as_secs().cast_signed(), Relaxed);
        self.generation.store(generation.cast_signed(), Relaxed);
        self.in_sync.store(true, Relaxed);
        self.loaded.inc(WorkerId::CONTROL);
    }

    /// The files say something that cannot run; the old generation stays.
    pub fn rejected(&self) {
        self.in_sync.store(false, Relaxed);
        self.rejected.inc(WorkerId::CONTROL);
    }

    /// The files say again what runs already.
    pub fn unchanged(&self) {
        self.in_sync.store(true, Relaxed);
    }
}
