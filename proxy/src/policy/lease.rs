//! May this request pass under a limit that all replicas share? Tokens leased from a store, spent without asking it.
//!
//! **Question.** A limit of 100/s for the whole service, a store that counts it, and no wish for a round trip with
//! every request. How many tokens at a time, and what if the store is away?
//!
//! **States and transitions.** The store is *there* or *away*.
//! - *There*: a request takes a token of the purse. An empty purse needs a lease, and the request waits for it; one that
//!   falls to half of the last lease asks for the next beforehand. One lease is asked for at a time: as many tokens as
//!   this replica spends in [`HORIZON`], those who wait for it already included, at most the burst. A lease that brings
//!   less than asked for says when to come back; until then, once the purse is empty, requests are denied here.
//! - *Away*, from a failure until the next grant: a request passes under the local share, `1/sharers` of rate and burst
//!   by the last number of sharers known, and one in [`RETRY`] also tries the store.
//!
//! Where classes are told apart, each leases by itself, from the part of the burst that it may use up
//! ([`priority::cap`](super::priority::cap)): the store keeps the rest for the worthier ones, and the local share does.
//!
//! **Invariants.** With the store there, all replicas together pass no more than the store grants. Tokens not spent
//! within [`LIFE`] lapse, so a replica that fell silent has no burst saved up. With the store away each replica passes
//! its share, never less than one request in `burst`: no request fails for the store, and none waits for it. What a class
//! may not use up is there for a worthier one at the store, never in a purse: only the first of a replica's worthy
//! requests after a silence meets an empty purse, and waits one round trip.
//!
//! **Time.** Constant. A lease that never comes back must be reported as failed by the caller's own deadline.
//!
//! **What is left.** [`Lease::left`] is what the purse holds and this replica's equal part of what the store had left at
//! its last answer, or what is left of the local share. Others lease and the bucket fills meanwhile, so it is a hint.
//!
//! **On reload.** Begun anew: what was leased under the old limit lapses. Only the number of sharers is handed on.
//!
//! **Source.** Local tokens prefetched by demand, as Google's Doorman leases capacity and Envoy's quota service assigns
//! it in buckets. The store's own count is a [`super::rate_limit::Gcra`] that passes several at once.

use std::time::{Duration, Instant};

use outrigger_config::model::RateLimit;
use outrigger_config::model::priority::{Class, Shares};

use super::priority::cap;
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
    /// By class; where classes are not told apart, the first is everybody's.
    lines: [Line; Class::ALL.len()],
    classes: bool,
    sharers: u32,
    away: Option<Away>,
}

/// What a class holds.
#[derive(Debug, Clone)]
struct Line {
    /// Its burst is the class's.
    limit: RateLimit,
    purse: u32,
    lapses: Instant,
    /// Half of the last lease: fewer left, and the next is asked for.
    low: u32,
    asking: bool,
    /// Nothing to be had from the store before.
    not_before: Instant,
    /// Left to the class by the store, at its last answer.
    beyond: u32,
    demand: Demand,
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
        /// Ask the store for so many tokens meanwhile: it may be back.
        renew: Option<u32>,
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
    /// As many more could have been had.
    pub left: u32,
}

#[derive(Debug, Clone)]
struct Away {
    /// By class, of one cell.
    shares: [Gcra; Class::ALL.len()],
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
    /// Holds nothing yet, and knows of no other sharer. `shares`: how much of the burst each class may use up.
    pub fn new(config: RateLimit, shares: &Shares, now: Instant) -> Self {
        let line = |class| Line {
            limit: RateLimit { burst: cap(shares, class, config.burst.max(1)), ..config },
            purse: 0,
            lapses: now,
            low: 0,
            asking: false,
            not_before: now,
            beyond: 0,
            demand: Demand { began: now, count: 0, rate: 0.0 },
        };
        Self { lines: Class::ALL.map(line), classes: *shares != Shares::ALL, sharers: 1, away: None }
    }

    /// Whose line a class draws on: its own, or everybody's.
    pub fn line(&self, class: Class) -> Class {
        if self.classes { class } else { Class::ALL[0] }
    }

    /// One request asks.
    pub fn take(&mut self, class: Class, now: Instant) -> Answer {
        let nth = self.line(class) as usize;
        let asking = self.lines.iter().any(|line| line.asking);
        let line = &mut self.lines[nth];
        line.demand.count(now);
        let Some(away) = &mut self.away else { return line.take(now) };
        let decision = away.shares[nth].take(away.cell, now);
        let renew = (!asking && now >= away.try_at).then(|| line.ask());
        match decision {
            Decision::Passed { cell, .. } => {
                away.cell = cell;
                Answer::Taken { renew, local: true }
            }
            Decision::Denied { retry_after } => Answer::Denied { retry_after, renew, local: true },
        }
    }

    /// How many more of a class would pass now, as far as is known here.
    pub fn left(&self, class: Class, now: Instant) -> u32 {
        let nth = self.line(class) as usize;
        let line = &self.lines[nth];
        let left = match &self.away {
            // What the next one would leave, and itself.
            Some(away) => match away.shares[nth].take(away.cell, now) {
                Decision::Passed { remaining, .. } => {
                    u32::try_from(remaining).unwrap_or(u32::MAX).saturating_add(1)
                }
                Decision::Denied { .. } => 0,
            },
            None => line.held(now).saturating_add(line.beyond / self.sharers),
        };
        left.min(line.limit.burst)
    }

    /// The store has answered one of `class`.
    pub fn granted(&mut self, class: Class, grant: Grant, now: Instant) {
        self.away = None;
        self.sharers = grant.sharers.max(1);
        let nth = self.line(class) as usize;
        self.lines[nth].granted(grant, now);
    }

    /// The store did not answer, or said no sense.
    pub fn store_failed(&mut self, class: Class, now: Instant) {
        let nth = self.line(class) as usize;
        self.lines[nth].asking = false;
        let share = |line: &Line| {
            let RateLimit { rate, burst } = line.limit;
            RateLimit { rate: rate / f64::from(self.sharers), burst: (burst / self.sharers).max(1) }
        };
        let shares = self.lines.each_ref().map(|line| Gcra::new(share(line), now));
        let away = self.away.get_or_insert(Away { shares, cell: 0, try_at: now });
        away.try_at = now + RETRY;
    }

    /// Another limit turned a request away that this one let pass, by the local share or not: its token was not used.
    pub fn refund(&mut self, class: Class, local: bool) {
        let nth = self.line(class) as usize;
        match &mut self.away {
            Some(away) if local => away.cell = away.shares[nth].refund(away.cell),
            None if local => {}
            _ => self.lines[nth].purse = self.lines[nth].purse.saturating_add(1),
        }
    }

    /// Replicas that asked lately, as far as is known.
    pub fn sharers(&self) -> u32 {
        self.sharers
    }

    /// So many replicas share the limit, as its predecessor knew.
    pub fn know(&mut self, sharers: u32) {
        self.sharers = sharers.max(1);
    }
}

impl Line {
    fn take(&mut self, now: Instant) -> Answer {
        self.purse = self.held(now);
        let may_ask = !self.asking && now >= self.not_before;
        if self.purse > 0 {
            self.purse -= 1;
            let renew = (may_ask && self.purse <= self.low).then(|| self.ask());
            return Answer::Taken { renew, local: false };
        }
        match self.not_before.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            Some(retry_after) => Answer::Denied { retry_after, renew: None, local: false },
            None if self.asking => Answer::Pending,
            None => Answer::NeedsLease { tokens: self.ask() },
        }
    }

    fn granted(&mut self, grant: Grant, now: Instant) {
        self.asking = false;
        self.purse = self.held(now).saturating_add(grant.tokens);
        (self.low, self.beyond) = (grant.tokens / 2, grant.left);
        self.lapses = now + LIFE;
        // A store that gives nothing is not asked again before it could have earned a token.
        let gap = Duration::try_from_secs_f64(self.limit.rate.recip()).unwrap_or(RETRY).min(RETRY);
        self.not_before =
            now + if grant.tokens == 0 { grant.retry_after.max(gap) } else { grant.retry_after };
    }

    /// What has not lapsed.
    fn held(&self, now: Instant) -> u32 {
        if now < self.lapses { self.purse } else { 0 }
    }

    /// How many tokens to ask for: what is spent in [`HORIZON`], which the store's bucket must be able to hold.
    fn ask(&mut self) -> u32 {
        self.asking = true;
        let tokens = self.limit.rate * HORIZON.as_secs_f64();
        let tokens = tokens.min(self.demand.expected());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and rate")]
        let tokens = tokens.ceil() as u32;
        tokens.clamp(1, self.limit.burst)
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

    /// Requests in [`HORIZON`]: as many as lately, or as there were already.
    fn expected(&self) -> f64 {
        (self.rate * HORIZON.as_secs_f64()).max(self.count.into())
    }
}

#[cfg(test)]
mod tests;
