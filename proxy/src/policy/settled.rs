//! Which requests have been retried already? Remembered for the inbound side, whose answer must say so (RT-10).
//!
//! An application that calls on passes `x-request-id` on but not the response fields of whom it called. So the outbound
//! side notes the ids of requests whose retries are done with, and the inbound side marks a failed answer to the same id.

use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

/// How many are remembered; what is older is forgotten first.
const CAPACITY: usize = 4096;
/// For how long: no call chain waits longer for its answer.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Ids of requests whose retries are done with.
#[derive(Debug, Default)]
pub struct Settled {
    ring: Vec<(u64, Instant)>,
    next: usize,
    hasher: RandomState,
}

impl Settled {
    /// Remembers an id.
    pub fn insert(&mut self, id: &[u8], now: Instant) {
        let entry = (self.hasher.hash_one(id), now);
        if self.ring.len() < CAPACITY {
            self.ring.push(entry);
        } else {
            self.ring[self.next] = entry;
        }
        self.next = (self.next + 1) % CAPACITY;
    }

    /// Whether the id was remembered lately.
    pub fn contains(&self, id: &[u8], now: Instant) -> bool {
        let wanted = self.hasher.hash_one(id);
        self.ring.iter().any(|(id, at)| *id == wanted && now.saturating_duration_since(*at) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rt_10_ids_are_remembered_for_a_while_and_within_bounds() {
        let (mut settled, start) = (Settled::default(), Instant::now());
        settled.insert(b"first", start);
        assert!(settled.contains(b"first", start + REMEMBERED / 2));
        assert!(!settled.contains(b"other", start));
        assert!(!settled.contains(b"first", start + REMEMBERED));
        for n in 0..CAPACITY {
            settled.insert(&n.to_le_bytes(), start);
        }
        assert!(!settled.contains(b"first", start));
        assert_eq!(settled.ring.len(), CAPACITY);
    }
}
