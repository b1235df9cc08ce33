//! May the next attempt be made, and what is learned from how it went? Breakers, ejection and health, put to work.
//!
//! [`Upstream::pick`] asks the breaker of the upstream, then the [roster](super::roster), then the breaker of the endpoint.
//! What was picked owes them its outcome: a failure as soon as it is known, a good answer when its content has ended, so
//! that one which breaks off is no success. What we refuse ourselves owes nothing to anybody (EC-1).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::{self, BreakerScope, Mode};

use super::Upstream;
use super::circuit::{Circuit, Pass};
use super::endpoint::{Endpoint, InFlight};
use super::roster::{Choice, Roster, Wish};
use crate::policy::breaker::{Phase, Transition};
use crate::policy::outcome::{Class, Outcome};
use crate::policy::outlier::{Ejections, Verdict};
use crate::telemetry::{Turn, word_of};

/// Why nobody is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no endpoint.
    NoEndpoint,
    /// All are down, not ready or ejected.
    Unfit,
    /// A breaker is open.
    Open {
        /// When it may be worth while to ask again.
        retry_after: Duration,
    },
}

/// What an attempt owes to those who learn from it.
#[derive(Debug)]
pub struct Owed {
    upstream: Pass,
    endpoint: Pass,
    /// How it ended is still to be held for or against its endpoint.
    streak: bool,
    began: Instant,
    took: Duration,
}

/// How far an attempt has come in asking its endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Since when it is the endpoint's turn: it has all that was to be sent, or takes no more, or has a connection to
    /// accept. `None`: whoever is waited for, it is somebody else.
    pub turn: Option<Instant>,
    /// When all of the request had gone.
    pub whole: Option<Instant>,
}

/// What stands before an upstream. Shared with the next generation, so that a reload forgets nothing.
#[derive(Debug)]
pub(super) struct Guard {
    circuit: Option<Arc<Circuit>>,
    ejections: Option<Arc<Mutex<Ejections>>>,
}

impl Guard {
    /// As the policy has it; what an `old` one has learned stays.
    pub(super) fn new(config: &model::Upstream, old: Option<&Self>, now: Instant) -> Self {
        let breakers = config.circuit_breaker.as_ref().filter(|breakers| breakers.scope.of_upstream());
        let circuit = breakers.map(|breakers| match old.and_then(|old| old.circuit.as_ref()) {
            Some(known) => Arc::clone(known),
            None => Circuit::new(&breakers.thresholds, now),
        });
        // Where nobody is ejected any more, those who are out still return in their time, and through the same list: should
        // ejection be switched on again, it must know of them.
        let ejections = old.and_then(|old| old.ejections.clone()).or_else(|| {
            let outliers = config.outlier_detection.as_ref()?;
            Some(Arc::new(Mutex::new(Ejections::new(outliers.policy))))
        });
        Self { circuit, ejections }
    }

    /// The policy's thresholds hold from now on.
    pub(super) fn reconfigure(&self, config: &model::Upstream, now: Instant) -> Option<Transition> {
        let breakers = config.circuit_breaker.as_ref()?;
        self.circuit.as_ref()?.reconfigure(&breakers.thresholds, now)
    }

    /// These are the endpoints from now on.
    pub(super) fn set_members(&self, config: &model::Upstream, ids: &[u64], now: Instant) {
        let Some(mut known) = self.ejections() else { return };
        known.set_members(ids, now);
        if let Some(outliers) = config.outlier_detection.as_ref() {
            known.reconfigure(outliers, now);
        }
    }

    /// Who is ejected, if anybody ever is.
    pub(super) fn ejections(&self) -> Option<MutexGuard<'_, Ejections>> {
        // The list is whole between any two statements, so a panic of another thread spoils nothing.
        Some(self.ejections.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The upstream's own breaker.
    pub(super) fn circuit(&self) -> Option<&Arc<Circuit>> {
        self.circuit.as_ref()
    }
}

impl Upstream {
    /// Chooses an endpoint, and takes its permits. One that was not `tried` yet comes first (RT-11); `key`: what the request
    /// belongs to, where the upstream has a ring.
    pub fn pick(
        &self,
        tried: &[u64],
        key: Option<u64>,
        rng: &mut fastrand::Rng,
        now: Instant,
    ) -> Result<InFlight, Refusal> {
        let upstream = match self.guard.circuit() {
            None => Pass::Free,
            Some(circuit) => {
                self.admit(circuit, None, now).map_err(|retry_after| Refusal::Open { retry_after })?
            }
        };
        let mut roster = self.roster.load();
        if roster.wakes.is_some_and(|at| now >= at) {
            self.wake(now);
            roster = self.roster.load();
        }
        let turn = if roster.endpoints.len() > 1 { self.turn(tried) } else { 0 };
        let wish = Wish { tried, key, turn };
        // Another worker may be faster to a circuit's last trial: then somebody else is asked.
        for _ in 0..=roster.endpoints.len() {
            let Some(Choice { nth, panics }) = roster.choose(&wish, rng, now) else { break };
            let endpoint = &roster.endpoints[nth];
            if panics {
                self.metrics.guards.panicked();
            }
            let own = match self.own_circuit(endpoint) {
                Some(circuit) => self.admit(circuit, Some(endpoint), now).ok(),
                None => Some(Pass::Free),
            };
            if let Some(own) = own.or(panics.then_some(Pass::Free)) {
                let owes = Owed::new(upstream, own, self.config.outlier_detection.is_some(), now);
                return Ok(InFlight::new(Arc::clone(endpoint), owes));
            }
            // Its circuit was opened by an attempt of the last generation, which has told its own roster alone.
            if !roster.is_true(&self.config) {
                self.remake(now);
                roster = self.roster.load();
            }
        }
        Err(self.refused(nobody(&roster, now)))
    }

    /// What [`pick`](Self::pick) would say now if it found nobody.
    pub fn refusal(&self, now: Instant) -> Option<Refusal> {
        if self.originals.is_some() {
            return None;
        }
        let circuit = self.guard.circuit().filter(|_| self.breaker_mode() == Mode::Enforce);
        if let Some(circuit) = circuit.filter(|circuit| !circuit.would_admit(now)) {
            return Some(Refusal::Open { retry_after: circuit.opens_for(now).unwrap_or_default() });
        }
        let roster = self.roster.load();
        (roster.endpoints.is_empty() || roster.is_closed_off(now)).then(|| nobody(&roster, now))
    }

    /// Nobody waits for what takes nobody.
    pub(super) fn turn_away(&self, now: Instant) {
        if let Some(why) = self.refusal(now) {
            self.requests.iter().chain(&self.connections).for_each(|limit| limit.shut(why));
        }
    }

    /// Counts one who is refused.
    pub fn refused(&self, refusal: Refusal) -> Refusal {
        if let Refusal::Open { .. } = refusal {
            self.metrics.guards.refused(word_of(Mode::Enforce));
        }
        refusal
    }

    /// The state of its own breaker, if it has one.
    pub fn breaker(&self) -> Option<Phase> {
        self.guard.circuit().map(|circuit| circuit.phase())
    }

    /// Whether [`pick`](Self::pick) would find nobody.
    pub fn is_closed_off(&self, now: Instant) -> bool {
        self.refusal(now).is_some_and(|refusal| refusal != Refusal::NoEndpoint)
    }

    /// Its checks say of every endpoint that it is down or not ready.
    pub fn wants_no_work(&self) -> bool {
        let serves = |endpoint: &Arc<Endpoint>| endpoint.condition.vitality().takes_requests();
        enforces_checks(&self.config) && !self.roster.load().endpoints.iter().any(serves)
    }

    /// Breakers ask how long an answer took: then the clock is to be read when a request has gone.
    pub fn times_calls(&self) -> bool {
        let breakers = self.config.circuit_breaker.as_ref();
        breakers.is_some_and(|breakers| breakers.thresholds.slow_call_duration.is_some())
    }

    /// An attempt has come to its response head, or ended without one.
    pub fn report(&self, load: &mut InFlight, outcome: &Outcome, asked: Asked, now: Instant) {
        let since = |then| now.saturating_duration_since(then);
        load.on_outcome(outcome, asked.turn.map(since), now);
        load.owes.took = asked.whole.map(since).unwrap_or_default();
        if outcome.class() == Class::Success {
            let took = load.owes.took;
            load.owes.upstream.on_head(outcome, took, now);
            load.owes.endpoint.on_head(outcome, took, now);
        } else {
            self.conclude(load, outcome, || now);
        }
    }

    /// An attempt is over, its content too. What was concluded already stays so. The clock is read only if somebody wants to
    /// know.
    pub fn conclude(&self, load: &mut InFlight, outcome: &Outcome, clock: impl Fn() -> Instant) {
        if !(load.owes.upstream.is_free() && load.owes.endpoint.is_free()) {
            self.settle(load, outcome, clock());
        }
        if let Some(outliers) = self.config.outlier_detection.as_ref()
            && std::mem::take(&mut load.owes.streak)
        {
            let failures = load.condition.on_outcome(outcome, load.owes.began);
            if matches!(outcome, Outcome::ConnectFailure(_)) {
                load.condition.set_refusing(clock());
            }
            if failures >= outliers.consecutive_failures.get() {
                self.suspect(load, clock());
            }
        }
    }

    /// Hands the permits back.
    fn settle(&self, load: &mut InFlight, outcome: &Outcome, now: Instant) {
        let [upstream, own] = [&mut load.owes.upstream, &mut load.owes.endpoint].map(std::mem::take);
        let took = load.owes.took;
        if let Some(circuit) = self.guard.circuit()
            && let Some(turned) = circuit.report(upstream, outcome, took, now)
        {
            self.turned(None, turned, now);
        }
        if let Some(circuit) = load.condition.circuit()
            && let Some(turned) = circuit.report(own, outcome, took, now)
        {
            self.turned(Some(load), turned, now);
        }
    }

    /// Asks a breaker. In a dry run all are admitted; who would not have been is counted, and is no evidence.
    fn admit(
        &self,
        circuit: &Arc<Circuit>,
        endpoint: Option<&Endpoint>,
        now: Instant,
    ) -> Result<Pass, Duration> {
        let (admission, turned) = circuit.admit(now);
        if let Some(turned) = turned {
            self.turned(endpoint, turned, now);
        }
        admission.or_else(|retry_after| {
            let mode = self.breaker_mode();
            if endpoint.is_none() || mode == Mode::DryRun {
                self.metrics.guards.refused(word_of(mode));
            }
            if mode == Mode::DryRun { Ok(Pass::Free) } else { Err(retry_after) }
        })
    }

    /// The endpoint's own breaker, where the policy has such.
    fn own_circuit<'e>(&self, endpoint: &'e Endpoint) -> Option<&'e Arc<Circuit>> {
        let breakers = self.config.circuit_breaker.as_ref()?;
        if breakers.scope.of_endpoints() { endpoint.condition.circuit() } else { None }
    }

    /// An endpoint has failed too often in a row.
    fn suspect(&self, endpoint: &Endpoint, now: Instant) {
        let verdict = self.guard.ejections().map(|mut known| {
            let verdict = known.eject(endpoint.id, now, fastrand::f64());
            // Before anybody else looks at the list.
            if let Verdict::Ejected { until, .. } = verdict {
                endpoint.condition.eject(until);
            }
            verdict
        });
        let (mode, upstream, addr) = (word_of(self.outlier_mode()), &self.config.name, endpoint.addr);
        match verdict {
            Some(Verdict::Ejected { until, chronic }) => {
                self.metrics.guards.ejected("consecutive-failures", mode);
                let seconds = until.saturating_duration_since(now).as_secs_f64();
                tracing::warn!(%upstream, endpoint = %addr, mode, seconds, "endpoint ejected: it fails real requests");
                if chronic {
                    self.metrics.guards.chronic();
                    tracing::error!(%upstream, endpoint = %addr, mode, "endpoint is ejected time and again: a fault of its own");
                }
                self.remake(now);
            }
            Some(Verdict::Spared) => self.metrics.guards.spared(mode),
            Some(Verdict::Unconcerned) | None => {}
        }
    }

    /// Lets those return whose time is up, and trials begin. Called by whoever picks, and now and then where nobody does.
    pub fn wake(&self, now: Instant) {
        let roster = self.roster.load();
        self.release(&roster.endpoints, now);
        if let Some(turned) = self.guard.circuit().and_then(|circuit| circuit.wake(now)) {
            self.turned(None, turned, now);
        }
        for endpoint in &roster.endpoints {
            if let Some(turned) = self.own_circuit(endpoint).and_then(|circuit| circuit.wake(now)) {
                self.turned(Some(endpoint), turned, now);
            }
        }
        let roster = self.roster.load();
        if !roster.is_true(&self.config) || roster.wakes.is_some_and(|at| now >= at) {
            self.remake(now);
        }
    }

    /// Lets those return who are not out, or not any more. The list is held meanwhile, so that nobody who is ejected in the
    /// same moment comes back by mistake.
    pub(super) fn release(&self, endpoints: &[Arc<Endpoint>], now: Instant) {
        let mut known = self.guard.ejections();
        if let Some(known) = &mut known {
            known.on_wakeup(now);
        }
        let is_out = |id| known.as_ref().is_some_and(|known| known.is_out(id));
        for endpoint in endpoints {
            if endpoint.condition.is_ejected() && !is_out(endpoint.id) {
                endpoint.condition.release(now);
                tracing::info!(upstream = %self.config.name, endpoint = %endpoint.addr, "endpoint returns from ejection");
            }
        }
    }

    /// A breaker has changed its state: of an endpoint, or of the upstream.
    pub(super) fn turned(&self, endpoint: Option<&Endpoint>, turned: Transition, now: Instant) {
        let [from, to] = [turned.from(), turned.to()].map(Phase::label);
        let (mode, cause) = (word_of(self.breaker_mode()), turned.cause());
        let scope = if endpoint.is_some() { "endpoint" } else { "upstream" };
        self.metrics.guards.turned(Turn { scope, from, to, cause, mode });
        let (upstream, endpoint) = (&self.config.name, endpoint.map(|endpoint| endpoint.addr));
        let seconds = match turned {
            Transition::Opened { penalty, .. } => Some(penalty.as_secs_f64()),
            Transition::HalfOpened | Transition::Closed => None,
        };
        tracing::warn!(%upstream, ?endpoint, from, to, cause, mode, seconds, "circuit breaker turned");
        self.remake(now);
    }

    fn breaker_mode(&self) -> Mode {
        self.config.circuit_breaker.as_ref().map(|breakers| breakers.mode).unwrap_or_default()
    }

    fn outlier_mode(&self) -> Mode {
        self.config.outlier_detection.as_ref().map(|outliers| outliers.mode).unwrap_or_default()
    }
}

impl Owed {
    fn new(upstream: Pass, endpoint: Pass, streak: bool, began: Instant) -> Self {
        Self { upstream, endpoint, streak, began, took: Duration::ZERO }
    }

    /// Nobody learns from it.
    pub(super) fn nothing(began: Instant) -> Self {
        Self::new(Pass::Free, Pass::Free, false, began)
    }

    /// A breaker waits for its outcome.
    pub fn is_trial(&self) -> bool {
        self.upstream.is_trial() || self.endpoint.is_trial()
    }

    /// The endpoint is called from now on.
    pub fn begin(&mut self, now: Instant) {
        self.began = now;
    }
}

/// Why a roster has nobody to pick.
fn nobody(roster: &Roster, now: Instant) -> Refusal {
    match roster.opens_for(now) {
        _ if roster.endpoints.is_empty() => Refusal::NoEndpoint,
        None => Refusal::Unfit,
        Some(retry_after) => Refusal::Open { retry_after },
    }
}

/// Whether the policy acts upon circuits of endpoints.
pub(super) fn enforces_breakers(config: &model::Upstream) -> bool {
    let breakers = config.circuit_breaker.as_ref();
    breakers.is_some_and(|it| it.mode == Mode::Enforce && BreakerScope::of_endpoints(it.scope))
}

/// Whether the policy acts upon ejections.
pub(super) fn enforces_ejection(config: &model::Upstream) -> bool {
    config.outlier_detection.as_ref().is_some_and(|it| it.mode == Mode::Enforce)
}

/// Whether the policy acts upon checks.
pub(super) fn enforces_checks(config: &model::Upstream) -> bool {
    config.health_check.as_ref().is_some_and(|it| it.mode == Mode::Enforce)
}

#[cfg(test)]
mod tests;
