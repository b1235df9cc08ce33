//! May this request pass under a limit that all replicas share? Tokens leased from a store, spent without asking it.
//!
//! **Question.** A limit of 100/s for the whole service, a store that counts it, and no wish for a round trip with
//! every request. How many tokens at a time, and what if the store is away?
//!
//! **States and transitions.** The store is *there* or *away*.
//! - *There*: a request takes a token of the purse. An empty purse needs a lease, and the request waits for it; one that
//!   falls to half of the last lease asks for the next beforehand. One lease is asked for at a time: as many tokens as
//!   this replica spends in [`HORIZON`], at most the burst. A lease that brings less than asked for says when to come back; until then,
//!   once the purse is empty, requests are denied here.
//! - *Away*, from a failure until the next grant: a request passes under the local share, `1/sharers` of rate and burst
//!   by the last number of sharers known, and one in [`RETRY`] also tries the store.
//!
//! **Invariants.** With the store there, all replicas together pass no more than the store grants. Tokens not spent
//! within [`LIFE`] lapse, so a replica that fell silent has no burst saved up. With the store away each replica passes
//! its share, never less than one request in `burst`: no request fails for the store, and none waits for it.
//!
//! **Time.** Constant. A lease that never comes back must be reported as failed by the caller's own deadline.
//!
//! **On reload.** Begun anew: what was leased under the old limit lapses.
//!
//! **Source.** Local tokens prefetched by demand, as Google's Doorman leases capacity and Envoy's quota service assigns
//! it in buckets. The store's own count is a [`super::rate_limit::Gcra`] that passes several at once.

use std::time::{Duration, Instant};

use outrigger_config::model::RateLimit;

use super::rate_limit::{Decision, Gcra};

/// A lease is what is spent in so long.
pub const HORIZON: Duration = Duration::from_millis(500);
/// A lease is good for so long.
pub const LIFE: Duration = Duration::from_secs(1);
/// How often an absent store is tried.
pub const RETRY: Duration = Duration::from_secs(1);

/// How much of the last interval goes into the demand.
const SMOOTHING: f64 = 0.5;

/// This replica's part of a limit of the whole service.
#[derive(Debug, Clone)]
pub struct Lease {
    config: RateLimit,
    purse: u32,
    lapses: Instant,
    /// Half of the last lease: fewer left, and the next is asked for.
    low: u32,
    asking: bool,
    /// Nothing to be had from the store before.
    not_before: Instant,
    sharers: u32,
    demand: Demand,
    away: Option<Away>,
}

/// What a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It passes.
    Taken {
        /// Ask the store for so many tokens meanwhile, without holding the request up.
        renew: Option<u32>,
        /// By the local share, since the store is away.
        local: bool,
    },
    /// Ask the store for so many tokens, then ask again here.
    NeedsLease {
        /// At least 1.
        tokens: u32,
    },
    /// Another request has asked the store: ask again here when the answer has come.
    Pending,
    /// It does not.
    Denied {
        /// When a token may be had.
        retry_after: Duration,
        /// By the local share, since the store is away.
        local: bool,
    },
}

/// What the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// At most what was asked for.
    pub tokens: u32,
    /// If that was less: when as many as asked for could be had, so that overload does not turn into trips. Else zero.
    pub retry_after: Duration,
    /// Replicas that asked lately, this one too.
    pub sharers: u32,
}

#[derive(Debug, Clone, Copy)]
struct Away {
    share: Gcra,
    cell: u64,
    try_at: Instant,
}

/// Requests a second, over intervals of [`HORIZON`].
#[derive(Debug, Clone, Copy)]
struct Demand {
    began: Instant,
    count: u32,
    rate: f64,
}

impl Lease {
    /// Holds nothing yet, and knows of no other sharer.
    pub fn new(config: RateLimit, now: Instant) -> Self {
        Self {
            config,
            purse: 0,
            lapses: now,
            low: 0,
            asking: false,
            not_before: now,
            sharers: 1,
            demand: Demand { began: now, count: 0, rate: 0.0 },
            away: None,
        }
    }

    /// One request asks.
    pub fn take(&mut self, now: Instant) -> Answer {
        self.demand.count(now);
        if let Some(away) = &mut self.away {
            let tries = !self.asking && now >= away.try_at;
            return match away.share.take(away.cell, now) {
                Decision::Passed { cell, .. } => {
                    away.cell = cell;
                    Answer::Taken { renew: tries.then(|| self.ask()), local: true }
                }
                Decision::Denied { retry_after } => Answer::Denied { retry_after, local: true },
            };
        }
        if now >= self.lapses {
            self.purse = 0;
        }
        let may_ask = !self.asking && now >= self.not_before;
        if self.purse > 0 {
            self.purse -= 1;
            let renew = (may_ask && self.purse <= self.low).then(|| self.ask());
            return Answer::Taken { renew, local: false };
        }
        match self.not_before.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            Some(retry_after) => Answer::Denied { retry_after, local: false },
            None if self.asking => Answer::Pending,
            None => Answer::NeedsLease { tokens: self.ask() },
        }
    }

    /// The store has answered.
    pub fn granted(&mut self, grant: Grant, now: Instant) {
        (self.asking, self.away) = (false, None);
        self.sharers = grant.sharers.max(1);
        let left = if now < self.lapses { self.purse } else { 0 };
        self.purse = left.saturating_add(grant.tokens);
        self.low = grant.tokens / 2;
        self.lapses = now + LIFE;
        // A store that gives nothing is not asked again before it could have earned a token.
        let gap = Duration::try_from_secs_f64(self.config.rate.recip()).unwrap_or(RETRY).min(RETRY);
        self.not_before =
            now + if grant.tokens == 0 { grant.retry_after.max(gap) } else { grant.retry_after };
    }

    /// The store did not answer, or said no sense.
    pub fn store_failed(&mut self, now: Instant) {
        self.asking = false;
        let sharers = f64::from(self.sharers);
        let share =
            RateLimit { rate: self.config.rate / sharers, burst: (self.config.burst / self.sharers).max(1) };
        let away = self.away.get_or_insert(Away { share: Gcra::new(share, now), cell: 0, try_at: now });
        away.try_at = now + RETRY;
    }

    /// How many tokens to ask for: what is spent in [`HORIZON`], which the store's bucket must be able to hold.
    fn ask(&mut self) -> u32 {
        self.asking = true;
        let tokens = self.demand.rate.min(self.config.rate) * HORIZON.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and rate")]
        let tokens = tokens.ceil() as u32;
        tokens.clamp(1, self.config.burst.max(1))
    }
}

impl Demand {
    fn count(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed >= HORIZON {
            let rate = f64::from(self.count) / elapsed.as_secs_f64();
            self.rate += SMOOTHING * (rate - self.rate);
            (self.began, self.count) = (now, 0);
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests;
