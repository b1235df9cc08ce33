//! For which keys is it no use to wait? Those that were lately answered with what cannot be kept, or is stale
//! from the start: others call it hit-for-miss.
//!
//! A request for such a key still has its answer judged, so that one that may be kept is, and ends this at once.

use std::time::{Duration, Instant};

/// How long such an answer is taken for the rule.
const LATELY: Duration = Duration::from_secs(10);
/// Keys that are known at once. One that takes the place of another costs that a wait.
const PLACES: usize = 256;

/// Hashes of keys, each in the one place that is its own.
#[derive(Debug, Default)]
pub(super) struct Hopeless {
    /// With the time until when. Empty until there is one.
    places: Vec<Option<(u64, Instant)>>,
}

impl Hopeless {
    /// An answer could not be kept, or given to anybody as it was.
    pub(super) fn note(&mut self, hash: u64, now: Instant) {
        self.places.resize(PLACES, None);
        self.places[place(hash)] = Some((hash, now + LATELY));
    }

    /// One could.
    pub(super) fn forget(&mut self, hash: u64) {
        if let Some(known) = self.places.get_mut(place(hash))
            && known.is_some_and(|(noted, _)| noted == hash)
        {
            *known = None;
        }
    }

    /// Whether it is no use to wait for the answer to another request.
    pub(super) fn has(&self, hash: u64, now: Instant) -> bool {
        let known = self.places.get(place(hash)).copied().flatten();
        known.is_some_and(|(noted, until)| noted == hash && now < until)
    }
}

/// The low half: shards differ in the other.
fn place(hash: u64) -> usize {
    usize::try_from(hash % PLACES as u64).unwrap_or_default()
}
