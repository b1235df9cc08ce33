//! What is known for and against an endpoint? Its checks, its failures in a row, its own circuit.
//!
//! Each is written by whoever learns of it and read when the [roster](super::roster) is made anew, so a pick looks at none
//! of it. What is known outlives a reload, because the endpoint does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::{CircuitBreaker, HealthCheck};

use super::circuit::Circuit;
use crate::policy::breaker::Transition;
use crate::policy::health::{Change, Check, Health};
use crate::policy::outcome::{Class, Outcome};
use crate::policy::outlier::Streak;

/// For how long a refused connection says that the next one would be: a second, in nanoseconds.
const REFUSING: u64 = 1_000_000_000;

/// What is known for and against an endpoint.
#[derive(Debug)]
pub struct Condition {
    /// It is out for failing real requests.
    ejected: AtomicBool,
    streak: Mutex<Streak>,
    /// The streak is not zero: a success has something to end.
    failing: AtomicBool,
    /// When the last attempt ended that got no connection, in nanoseconds after `born`; 0: there was none.
    refused_at: AtomicU64,
    health: Mutex<Option<Health>>,
    circuit: OnceLock<Arc<Circuit>>,
    /// Since when it has been fit for requests, in nanoseconds after `born`.
    fit_since: AtomicU64,
    born: Instant,
}

impl Condition {
    /// Nothing is known.
    pub fn new(now: Instant) -> Self {
        Self {
            ejected: AtomicBool::new(false),
            streak: Mutex::new(Streak::new(now)),
            failing: AtomicBool::new(false),
            refused_at: AtomicU64::new(0),
            health: Mutex::default(),
            circuit: OnceLock::new(),
            fit_since: AtomicU64::new(0),
            born: now,
        }
    }

    /// It is out for failing real requests.
    pub fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Acquire)
    }

    /// An attempt got no connection.
    pub fn set_refusing(&self, now: Instant) {
        self.refused_at.store(self.age(now), Ordering::Relaxed);
    }

    /// An attempt that ended within the last second got no connection.
    pub fn is_refusing(&self, now: Instant) -> bool {
        let refused_at = self.refused_at.load(Ordering::Relaxed);
        refused_at > 0 && self.age(now).saturating_sub(refused_at) < REFUSING
    }

    /// In nanoseconds, and never 0.
    fn age(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.born).as_nanos();
        u64::try_from(age).unwrap_or(u64::MAX).max(1)
    }

    /// It is ejected, until then; what was begun before is no evidence against it afterwards.
    pub fn eject(&self, until: Instant) {
        self.ejected.store(true, Ordering::Release);
        self.restart(until);
    }

    /// Its ejection has ended.
    pub fn release(&self, now: Instant) {
        self.ejected.store(false, Ordering::Release);
        self.restart(now);
    }

    /// An attempt ended that was begun at `began`; how many have failed in a row. A good answer where nothing is wrong
    /// costs one load.
    pub fn on_outcome(&self, outcome: &Outcome, began: Instant) -> u32 {
        if outcome.class() != Class::System && !self.failing.load(Ordering::Relaxed) {
            return 0;
        }
        let mut streak = lock(&self.streak);
        let failures = streak.on_outcome(outcome, began);
        self.failing.store(failures > 0, Ordering::Relaxed);
        failures
    }

    /// When the next check is due; from now on it is checked.
    pub fn next_check(&self, config: &HealthCheck, now: Instant) -> Instant {
        let mut health = lock(&self.health);
        health.get_or_insert_with(|| Health::new(*config, now, fastrand::f64())).next_wakeup()
    }

    /// A check ended.
    pub fn on_check(&self, check: Check, now: Instant) -> Option<Change> {
        lock(&self.health).as_mut()?.on_check(check, now, fastrand::f64())
    }

    /// Other thresholds for its checks; `None`: it is checked no more, and what they said is forgotten.
    pub fn reconfigure_checks(&self, config: Option<&HealthCheck>, now: Instant) {
        let mut health = lock(&self.health);
        match (config, &mut *health) {
            (Some(config), Some(health)) => health.reconfigure(config, now, fastrand::f64()),
            (Some(_), None) => {}
            (None, health) => *health = None,
        }
    }

    /// A check has said something.
    pub fn is_checked(&self) -> bool {
        lock(&self.health).as_ref().is_some_and(Health::is_known)
    }

    /// What checks say.
    pub fn vitality(&self) -> Vitality {
        match &*lock(&self.health) {
            None => Vitality::Unchecked,
            Some(health) if !health.is_alive() => Vitality::Down,
            Some(health) if health.takes_requests() => Vitality::Up,
            Some(_) => Vitality::NotReady,
        }
    }

    /// Its own circuit, if it ever had one.
    pub fn circuit(&self) -> Option<&Arc<Circuit>> {
        self.circuit.get()
    }

    /// It has a circuit of its own from now on, with these thresholds.
    pub fn set_circuit(&self, config: &CircuitBreaker, now: Instant) -> Option<Transition> {
        self.circuit.get_or_init(|| Circuit::new(config, now)).reconfigure(config, now)
    }

    /// From now on it is fit for requests again.
    pub fn set_fit(&self, now: Instant) {
        let age = now.saturating_duration_since(self.born).as_nanos();
        self.fit_since.store(u64::try_from(age).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long it has been fit for requests.
    pub fn fit_for(&self, now: Instant) -> Duration {
        let since = Duration::from_nanos(self.fit_since.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born).saturating_sub(since)
    }

    fn restart(&self, since: Instant) {
        let mut streak = lock(&self.streak);
        streak.restart(since);
        self.failing.store(false, Ordering::Relaxed);
    }
}

/// What checks say of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vitality {
    /// Nothing: there are none.
    Unchecked,
    /// It lives and wants work, as far as is known.
    Up,
    /// It lives, and wants none.
    NotReady,
    /// It has failed too many checks.
    Down,
}

impl Vitality {
    /// Nothing is known against it.
    pub fn takes_requests(self) -> bool {
        matches!(self, Self::Unchecked | Self::Up)
    }

    /// The word for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Up => "up",
            Self::NotReady => "not-ready",
            Self::Down => "down",
        }
    }
}

/// What is locked is whole between any two statements, so a panic of another thread spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::outcome::tests::status;

    #[test]
    fn lb_5_a_row_is_ended_by_a_good_answer_alone() {
        let now = Instant::now();
        let condition = Condition::new(now);
        let rows = [503, 503, 429, 503, 404, 503].map(|code| condition.on_outcome(&status(code), now));
        assert_eq!(rows, [1, 2, 2, 3, 0, 1]);
    }

    #[test]
    fn lb_5_what_began_before_an_ejection_ended_is_no_new_evidence() {
        let now = Instant::now();
        let condition = Condition::new(now);
        let until = now + Duration::from_secs(1);
        condition.eject(until);
        assert_eq!(condition.on_outcome(&status(503), now), 0);
        assert_eq!(condition.on_outcome(&status(503), until), 1);
    }
}
