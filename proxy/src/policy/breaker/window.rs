//! How did the last while go? Good and bad outcomes of a sliding window, in slots of a tenth.

use std::time::{Duration, Instant};

use super::transition::Tally;

/// Slots that together cover the window; the ring has one more, for the slot that is only begun.
const SLOTS: usize = 10;

/// What a window holds: never less than its length, up to a tenth more. Its size does not depend on the traffic.
#[derive(Debug, Clone)]
pub(super) struct Window {
    ring: [Tally; SLOTS + 1],
    /// The slot of the present, and when it began.
    at: usize,
    began: Instant,
    slot: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.failures = self.failures.saturating_add(other.failures);
        self.total = self.total.saturating_add(other.total);
    }
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        Self { ring: [Tally::default(); SLOTS + 1], at: 0, began: now, slot: slot(length) }
    }

    pub(super) fn add(&mut self, failed: bool, now: Instant) {
        self.advance(now);
        self.ring[self.at].add(Tally { failures: u32::from(failed), total: 1 });
    }

    /// What it holds, as of the last [`add`](Self::add).
    pub(super) fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.ring.iter().for_each(|slot| sum.add(*slot));
        sum
    }

    /// Another length; what was counted stays, as old as its slot's beginning, so nothing outlives the new length.
    pub(super) fn resize(&mut self, length: Duration, now: Instant) {
        if slot(length) == self.slot {
            return;
        }
        self.advance(now);
        let mut new = Self::new(length, now);
        for back in 0..=SLOTS {
            let counted = self.ring[(self.at + self.ring.len() - back) % self.ring.len()];
            let age =
                now.saturating_duration_since(self.began) + self.slot * u32::try_from(back).unwrap_or(0);
            let back = age.as_nanos().div_ceil(new.slot.as_nanos());
            if let Some(back) = usize::try_from(back).ok().filter(|back| *back <= SLOTS) {
                // The new ring begins at place 0; what lies behind it is reached from the other end.
                new.ring[(SLOTS + 1 - back) % (SLOTS + 1)].add(counted);
            }
        }
        *self = new;
    }

    /// Turns the ring to `now`; a `now` before the present slot counts into it.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed < self.slot {
            return;
        }
        let turns = passed.as_nanos() / self.slot.as_nanos();
        if turns > SLOTS as u128 {
            // Nothing of what it holds is left: begin anew, so that an idle night costs no more than an idle window.
            self.ring.fill(Tally::default());
            self.began = now;
            return;
        }
        for _ in 0..turns {
            self.at = (self.at + 1) % self.ring.len();
            self.ring[self.at] = Tally::default();
            self.began += self.slot;
        }
    }
}

fn slot(length: Duration) -> Duration {
    (length / 10).max(Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn traffic() -> impl Strategy<Value = Vec<(u64, bool)>> {
        prop::collection::vec((prop_oneof![9 => 0u64..300, 1 => 0u64..30_000], any::<bool>()), 1..120)
    }

    /// What a list of all outcomes says of those after `from`.
    fn since(all: &[(Duration, bool)], from: Option<Duration>) -> Tally {
        let mut tally = Tally::default();
        for (_, failed) in all.iter().filter(|(at, _)| from.is_none_or(|from| *at > from)) {
            tally.add(Tally { failures: u32::from(*failed), total: 1 });
        }
        tally
    }

    proptest! {
        #[test]
        fn cb_1_the_window_holds_its_length_and_at_most_a_tenth_more(length in 1u64..20_000, traffic in traffic()) {
            let (start, length) = (Instant::now(), MS(length));
            let mut window = Window::new(length, start);
            let (mut at, mut all) = (Duration::ZERO, Vec::new());
            for (gap, failed) in traffic {
                at += MS(gap);
                all.push((at, failed));
                window.add(failed, start + at);
                let least = since(&all, at.checked_sub(length));
                let most = since(&all, at.checked_sub(length + length / 10 + Duration::from_nanos(1)));
                let held = window.sum();
                prop_assert!(least.total <= held.total && held.total <= most.total, "{least:?} {held:?} {most:?}");
                prop_assert!(least.failures <= held.failures && held.failures <= most.failures);
            }
        }

        #[test]
        fn cb_9_another_length_loses_nothing_that_is_younger_and_keeps_nothing_older(
            old in 1u64..20_000, new in 1u64..20_000, traffic in traffic(),
        ) {
            let (start, old, new) = (Instant::now(), MS(old), MS(new));
            let mut window = Window::new(old, start);
            let (mut at, mut all) = (Duration::ZERO, Vec::new());
            for (gap, failed) in traffic {
                at += MS(gap);
                all.push((at, failed));
                window.add(failed, start + at);
            }
            window.resize(new, start + at);
            let both = old.min(new).saturating_sub(old / 10 + Duration::from_nanos(1));
            let (least, most) = (since(&all, at.checked_sub(both)), since(&all, at.checked_sub(new + Duration::from_nanos(1))));
            let held = window.sum();
            prop_assert!(held.total <= most.total, "{held:?} {most:?}");
            prop_assert!(held.total >= least.total, "{held:?} {least:?}");
            // And what it holds is forgotten in its time.
            window.add(false, start + at + new + new / 10 + MS(1));
            prop_assert_eq!(window.sum(), Tally { failures: 0, total: 1 });
        }
    }
}
