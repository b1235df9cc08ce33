//! May one more retry be made? A budget that the traffic itself earns, so that retries cannot become a storm.
//!
//! **Question.** An upstream that fails makes every caller retry at once. How many retries can it be asked to bear?
//!
//! **States and transitions.** Two purses. The *share*: a ring of slots that counts the requests and the retries of
//! the last `interval`; a retry is granted while `retries + 1 <= percent · requests`. The *floor*: a token bucket
//! that earns `min_rate` a second and holds at most [`BURST`], so that a quiet upstream may be retried too but idle
//! hours cannot be saved up and spent in one instant. The floor pays first: what it cannot hold is lost.
//!
//! **Invariants.** Each retry that the share pays is backed by `1/percent` requests of its own, none older than
//! `interval` and one slot: a retry leaves the ring no sooner than the requests that back it, so none backs two.
//! Looking back over one `interval` from such a retry, then, at most `percent · requests` were granted, requests
//! counted over that interval and the slot before it. The floor adds at most `min_rate · interval + BURST`.
//!
//! **Time.** Constant, whatever the gap between calls: the ring turns once at most. A `now` before the last one
//! counts as the last one.
//!
//! **On reload.** Kept while the upstream's budget is unchanged, else begun anew.
//!
//! **Source.** Gateway API GEP-3388 (percent, interval, minimum rate); Envoy's minimum concurrency of 3 is the burst.

use std::time::{Duration, Instant};

use outrigger_config::model::RetryBudget;

/// The most retries that the floor can hold ready, and so grant in one instant.
pub const BURST: u32 = 3;

/// Slots that together cover one interval; the ring has one more, so that it never covers less.
const SLOTS: usize = 10;

/// `percent` is kept in millionths, so that 29 % of 100 is 29 and not 28.999….
const MILLION: u64 = 1_000_000;

/// What the traffic of one upstream has earned and spent.
#[derive(Debug, Clone)]
pub struct Budget {
    millionths: u64,
    ring: [Slot; SLOTS + 1],
    /// The slot of the present, and when it began.
    at: usize,
    began: Instant,
    slot: Duration,
    floor: Floor,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    requests: u64,
    retries: u64,
}

impl Budget {
    /// A budget that has earned nothing yet but its floor.
    pub fn new(config: &RetryBudget, now: Instant) -> Self {
        Self {
            millionths: millionths(config.percent),
            ring: [Slot::default(); SLOTS + 1],
            at: 0,
            began: now,
            slot: (config.interval / 10).max(Duration::from_nanos(1)),
            floor: Floor::new(config, now),
        }
    }

    /// `n` requests were made (first attempts; a retry earns nothing).
    pub fn deposit(&mut self, n: u32, now: Instant) {
        self.advance(now);
        self.ring[self.at].requests += u64::from(n);
    }

    /// One retry is about to be made: is it paid for? Ask last, when nothing else stands in its way.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.advance(now);
        if self.floor.withdraw(now) {
            return true;
        }
        let granted = self.share() > 0;
        self.ring[self.at].retries += u64::from(granted);
        granted
    }

    /// How many retries could be made now.
    pub fn balance(&mut self, now: Instant) -> u64 {
        self.advance(now);
        self.floor.whole(now) + self.share()
    }

    /// What the share still holds.
    fn share(&self) -> u64 {
        let (requests, retries) =
            self.ring.iter().fold((0, 0), |(q, r), slot| (q + slot.requests, r + slot.retries));
        (requests * self.millionths / MILLION).saturating_sub(retries)
    }

    /// Turns the ring to `now`; says how many slots it cleared.
    fn advance(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.began);
        if passed < self.slot {
            return 0;
        }
        let (passed, slot) = (passed.as_nanos(), self.slot.as_nanos());
        let turns = usize::try_from(passed / slot).map_or(SLOTS + 1, |turns| turns.min(SLOTS + 1));
        for _ in 0..turns {
            self.at = (self.at + 1) % self.ring.len();
            self.ring[self.at] = Slot::default();
        }
        let into_slot = u64::try_from(passed % slot).unwrap_or(0);
        self.began = now.checked_sub(Duration::from_nanos(into_slot)).unwrap_or(now);
        turns
    }
}

/// A token bucket, kept as the time at which it will be full again (GCRA, ITU-T I.371): whole tokens, no rounding.
#[derive(Debug, Clone, Copy)]
struct Floor {
    /// Earns one token; `None`: never.
    gap: Option<Duration>,
    size: u32,
    full: Instant,
}

impl Floor {
    fn new(config: &RetryBudget, now: Instant) -> Self {
        let in_interval = config.min_rate * config.interval.as_secs_f64();
        let size = (1..=BURST).rev().find(|n| f64::from(*n) <= in_interval).unwrap_or(1);
        Self { gap: Duration::try_from_secs_f64(config.min_rate.recip()).ok(), size, full: now }
    }

    fn withdraw(&mut self, now: Instant) -> bool {
        let paid = self.gap.filter(|_| self.whole(now) > 0);
        let full = paid.and_then(|gap| self.full.max(now).checked_add(gap));
        self.full = full.unwrap_or(self.full);
        full.is_some()
    }

    fn whole(&self, now: Instant) -> u64 {
        let Some(gap) = self.gap else { return 0 };
        let missing = self.full.saturating_duration_since(now);
        let fits = |n: &u32| missing.saturating_add(gap.saturating_mul(*n)) <= gap.saturating_mul(self.size);
        (1..=self.size).rev().find(fits).map_or(0, u64::from)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1 before")]
fn millionths(percent: f64) -> u64 {
    (percent.clamp(0.0, 1.0) * 1e6).round() as u64
}

#[cfg(test)]
mod tests;
