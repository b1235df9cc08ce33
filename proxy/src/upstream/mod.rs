//! Whom do we call? An [`Upstream`] is a named group of endpoints with what is known of them.

pub mod bulkhead;
pub mod circuit;
pub mod condition;
pub mod connect;
pub mod crowd;
pub mod dialed;
pub mod discovery;
pub mod endpoint;
pub mod guard;
pub mod health;
pub mod multiplexed;
pub mod original;
pub mod pacing;
pub mod pool;
pub mod roster;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use outrigger_config::model::{self, Applied, Locality, UpstreamTls};

use self::bulkhead::{Bulkhead, Rules};
use self::crowd::{Crowd, On};
use self::dialed::Dialed;
use self::discovery::Update;
use self::endpoint::Endpoint;
use self::guard::Guard;
use self::original::Originals;
use self::pacing::Pacing;
use self::roster::{Roster, Standing};
use crate::cache::Cache;
use crate::policy::breaker::Transition;
use crate::policy::budget::Budget;
use crate::policy::panic::Candidates;
use crate::telemetry::{EndpointState, UpstreamMetrics};
use crate::tls::ClientSide;

/// How we stand to those whom we call.
#[derive(Debug, Clone, Default)]
pub struct Stand {
    /// Where we are; `None`: everything is as near.
    pub near: Option<Locality>,
    /// Rules redirect connections to them, so ours are marked and remembered.
    pub dialed: Option<Arc<Dialed>>,
}

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
    /// Our side of handshakes with its endpoints; `None`: they are spoken with in plaintext.
    pub tls: Option<ClientSide>,
    /// How fast it may be asked, as its answers tell; `None`: nobody wants to know.
    pub pacing: Option<Pacing>,
    /// Its endpoints where connections say which; `None`: they don't.
    pub originals: Option<Arc<Originals>>,
    stand: Stand,
    roster: ArcSwap<Roster>,
    /// Held by who makes the roster anew, so that the last one knows of everything.
    remaking: Mutex<()>,
    guard: Guard,
    budget: Arc<Mutex<Budget>>,
    /// Those who wait for a place among the requests or the connections.
    crowd: Arc<Crowd>,
    /// Those whose connection is being opened.
    opening: Arc<Crowd>,
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream with its static endpoints, or none until discovery publishes some.
    ///
    /// It takes over what the `old` one of the same name has learned in the last generation: its breaker, who is ejected,
    /// its pace, its cache, what its budget holds where that is unchanged, and the endpoints that stay, with load, health and
    /// idle connections. A name that is looked up again serves its last answer until the next. The limits are those of its
    /// `crowd`, with whoever is inside. Endpoints that are from now on spoken with in another way are
    /// new ones: no connection of before is used for what comes after.
    pub fn new(
        config: model::Upstream,
        tls: Option<ClientSide>,
        stand: &Stand,
        metrics: Arc<UpstreamMetrics>,
        crowd: Arc<Crowd>,
        old: Option<&Self>,
        now: Instant,
    ) -> Arc<Self> {
        let rules = Rules::of_requests(&config.limits);
        let requests = bulkhead::next(&crowd, On::Requests, rules, &metrics.requests, now);
        let rules = Rules::of_connections(&config.limits);
        let connections = bulkhead::next(&crowd, On::Connections, rules, &metrics.connections, now);
        let opening = old.map(|old| Arc::clone(&old.opening)).unwrap_or_default();
        let cache = cache(&config, old, &metrics);
        let budget = old.filter(|old| old.config.retry_budget == config.retry_budget);
        let budget = budget.map(|old| Arc::clone(&old.budget));
        let known = old.and_then(|old| old.pacing.as_ref());
        let pacing = config
            .pacing
            .map(|pacing| Pacing::new((pacing, config.limits.max_pending), &metrics, known, now));
        let upstream = Self {
            tls,
            stand: stand.clone(),
            originals: originals(&config, old),
            metrics,
            requests,
            connections,
            discovered: Mutex::default(),
            cache,
            pacing,
            roster: ArcSwap::default(),
            remaking: Mutex::default(),
            guard: Guard::new(&config, old.map(|old| &old.guard), now),
            budget: budget.unwrap_or_else(|| Arc::new(Mutex::new(Budget::new(&config.retry_budget, now)))),
            crowd,
            opening,
            turn: AtomicUsize::new(0),
            config,
        };
        let old = old.filter(|old| old.speaks(&upstream.config.tls, upstream.tls.as_ref()));
        let known = old.map(|old| old.roster().endpoints.clone()).unwrap_or_default();
        match (&upstream.config.discovery, old) {
            (model::Discovery::Static(addrs), _) => upstream.settle_in(addrs, &known, now),
            (asked, Some(old)) if is_same_name(asked, &old.config.discovery) => {
                let addrs: Vec<_> = known.iter().map(|endpoint| endpoint.addr).collect();
                upstream.settle_in(&addrs, &known, now);
                let known = old.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone();
                *upstream.discovered.lock().unwrap_or_else(PoisonError::into_inner) = known;
            }
            (model::Discovery::Dns { .. } | model::Discovery::Original, _) => {
                upstream.settle_in(&[], &[], now);
            }
        }
        Arc::new(upstream)
    }

    /// Makes these addresses its endpoints; those that stay keep what is known of them.
    pub fn publish(&self, addrs: &[SocketAddr], now: Instant) {
        self.settle_in(addrs, &self.roster().endpoints, now);
    }

    /// Whether this is how we stand to it, as far as it knows.
    pub fn has_stand(&self, stand: &Stand) -> bool {
        let dialed = |stand: &Stand| stand.dialed.as_ref().map(Arc::as_ptr);
        self.stand.near == stand.near && dialed(&self.stand) == dialed(stand)
    }

    /// Whether its connections are what these words and credentials would make.
    pub fn speaks(&self, tls: &UpstreamTls, side: Option<&ClientSide>) -> bool {
        let shown = |side: Option<&ClientSide>| side.and_then(ClientSide::credentials).map(Arc::as_ptr);
        *self.config.tls == *tls && shown(self.tls.as_ref()) == shown(side)
    }

    /// Its endpoints, as they stand now.
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// Whether it has an endpoint there now.
    pub fn is_at(&self, addr: SocketAddr) -> bool {
        self.roster.load().endpoints.iter().any(|endpoint| endpoint.addr == addr)
    }

    /// Endpoints at these addresses, those that are `known` and new ones.
    fn settle_in(&self, addrs: &[SocketAddr], known: &[Arc<Endpoint>], now: Instant) {
        let stays = |addr| known.iter().find(|endpoint| endpoint.addr == addr).cloned();
        let endpoints: Vec<_> =
            addrs.iter().map(|&addr| stays(addr).unwrap_or_else(|| Endpoint::new(addr, now))).collect();
        let whole = self.guard.reconfigure(&self.config, now).map(|turned| (None, turned));
        let own =
            |endpoint: &Arc<Endpoint>| Some((Some(Arc::clone(endpoint)), self.reconfigure(endpoint, now)?));
        let turned: Vec<_> = whole.into_iter().chain(endpoints.iter().filter_map(own)).collect();
        for endpoint in &endpoints {
            endpoint.forget_version();
        }
        let ids: Vec<_> = endpoints.iter().map(|endpoint| endpoint.id).collect();
        self.guard.set_members(&self.config, &ids, now);
        self.release(&endpoints, now);
        self.replace(Some(endpoints), now);
        self.metrics.set_endpoints(addrs.len());
        for (endpoint, turned) in turned {
            self.turned(endpoint.as_deref(), turned, now);
        }
    }

    /// The policy's thresholds hold for this endpoint from now on.
    fn reconfigure(&self, endpoint: &Endpoint, now: Instant) -> Option<Transition> {
        let checks = self.config.health_check.as_ref().map(|check| &check.thresholds);
        endpoint.condition.reconfigure_checks(checks, now);
        let breakers =
            self.config.circuit_breaker.as_ref().filter(|breakers| breakers.scope.of_endpoints())?;
        endpoint.condition.set_circuit(&breakers.thresholds, now)
    }

    /// What is known of the endpoints has changed.
    fn remake(&self, now: Instant) {
        self.replace(None, now);
    }

    fn replace(&self, endpoints: Option<Vec<Arc<Endpoint>>>, now: Instant) {
        let _alone = self.remaking.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.roster.load_full();
        let endpoints = endpoints.unwrap_or_else(|| old.endpoints.clone());
        let wakes = self.guard.ejections().and_then(|known| known.next_wakeup());
        let roster = Roster::new(endpoints, &self.config, self.stand.near.as_ref(), (&old, wakes), now);
        let [panicked, panics] = [&old, &roster].map(|roster| roster.candidates(now) == Candidates::Everyone);
        if panicked != panics {
            let upstream = &self.config.name;
            tracing::warn!(%upstream, panics, "too few endpoints are fit: requests go to everyone");
        }
        self.metrics.guards.set_states(self.states(&roster), panics);
        self.roster.store(Arc::new(roster));
        self.turn_away(now);
    }

    /// For the gauges.
    fn states(&self, roster: &Roster) -> Vec<EndpointState> {
        let breakers = self.config.circuit_breaker.as_ref();
        let own = breakers.is_some_and(|breakers| breakers.scope.of_endpoints());
        let judged = self.config.health_check.is_some() || self.config.outlier_detection.is_some();
        let of_endpoint = |endpoint: &Arc<Endpoint>| EndpointState {
            endpoint: endpoint.addr.to_string(),
            healthy: judged
                .then(|| !matches!(roster.standing(endpoint.id), Some(Standing::Ejected | Standing::Out))),
            breaker: endpoint.condition.circuit().filter(|_| own).map(|circuit| circuit.phase() as u8),
        };
        let whole = self.guard.circuit().map(|circuit| EndpointState {
            endpoint: "-".to_owned(),
            healthy: None,
            breaker: Some(circuit.phase() as u8),
        });
        whole.into_iter().chain(roster.endpoints.iter().map(of_endpoint)).collect()
    }

    /// A running number. A retry takes none: else, of two endpoints, the one that is down would meet every first attempt.
    fn turn(&self, tried: &[u64]) -> usize {
        self.turn.fetch_add(usize::from(tried.is_empty()), Ordering::Relaxed)
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

    /// The right to wait for a connection that is being opened; `None`: too many do already. Apart from those who wait for
    /// a place: who has one must not be turned away for their sake.
    pub fn wait(&self) -> Option<Pending> {
        let admitted = self.opening.join(self.config.limits.max_pending);
        admitted.then(|| Pending(Arc::clone(&self.opening)))
    }

    /// Requests that wait for a place or a connection.
    pub fn pending(&self) -> usize {
        self.crowd.count() + self.opening.count()
    }
}

/// A request whose connection is being opened.
#[derive(Debug)]
pub struct Pending(Arc<Crowd>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.leave(1);
    }
}

/// The endpoints that connections name, with those that the `old` one knows.
fn originals(config: &model::Upstream, old: Option<&Upstream>) -> Option<Arc<Originals>> {
    let known = || old.and_then(|old| old.originals.clone()).unwrap_or_default();
    (config.discovery == model::Discovery::Original).then(known)
}

/// Whether both ask for the same addresses, whatever becomes of them when there is no answer.
fn is_same_name(one: &model::Discovery, other: &model::Discovery) -> bool {
    use model::Discovery::Dns;
    match (one, other) {
        (Dns { name, port, .. }, Dns { name: other, port: at, .. }) => (name, port) == (other, at),
        _ => false,
    }
}

/// A cache as the policy has it, with what the `old` one holds.
fn cache(
    config: &model::Upstream,
    old: Option<&Upstream>,
    metrics: &UpstreamMetrics,
) -> Option<Applied<Arc<Cache>>> {
    let wanted = config.cache.as_ref()?;
    let old = old.and_then(|old| old.cache.as_ref()).map(|old| &*old.policy);
    let cache = Cache::new(wanted.policy.clone(), old, metrics.cache());
    Some(Applied { mode: wanted.mode, policy: Arc::new(cache) })
}
