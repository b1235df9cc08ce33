//! Is there a token of a shared limit at hand? What all threads of this replica hold of it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::priority::{Class, Shares};
use outrigger_config::model::{RateLimit, Store};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::now;
use crate::policy::lease::{Answer, Grant, Lease};
use crate::telemetry::{RateLimitMetrics, WorkerId};

/// Which limit, and who counts it.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// Where it is counted.
    pub store: Store,
    /// Under which name: the same for all that share it.
    pub key: String,
    /// So much for all together.
    pub limit: RateLimit,
    /// How much of the burst each class may use up.
    pub shares: Shares,
}

/// This replica's part of a limit.
#[derive(Debug)]
pub struct Purse {
    account: Account,
    /// What the store tells this replica by.
    replica: u64,
    metrics: Arc<RateLimitMetrics>,
    lease: Mutex<Lease>,
    /// Tokens to ask for, by class. Channels of one place: a lease is asked for when none is on its way.
    wanted: [AtomicU32; Class::ALL.len()],
    asked: Notify,
    answered: Notify,
}

/// What a request is told.
#[derive(Debug)]
pub enum Take<'p> {
    /// It passes.
    Passed(Token<'p>),
    /// The store is being asked: when it has answered, take again.
    Waits(Notified<'p>),
    /// It does not pass.
    Denied {
        /// When a token may be had.
        retry_after: Duration,
    },
}

/// A token that was taken. It is spent, unless it is given back.
#[derive(Debug)]
#[must_use]
pub struct Token<'p> {
    purse: &'p Purse,
    class: Class,
    local: bool,
    /// How many more would have passed, as far as is known here.
    pub left: u32,
}

impl Purse {
    /// The purse of `old` if it is of the same account, else an empty one, which knows the other replicas as `old` did.
    pub fn next(old: Option<&Arc<Self>>, account: Account, metrics: &Arc<RateLimitMetrics>) -> Arc<Self> {
        if let Some(old) = old.filter(|old| old.account == account && Arc::ptr_eq(&old.metrics, metrics)) {
            return Arc::clone(old);
        }
        let mut lease = Lease::new(account.limit, &account.shares, now());
        if let Some(old) = old {
            lease.know(old.lease().sharers());
        }
        Arc::new(Self {
            account,
            replica: old.map_or_else(|| fastrand::u64(..), |old| old.replica),
            metrics: Arc::clone(metrics),
            lease: Mutex::new(lease),
            wanted: Default::default(),
            asked: Notify::new(),
            answered: Notify::new(),
        })
    }

    /// Which limit it is of.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What the store tells this replica by.
    pub(super) fn replica(&self) -> u64 {
        self.replica
    }

    /// One request asks.
    pub fn take(&self, worker: WorkerId, class: Class, now: Instant) -> Take<'_> {
        let mut lease = self.lease();
        let answer = lease.take(class, now);
        if let Answer::NeedsLease { tokens }
        | Answer::Taken { renew: Some(tokens), .. }
        | Answer::Denied { renew: Some(tokens), .. } = answer
        {
            self.wanted[lease.line(class) as usize].store(tokens, Ordering::Release);
            self.asked.notify_one();
        }
        if let Answer::Taken { local: true, .. } | Answer::Denied { local: true, .. } = answer {
            self.metrics.decided_locally(worker);
        }
        match answer {
            Answer::Taken { local, .. } => {
                Take::Passed(Token { purse: self, class, local, left: lease.left(class, now) })
            }
            // Made under the lock, so that it hears of the answer even if that comes before it is polled.
            Answer::NeedsLease { .. } | Answer::Pending => Take::Waits(self.answered.notified()),
            Answer::Denied { retry_after, .. } => Take::Denied { retry_after },
        }
    }

    /// A request has waited for the store as long as it could: it takes the local share, and so does who comes next,
    /// until the store answers.
    pub fn give_up(&self, worker: WorkerId, class: Class, now: Instant) {
        self.metrics.store_answered(worker, "late");
        self.lease().store_failed(class, now);
        self.answered.notify_waiters();
    }

    /// How many tokens somebody wants, the worthiest first.
    pub(super) async fn asked(&self) -> (Class, u32) {
        loop {
            for (class, wanted) in Class::ALL.into_iter().zip(&self.wanted) {
                match wanted.swap(0, Ordering::AcqRel) {
                    0 => {}
                    tokens => return (class, tokens),
                }
            }
            self.asked.notified().await;
        }
    }

    /// What the store said to a class; `None`: nothing, or no sense.
    pub(super) fn answered(&self, class: Class, grant: Option<Grant>) {
        let result = match grant {
            Some(Grant { tokens: 0, .. }) => "denied",
            Some(_) => "granted",
            None => "failed",
        };
        self.metrics.store_answered(WorkerId::CONTROL, result);
        let mut lease = self.lease();
        match grant {
            Some(grant) => lease.granted(class, grant, now()),
            None => lease.store_failed(class, now()),
        }
        drop(lease);
        self.answered.notify_waiters();
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token<'_> {
    /// Another limit turned the request away: the token was not used.
    pub fn refund(&self) {
        self.purse.lease().refund(self.class, self.local);
    }
}
