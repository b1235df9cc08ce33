//! What is left of a total that all replicas have together? Its purse, and what callers are told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outrigger_config::model::{Mode, Name, QueueLimits, RateLimitPolicy, Share, Total};

use super::Quota;
use crate::policy::rate_limit::{Decision, Gcra};
use crate::store::{Account, Purse};
use crate::telemetry::RateLimitMetrics;

/// A limit of the whole service.
#[derive(Debug)]
pub struct Shared {
    /// Where its tokens are.
    pub purse: Arc<Purse>,
    limit: Gcra,
    /// `RateLimit-Policy`.
    policy: Box<str>,
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
        now: Instant,
    ) -> Option<Self> {
        let Total { limit, queue, share: Share::Service(store) } = config.total.as_ref()? else {
            return None;
        };
        // What a dry run spends is nobody else's.
        let mode = if config.mode == Mode::DryRun { "dry-run" } else { "enforce" };
        // In braces is what a cluster of servers places keys by.
        let key = format!("outrigger:{{{}/{}}}:{mode}", service.as_str(), config.name.as_str());
        let account = Account { store: store.clone(), key, limit: *limit };
        let purse = Purse::next(old.map(|old| &old.purse), account, metrics);
        let limit = Gcra::new(*limit, now);
        let policy = limit.fields(&Decision::Denied { retry_after: Duration::ZERO }).policy().into();
        Some(Self { purse, limit, policy, queue: *queue, waiting: AtomicUsize::new(0) })
    }

    /// What a caller is told who was denied. (One who passes is told nothing: no replica knows what is left.)
    pub fn denied(&self, retry_after: Duration) -> Quota<'_> {
        Quota { fields: self.limit.fields(&Decision::Denied { retry_after }), policy: &self.policy }
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
