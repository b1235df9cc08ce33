//! What is left of a total that all replicas have together? Its purse, and what callers are told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::model::priority::{Class, Shares};
use outrigger_config::model::{Mode, Name, QueueLimits, RateLimit, RateLimitPolicy, Share, Total};

use super::Quota;
use super::meter::SHARES;
use crate::policy::priority::cap;
use crate::policy::rate_limit::{Decision, Gcra};
use crate::store::{Account, Purse};
use crate::telemetry::RateLimitMetrics;

/// A limit of the whole service.
#[derive(Debug)]
pub struct Shared {
    /// Where its tokens are.
    pub purse: Arc<Purse>,
    /// By class, with the words of `RateLimit-Policy`.
    limits: [(Gcra, Box<str>); Class::ALL.len()],
    queue: Option<QueueLimits>,
    waiting: AtomicUsize,
}

/// One of the places for those who wait for a token, until it is dropped.
#[derive(Debug)]
pub struct Turn<'s> {
    waiting: &'s AtomicUsize,
    /// How long one may wait.
    pub timeout: Duration,
}

impl Shared {
    /// That of a policy, if it has one.
    pub(super) fn of(
        config: &RateLimitPolicy,
        service: &Name,
        old: Option<&Self>,
        metrics: &Arc<RateLimitMetrics>,
        epoch: Instant,
    ) -> Option<Self> {
        let Total { limit, queue, share: Share::Service(store) } = config.total.as_ref()? else {
            return None;
        };
        // What a dry run spends is nobody else's.
        let mode = if config.mode == Mode::DryRun { "dry-run" } else { "enforce" };
        // In braces is what a cluster of servers places keys by.
        let key = format!("outrigger:{{{}/{}}}:{mode}", service.as_str(), config.name.as_str());
        let shares = if config.priorities.is_empty() { Shares::ALL } else { SHARES };
        let account = Account { store: store.clone(), key, limit: *limit, shares };
        let purse = Purse::next(old.map(|old| &old.purse), account, metrics);
        let limits = Class::ALL.map(|class| {
            let burst = cap(&shares, class, limit.burst.max(1));
            let limit = Gcra::new(RateLimit { burst, ..*limit }, epoch);
            let policy = limit.left(0).policy().into();
            (limit, policy)
        });
        Some(Self { purse, limits, queue: *queue, waiting: AtomicUsize::new(0) })
    }

    /// What a caller is told who was denied.
    pub fn denied(&self, class: Class, retry_after: Duration) -> Quota<'_> {
        let (limit, policy) = &self.limits[class as usize];
        Quota { fields: limit.fields(&Decision::Denied { retry_after }), policy }
    }

    /// What a caller is told who passes. No replica knows what is left for the service, but each what of it is
    /// [its own](crate::policy::lease::Lease::left).
    pub fn passed(&self, class: Class, left: u32) -> Quota<'_> {
        let (limit, policy) = &self.limits[class as usize];
        Quota { fields: limit.left(left), policy }
    }

    /// A place among those who wait, if they may and there is one. Their order is nobody's: other replicas' requests
    /// wait for the same tokens.
    pub fn queue(&self) -> Option<Turn<'_>> {
        let QueueLimits { capacity, timeout } = self.queue?;
        let one_more = |waiting| (waiting < capacity).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Turn { waiting: &self.waiting, timeout })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
