//! Is there a token, and a place for this caller? One rate or one cap, of all requests together or of each key.
//!
//! A cell is two atomics that all workers share; a table's lock is held for the look-up alone. Whoever holds a cell's
//! handle may take of it at any time, so a table forgets only cells that nobody holds.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use outrigger_config::model::priority::{Class, Shares};
use outrigger_config::model::{KeyBy, PerKey, QueueLimits, RateLimit, Total};

use crate::policy::key_table::{Key, KeyTable, Place};
use crate::policy::priority::cap;
use crate::policy::rate_limit::{Decision, Fields, Gcra};

/// How much of a burst each class may use up where a policy tells classes apart: what is left is there for worthier
/// requests at any moment, so that they never pay for the crowd.
pub(super) const SHARES: Shares = Shares { default: 0.8, sheddable: 0.5 };

/// Who asks, as far as limits tell callers apart.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Where the connection came from.
    pub source: IpAddr,
    /// Who mutual TLS has proved it to be.
    pub identity: Option<&'a str>,
    /// What it says of itself.
    pub headers: &'a HeaderMap,
}

impl<'a> Caller<'a> {
    /// Who has not proved who they are is told apart by where they come from.
    pub(super) fn key(&self, by: &KeyBy) -> Key<'a> {
        let header = by.header.as_ref().and_then(|name| self.headers.get(name));
        let identity = self.identity.filter(|_| by.identity);
        Key {
            identity,
            header: header.map(http::HeaderValue::as_bytes),
            source: (by.source || by.identity && identity.is_none()).then_some(self.source),
        }
    }
}

/// A limit with its cells.
#[derive(Debug)]
pub(super) struct Meter {
    /// By class.
    rates: Option<[Rate; Class::ALL.len()]>,
    max_concurrent: Option<u32>,
    cells: Cells,
}

/// What a class may have.
#[derive(Debug)]
struct Rate {
    limit: Gcra,
    /// Deeper by as many as may wait, and how long one may.
    patient: Option<(Gcra, Duration)>,
    /// `RateLimit-Policy`.
    policy: Box<str>,
}

/// What is known of one caller, or of all together.
#[derive(Debug, Default)]
struct Cell {
    rate: AtomicU64,
    inside: AtomicU32,
}

#[derive(Debug)]
enum Cells {
    One(Arc<Cell>),
    Keyed { by: KeyBy, max_keys: u32, table: Arc<Mutex<KeyTable<Arc<Cell>>>> },
}

/// What a caller is told of a limit.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'s> {
    /// How much is left, and when there is more.
    pub fields: Fields,
    /// The limit in the words of `RateLimit-Policy`.
    pub policy: &'s str,
}

/// Why there is none.
#[derive(Debug, Clone, Copy)]
pub(super) enum Denied<'s> {
    Rate(Quota<'s>),
    Concurrent,
}

/// What was taken; dropped, the place is free again, while a token is spent for good.
#[derive(Debug)]
pub(super) struct Token<'s> {
    cell: Arc<Cell>,
    /// By which limit a token was taken.
    rate: Option<&'s Gcra>,
    inside: bool,
    /// How long to wait until it may be used.
    pub(super) wait: Duration,
    pub(super) quota: Option<Quota<'s>>,
    /// The caller shares its cell with all those for whom the table has none.
    pub(super) overflowed: bool,
}

impl Meter {
    /// The rate of all together. What `old` counted is carried over.
    pub(super) fn of_all(
        total: &Total,
        classes: bool,
        old: Option<&Self>,
        epoch: Instant,
        now: Instant,
    ) -> Self {
        let cells = match old.map(|old| &old.cells) {
            Some(Cells::One(cell)) => Cells::One(Arc::clone(cell)),
            _ => Cells::One(Arc::default()),
        };
        let shares = if classes { SHARES } else { Shares::ALL };
        let rates = Some(rates(total.limit, total.queue, shares, epoch));
        Self { rates, max_concurrent: None, cells }.carried(old, now)
    }

    /// The limits of each caller. What `old` counted is carried over, if it told the same callers apart.
    pub(super) fn of_each(each: &PerKey, old: Option<&Self>, epoch: Instant, now: Instant) -> Self {
        let table = match old.map(|old| &old.cells) {
            Some(Cells::Keyed { table, .. }) => Arc::clone(table),
            _ => Arc::new(Mutex::new(KeyTable::new(each.max_keys))),
        };
        let cells = Cells::Keyed { by: each.by.clone(), max_keys: each.max_keys, table };
        let rates = each.limit.map(|limit| rates(limit, None, Shares::ALL, epoch));
        let max_concurrent = each.max_concurrent.map(std::num::NonZeroU32::get);
        Self { rates, max_concurrent, cells }.carried(old, now)
    }

    /// Whether it tells callers apart as `each` says.
    pub(super) fn is_of(&self, each: &PerKey) -> bool {
        matches!(&self.cells, Cells::Keyed { by, max_keys, .. } if *by == each.by && *max_keys == each.max_keys)
    }

    /// One request's worth of it, waited for no longer than the caller's `patience`.
    pub(super) fn take(
        &self,
        caller: &Caller<'_>,
        class: Class,
        now: Instant,
        patience: Duration,
    ) -> Result<Token<'_>, Denied<'_>> {
        let (cell, overflowed) = self.cell(caller, now);
        let inside = self.max_concurrent.is_some();
        if let Some(max) = self.max_concurrent
            && !cell.enter(max)
        {
            return Err(Denied::Concurrent);
        }
        let mut token = Token { cell, rate: None, inside, wait: Duration::ZERO, quota: None, overflowed };
        if let Some(rates) = &self.rates {
            let rate = &rates[class as usize];
            let (decision, wait) = rate.take(&token.cell.rate, now, patience);
            let quota = Quota { fields: rate.limit.fields(&decision), policy: &rate.policy };
            if matches!(decision, Decision::Denied { .. }) && wait.is_none() {
                return Err(Denied::Rate(quota));
            }
            (token.rate, token.wait, token.quota) =
                (Some(&rate.limit), wait.unwrap_or_default(), Some(quota));
        }
        Ok(token)
    }

    /// A caller's cell, and whether it is that of all who have none.
    fn cell(&self, caller: &Caller<'_>, now: Instant) -> (Arc<Cell>, bool) {
        match &self.cells {
            Cells::One(cell) => (Arc::clone(cell), false),
            Cells::Keyed { by, table, .. } => {
                let at_rest = |cell: &Arc<Cell>| {
                    let owes =
                        |rates: &[Rate; 3]| !rates[0].limit.at_rest(cell.rate.load(Ordering::Relaxed), now);
                    Arc::strong_count(cell) == 1 && !self.rates.as_ref().is_some_and(owes)
                };
                let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                let (cell, place) = table.cell(&caller.key(by), at_rest);
                (Arc::clone(cell), place == Place::Overflow)
            }
        }
    }

    /// Turns the debts under the old limit into those under this one.
    fn carried(self, old: Option<&Self>, now: Instant) -> Self {
        if let (Some(new), Some(old)) = (&self.rates, old.and_then(|old| old.rates.as_ref())) {
            let carry = |cell: &Arc<Cell>| {
                let carried = |cell| Some(new[0].limit.carry(cell, &old[0].limit, now));
                let _ = cell.rate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, carried);
            };
            match &self.cells {
                Cells::One(cell) => carry(cell),
                Cells::Keyed { table, .. } => {
                    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                    table.cells().for_each(|cell| carry(cell));
                }
            }
        }
        self
    }
}

impl Rate {
    /// What was decided; where the request is to wait for its token, how long.
    fn take(&self, cell: &AtomicU64, now: Instant, patience: Duration) -> (Decision, Option<Duration>) {
        let mut before = cell.load(Ordering::Relaxed);
        loop {
            let decision = self.limit.take(before, now);
            let (after, wait) = match (decision, &self.patient) {
                (Decision::Passed { cell, .. }, _) => (cell, None),
                (Decision::Denied { retry_after }, Some((patient, timeout)))
                    if retry_after <= patience.min(*timeout) =>
                {
                    // A token that is not there yet: who takes it owes it, and the debt is the queue.
                    match patient.take(before, now) {
                        Decision::Passed { cell, .. } => (cell, Some(retry_after)),
                        Decision::Denied { .. } => return (decision, None),
                    }
                }
                (Decision::Denied { .. }, _) => return (decision, None),
            };
            match cell.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return (decision, wait),
                Err(found) => before = found,
            }
        }
    }
}

impl Cell {
    fn enter(&self, max: u32) -> bool {
        let taken = |inside: u32| (inside < max).then(|| inside + 1);
        self.inside.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken).is_ok()
    }
}

impl Token<'_> {
    /// Another limit turned the request away: the token was not used.
    pub(super) fn refund(&self) {
        if let Some(rate) = self.rate {
            let refunded = |cell| Some(rate.refund(cell));
            let _ = self.cell.rate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refunded);
        }
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        if self.inside {
            self.cell.inside.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn rates(limit: RateLimit, queue: Option<QueueLimits>, shares: Shares, epoch: Instant) -> [Rate; 3] {
    Class::ALL.map(|class| {
        let limit = RateLimit { burst: cap(&shares, class, limit.burst.max(1)), ..limit };
        let gcra = Gcra::new(limit, epoch);
        let patient = queue.map(|queue| {
            let waiting = u32::try_from(queue.capacity).unwrap_or(u32::MAX);
            (
                Gcra::new(RateLimit { burst: limit.burst.saturating_add(waiting), ..limit }, epoch),
                queue.timeout,
            )
        });
        let policy = gcra.fields(&Decision::Denied { retry_after: Duration::ZERO }).policy().into();
        Rate { limit: gcra, patient, policy }
    })
}
