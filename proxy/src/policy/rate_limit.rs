//! May this request pass under its rate? GCRA: a leaky bucket in one word, and what the answer tells the caller of it.
//!
//! **Question.** So many requests a second, so many at once: is there room for one more, and if not, when?
//!
//! **States and transitions.** A cell is the moment at which its bucket will be full again, in nanoseconds since the
//! limit's epoch. A request that passes moves it one `gap` (`1/rate`) on, from `now` at least; it passes if the bucket,
//! `burst` gaps deep, still holds it. 0, and every moment in the past, is a cell at rest. One that is denied changes
//! nothing, so denials cannot keep a caller out.
//!
//! **Invariants.** Any stretch of `t` seconds passes at most `burst + rate · t` requests, and none is denied while the
//! bucket holds a whole token: no windows, no rounding but that of `gap`, up to a whole nanosecond, which lets 10⁵/s
//! fall short by at most a ten-thousandth and never exceed.
//!
//! **Time.** Two additions and a comparison. A `now` before the epoch counts as the epoch. Good for 584 years.
//!
//! **On reload.** [`Gcra::carry`] turns a cell's debt, in tokens, into the new limit's.
//!
//! **Source.** ITU-T I.371, Annex A (virtual scheduling). Not the crate `governor`, which is the same arithmetic: it owns
//! its word, its clock and an unbounded table of keys. Here the cell is a plain number, so the caller shares it between
//! workers with one compare-exchange, looks without taking (`mode: dryRun`), and bounds the table ([`super::key_table`]).

use std::time::{Duration, Instant};

use outrigger_config::model::RateLimit;

/// A rate limit ready to decide. Holds no state of any caller: that is the cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gcra {
    config: RateLimit,
    epoch: Instant,
    gap: u64,
    depth: u64,
}

/// What was decided about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It passes, once the caller has put `cell` in place of the one it asked with.
    Passed {
        /// The cell from now on.
        cell: u64,
        /// How many more would pass at this moment.
        remaining: u64,
        /// When the bucket will be full again.
        full_in: Duration,
    },
    /// It does not; the cell stays as it was.
    Denied {
        /// When the next one would pass, if nobody else takes it.
        retry_after: Duration,
    },
}

impl Gcra {
    /// A limit whose cells count from `epoch`.
    pub fn new(config: RateLimit, epoch: Instant) -> Self {
        let gap = gap(config.rate);
        Self { config, epoch, gap, depth: gap.saturating_mul(u64::from(config.burst.max(1))) }
    }

    /// Decides about one request.
    pub fn take(&self, cell: u64, now: Instant) -> Decision {
        let now = self.nanos(now);
        let full = cell.max(now).saturating_add(self.gap);
        let debt = full - now;
        match self.depth.checked_sub(debt) {
            Some(left) => Decision::Passed {
                cell: full,
                remaining: left / self.gap,
                full_in: Duration::from_nanos(debt),
            },
            None => Decision::Denied { retry_after: Duration::from_nanos(debt - self.depth) },
        }
    }

    /// Undoes a [`Self::take`] whose request was turned away by another limit.
    pub fn refund(&self, cell: u64) -> u64 {
        cell.saturating_sub(self.gap)
    }

    /// Whether a cell owes nothing, so that forgetting it would give nothing away.
    pub fn at_rest(&self, cell: u64, now: Instant) -> bool {
        cell <= self.nanos(now)
    }

    /// The cell that owes as many tokens here as `cell` does under `old`, and never more than the bucket holds.
    pub fn carry(&self, cell: u64, old: &Self, now: Instant) -> u64 {
        let debt = u128::from(cell.saturating_sub(old.nanos(now)));
        let debt = (debt * u128::from(self.gap) / u128::from(old.gap)).min(u128::from(self.depth));
        self.nanos(now).saturating_add(u64::try_from(debt).unwrap_or(self.depth))
    }

    /// What the answer says of the decision.
    pub fn fields(&self, decision: &Decision) -> Fields {
        let limit = self.config.burst.max(1);
        match *decision {
            Decision::Passed { remaining, full_in, .. } => Fields {
                limit,
                remaining,
                reset: seconds(full_in),
                retry_after: None,
                rate: self.config.rate,
            },
            Decision::Denied { retry_after } => {
                // The draft: both fields SHOULD reference the same point in time.
                let wait = seconds(retry_after).max(1);
                Fields { limit, remaining: 0, reset: wait, retry_after: Some(wait), rate: self.config.rate }
            }
        }
    }

    /// The same where so many are left, as is known from elsewhere.
    pub fn left(&self, remaining: u32) -> Fields {
        let missing = u64::from(self.config.burst.max(1).saturating_sub(remaining));
        let full_in = Duration::from_nanos(self.gap.saturating_mul(missing));
        self.fields(&Decision::Passed { cell: 0, remaining: remaining.into(), full_in })
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What an answer tells its caller about the limit that it met.
///
/// The names are those of draft-ietf-httpapi-ratelimit-headers up to -06, which clients read; later versions fold them
/// into `RateLimit` and another form of `RateLimit-Policy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fields {
    /// `RateLimit-Limit`: the bucket's depth.
    pub limit: u32,
    /// `RateLimit-Remaining`: never above `limit`; a hint, no promise.
    pub remaining: u64,
    /// `RateLimit-Reset`: seconds until the bucket is full, or on a denial the same as `Retry-After`.
    pub reset: u64,
    /// `Retry-After` in seconds, at least 1; on a denial only (RFC 9110 §10.2.3, RFC 6585 §4).
    pub retry_after: Option<u64>,
    rate: f64,
}

impl Fields {
    /// The value of `RateLimit-Policy` (-05, -06): so many in so many seconds, by which a client can pace itself. Apart
    /// from `RateLimit-Limit`, so that this stays a plain number for those who read no more.
    pub fn policy(&self) -> String {
        let window = if self.rate < 1.0 { self.rate.recip().ceil() } else { 1.0 };
        let quota = (self.rate * window).floor().max(1.0);
        format!("{quota};w={window};burst={}", self.limit)
    }

    /// Of two limits that one request met, the one to tell of: the one that denied, else the one with less left.
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        let rank = |fields: &Self| (fields.retry_after.is_none(), fields.remaining);
        match (self.retry_after, other.retry_after) {
            (Some(one), Some(two)) if two > one => other,
            _ if rank(&other) < rank(&self) => other,
            _ => self,
        }
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Up to a whole nanosecond: never faster than the rate.
fn gap(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; NaN becomes 0, then 1"
    )]
    let nanos = (1e9 / rate).ceil() as u64;
    nanos.max(1)
}

#[cfg(test)]
mod tests;
