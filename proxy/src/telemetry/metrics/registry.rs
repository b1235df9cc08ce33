//! Which handle belongs to these names? The one there is, a new one, or the overflow's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::series::SeriesCap;

/// Handles by name. They live as long as the process, because a counter that vanishes and returns looks like a
/// restart; their number is bounded by the cap (OB-11).
#[derive(Debug)]
pub(super) struct Registry<K, H> {
    handles: Mutex<BTreeMap<K, Arc<H>>>,
    overflow: (K, Arc<H>),
    overflowed: AtomicBool,
    cap: Arc<SeriesCap>,
}

impl<K: Ord, H> Registry<K, H> {
    /// Empty. `overflow` is the handle of all names that find no room.
    pub(super) fn new(cap: &Arc<SeriesCap>, overflow: (K, H)) -> Self {
        Self {
            handles: Mutex::default(),
            overflow: (overflow.0, Arc::new(overflow.1)),
            overflowed: AtomicBool::new(false),
            cap: Arc::clone(cap),
        }
    }

    /// The handle of a name. A new one takes the room of `series`.
    pub(super) fn resolve(&self, key: K, series: usize, new: impl FnOnce() -> H) -> Arc<H> {
        // The map is whole between any two statements, so a panic of another thread spoils nothing.
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&key) {
            return Arc::clone(handle);
        }
        if key != self.overflow.0 {
            if self.cap.take(series) {
                return Arc::clone(handles.entry(key).or_insert_with(|| Arc::new(new())));
            }
            self.cap.refuse();
        }
        self.overflowed.store(true, Relaxed);
        Arc::clone(&self.overflow.1)
    }

    /// Visits every handle in the order of the names, the overflow's last if it was ever given out. `live` tells
    /// whether anybody but the registry still holds it.
    pub(super) fn visit(&self, mut visitor: impl FnMut(&K, &H, bool)) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let overflow = self.overflowed.load(Relaxed).then_some((&self.overflow.0, &self.overflow.1));
        for (key, handle) in handles.iter().chain(overflow) {
            visitor(key, handle, Arc::strong_count(handle) > 1);
        }
    }
}
