//! How full is a limit? The limit itself counts here, so that a scrape reads the very numbers that decide.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// One limit: who is inside, who waits, and how many may be inside now.
#[derive(Debug, Default)]
pub struct Fill {
    /// In flight, or open.
    pub inside: AtomicU32,
    /// In the queue before it.
    pub waiting: AtomicU32,
    /// The limit of the moment; 0: there is none.
    pub limit: AtomicU32,
}

/// What a row of the metrics tells of: as a rule one limit. Names beyond the cap on series have one row together, and yet
/// each a limit of its own.
#[derive(Debug, Default)]
pub struct Fills(Mutex<Vec<Weak<Fill>>>);

impl Fills {
    /// Tells of this limit too, for as long as there is one.
    pub fn show(&self, fill: &Arc<Fill>) {
        let (mut shown, of) = (self.shown(), Arc::as_ptr(fill));
        shown.retain(|known| known.strong_count() > 0 && known.as_ptr() != of);
        shown.push(Arc::downgrade(fill));
    }

    /// Tells of it no more.
    pub fn hide(&self, fill: &Arc<Fill>) {
        self.shown().retain(|known| known.as_ptr() != Arc::as_ptr(fill));
    }

    /// The sum over all limits; `None`: there is none.
    pub(super) fn sum(&self, of: fn(&Fill) -> &AtomicU32) -> Option<i64> {
        let shown = self.shown();
        let fills = shown.iter().filter_map(Weak::upgrade);
        fills
            .filter(|fill| fill.limit.load(Relaxed) > 0)
            .map(|fill| of(&fill).load(Relaxed).into())
            .reduce(i64::wrapping_add)
    }

    fn shown(&self) -> MutexGuard<'_, Vec<Weak<Fill>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
