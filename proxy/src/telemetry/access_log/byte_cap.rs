//! Do so many bytes fit under the cap of this second? A leaky bucket in one atomic.
//!
//! The bucket is the moment until which the bytes written so far would keep a pipe of the permitted rate busy
//! (GCRA, ITU-T I.371). It may lie one second ahead of now, so at most `(t + 1) × rate` bytes leave in `t` seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A bound on bytes a second, shared by all workers.
#[derive(Debug)]
pub(super) struct ByteCap {
    bytes_per_second: u64,
    epoch: Instant,
    /// Nanoseconds after `epoch`.
    busy_until: AtomicU64,
}

impl ByteCap {
    /// Full of room. 0 bytes a second lets nothing through.
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self { bytes_per_second, epoch: now, busy_until: AtomicU64::new(0) }
    }

    /// Whether one byte would fit.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.after(self.busy_until.load(Relaxed), 1, now).is_some()
    }

    /// Takes room for so many bytes, all or nothing.
    pub(super) fn take(&self, bytes: usize, now: Instant) -> bool {
        self.busy_until.fetch_update(Relaxed, Relaxed, |busy| self.after(busy, bytes, now)).is_ok()
    }

    /// Until when the pipe is busy with these bytes too, unless that is more than a second ahead.
    fn after(&self, busy_until: u64, bytes: usize, now: Instant) -> Option<u64> {
        let now = nanos(now.saturating_duration_since(self.epoch));
        let cost = (bytes as u64).saturating_mul(NANOS_PER_SECOND).checked_div(self.bytes_per_second)?;
        let busy = busy_until.max(now).saturating_add(cost);
        (busy <= now.saturating_add(NANOS_PER_SECOND)).then_some(busy)
    }
}

/// Enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked for and when: never more than the rate and one second's burst.
        #[test]
        fn ob_3_the_cap_holds_over_any_time(
            rate in 1..10_000_u64,
            steps in prop::collection::vec((0..300_u64, 0..3_000_usize), 1..200),
        ) {
            let start = Instant::now();
            let cap = ByteCap::new(rate, start);
            let (mut elapsed, mut written) = (0, 0_u128);
            for (millis, bytes) in steps {
                elapsed += millis;
                if cap.take(bytes, start + Duration::from_millis(elapsed)) {
                    written += bytes as u128;
                }
                // Each cost is rounded down to a nanosecond: 200 steps are far less than a byte at these rates.
                prop_assert!(written * 1000 <= u128::from((elapsed + 1000) * rate) + 1000);
            }
        }
    }

    #[test]
    fn room_comes_back_with_time() {
        let start = Instant::now();
        let cap = ByteCap::new(1000, start);
        assert!(cap.take(1000, start));
        assert!(!cap.has_room(start) && !cap.take(1, start));
        assert!(cap.take(500, start + Duration::from_millis(500)));
        assert!(!cap.take(1, start + Duration::from_millis(500)));
    }

    #[test]
    fn a_cap_of_zero_lets_nothing_through() {
        let start = Instant::now();
        assert!(!ByteCap::new(0, start).has_room(start));
    }
}
