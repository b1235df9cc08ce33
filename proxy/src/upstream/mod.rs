//! Whom do we call? An [`Upstream`] is a named group of endpoints with what is known of them.

pub mod bulkhead;
pub mod connect;
pub mod discovery;
pub mod endpoint;
pub mod multiplexed;
pub mod pool;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::model::{self, Applied};

use self::bulkhead::{Bulkhead, Rules};
use self::discovery::Update;
use self::endpoint::{Endpoint, InFlight};
use crate::cache::Cache;
use crate::policy::balancer;
use crate::policy::budget::Budget;
use crate::telemetry::UpstreamMetrics;

/// A named group of endpoints. Lives as long as a snapshot names it unchanged; shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    /// What the policy says of it.
    pub config: model::Upstream,
    /// Its counters.
    pub metrics: Arc<UpstreamMetrics>,
    /// What discovery said last; `None` for static endpoints, or before the first answer.
    pub discovered: Mutex<Option<Update>>,
    /// Its responses, for those who ask again.
    pub cache: Option<Applied<Arc<Cache>>>,
    /// How many requests may be in flight; `None`: as many as come.
    pub requests: Option<Arc<Bulkhead>>,
    /// How many connections there may be; `None`: as many as requests need.
    pub connections: Option<Arc<Bulkhead>>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    budget: Mutex<Budget>,
    pending: AtomicUsize,
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream with its static endpoints, or none until discovery publishes some. Its limits are those of `old`, the
    /// upstream of the same name in the last generation, with whoever is inside.
    pub fn new(
        config: model::Upstream,
        metrics: Arc<UpstreamMetrics>,
        old: Option<&Self>,
        now: Instant,
    ) -> Arc<Self> {
        let requests = old.and_then(|old| old.requests.clone());
        let requests = bulkhead::next(requests, Rules::of_requests(&config.limits), &metrics.requests, now);
        let connections = old.and_then(|old| old.connections.clone());
        let rules = Rules::of_connections(&config.limits);
        let connections = bulkhead::next(connections, rules, &metrics.connections, now);
        let budget = Mutex::new(Budget::new(&config.retry_budget, now));
        let kept = config.cache.as_ref();
        let cache =
            kept.map(|kept| Applied { mode: kept.mode, policy: Arc::new(Cache::new(kept.policy.clone())) });
        let upstream = Self {
            config,
            metrics,
            requests,
            connections,
            discovered: Mutex::default(),
            cache,
            endpoints: ArcSwap::default(),
            budget,
            pending: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
        };
        if let model::Discovery::Static(addrs) = &upstream.config.discovery {
            upstream.publish(addrs, now);
        }
        Arc::new(upstream)
    }

    /// Makes these addresses its endpoints; those that stay keep what is known of them.
    pub fn publish(&self, addrs: &[std::net::SocketAddr], now: Instant) {
        let old = self.endpoints.load();
        let known = |addr| old.iter().find(|endpoint| endpoint.addr == addr).cloned();
        let new = addrs.iter().map(|&addr| known(addr).unwrap_or_else(|| Endpoint::new(addr, now))).collect();
        self.endpoints.store(Arc::new(new));
        self.metrics.set_endpoints(addrs.len());
    }

    /// Takes over what the upstream of the same name has learned in the last generation. Endpoints that stay keep their
    /// load and idle connections; a name that is looked up again serves its last answer until the next.
    pub fn inherit(&self, old: &Self, now: Instant) {
        if let (Some(cache), Some(old)) = (&self.cache, &old.cache) {
            cache.adopt(old);
        }
        match &self.config.discovery {
            model::Discovery::Static(addrs) => {
                self.endpoints.store(old.endpoints());
                self.publish(addrs, now);
            }
            asked if *asked == old.config.discovery => {
                self.endpoints.store(old.endpoints());
                let known = old.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone();
                *self.discovered.lock().unwrap_or_else(PoisonError::into_inner) = known;
            }
            model::Discovery::Dns { .. } => {}
        }
    }

    /// Its endpoints now.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// Chooses an endpoint that was not tried yet, or any when all were (RT-11); `None`: it has none.
    pub fn pick(&self, tried: &[u64], rng: &mut fastrand::Rng, now: Instant) -> Option<InFlight> {
        let endpoints = self.endpoints.load();
        let index = match endpoints.as_slice() {
            [_] => 0,
            several => {
                let policy = self.config.load_balancer;
                // A retry takes no turn: else, of two endpoints, the one that is down would meet every first attempt.
                let taken = usize::from(tried.is_empty());
                let turn = self.turn.fetch_add(taken, Ordering::Relaxed);
                let cost = |index: usize| several[index].load().cost(policy, several[index].stamp(now));
                let excluded = |index: usize| tried.contains(&several[index].id);
                balancer::pick(policy, several.len(), turn, rng, cost, excluded)?
            }
        };
        Some(InFlight::new(Arc::clone(&endpoints[index])))
    }

    /// A request, not a retry, goes to it: its budget grows.
    pub fn deposit(&self, requests: u32, now: Instant) {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).deposit(requests, now);
    }

    /// Asks the budget for one retry.
    pub fn withdraw(&self, now: Instant) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).withdraw(now)
    }

    /// How many retries the budget holds.
    pub fn balance(&self, now: Instant) -> u64 {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).balance(now)
    }

    /// The right to wait for a connection; `None`: too many wait already.
    pub fn wait(self: &Arc<Self>) -> Option<Pending> {
        let admitted = self.pending.fetch_add(1, Ordering::AcqRel) < self.config.limits.max_pending;
        let pending = Pending(Arc::clone(self));
        admitted.then_some(pending)
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

/// A request that waits for a connection.
#[derive(Debug)]
pub struct Pending(Arc<Upstream>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::AcqRel);
    }
}
