//! How do workers share a circuit breaker? One lock for those who change something; who is admitted while it is closed
//! takes none.
//!
//! While the circuit is closed, all that its permits say is the epoch, so that lies in an atomic: admission is one load of
//! a line that nobody writes. An outcome takes the lock for the time of an addition. A trial is held by a guard: should
//! its outcome never be reported, its place is free again at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::CircuitBreaker;

use crate::policy::breaker::{Admission, Breaker, Permit, Phase, Transition};
use crate::policy::outcome::Outcome;

/// No epoch: it is not closed.
const NOT_CLOSED: u64 = u64::MAX;

/// A circuit breaker that all workers use.
#[derive(Debug)]
pub struct Circuit {
    breaker: Mutex<Breaker>,
    /// The epoch in which it is closed.
    closed: AtomicU64,
}

/// What an attempt owes a circuit: its outcome.
#[derive(Debug, Default)]
pub enum Pass {
    /// Nothing: there is no circuit, or it didn't want the attempt made.
    #[default]
    Free,
    /// It was made while the circuit was closed, in this epoch.
    Closed(u64),
    /// It is a trial, which a forgotten outcome must not block.
    Trial(Trial),
}

/// The right to one trial; given back when dropped.
#[derive(Debug)]
pub struct Trial {
    circuit: Arc<Circuit>,
    permit: Option<Permit>,
}

impl Circuit {
    /// A closed circuit with nothing counted.
    pub fn new(config: &CircuitBreaker, now: Instant) -> Arc<Self> {
        let breaker = Breaker::new(*config, now);
        Arc::new(Self {
            closed: AtomicU64::new(breaker.closed_epoch().unwrap_or(NOT_CLOSED)),
            breaker: Mutex::new(breaker),
        })
    }

    /// May an attempt be made? If not: after how long it may be worth while to ask again.
    pub fn admit(self: &Arc<Self>, now: Instant) -> (Result<Pass, Duration>, Option<Transition>) {
        let epoch = self.closed.load(Ordering::Acquire);
        if epoch != NOT_CLOSED {
            return (Ok(Pass::Closed(epoch)), None);
        }
        let (admission, transition) = self.change(|breaker| breaker.admit(now));
        let admission = match admission {
            Admission::Admitted(permit) => {
                Ok(Pass::Trial(Trial { circuit: Arc::clone(self), permit: Some(permit) }))
            }
            Admission::Refused { retry_after } => Err(retry_after),
        };
        (admission, transition)
    }

    /// Whether [`admit`](Self::admit) would admit. Takes no place, so the next to ask may be told otherwise.
    pub fn would_admit(&self, now: Instant) -> bool {
        self.is_closed() || self.lock().would_admit(now)
    }

    /// How an admitted attempt ended, its content too. `took`: from the request sent whole to its head, or to its end
    /// without one.
    pub fn report(&self, pass: Pass, outcome: &Outcome, took: Duration, now: Instant) -> Option<Transition> {
        let permit = match pass {
            Pass::Free => return None,
            Pass::Closed(epoch) => Permit::while_closed(epoch),
            Pass::Trial(mut trial) => trial.permit.take()?,
        };
        self.change(|breaker| breaker.on_outcome(permit, outcome, took, now, fastrand::f64))
    }

    /// Lets trials begin if it is time.
    pub fn wake(&self, now: Instant) -> Option<Transition> {
        if self.is_closed() {
            return None;
        }
        self.change(|breaker| breaker.on_wakeup(now))
    }

    /// Other thresholds from now on; what is known stays.
    pub fn reconfigure(&self, config: &CircuitBreaker, now: Instant) -> Option<Transition> {
        self.change(|breaker| breaker.reconfigure(config, now))
    }

    /// Everyone is admitted.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) != NOT_CLOSED
    }

    /// For the gauge and for people.
    pub fn phase(&self) -> Phase {
        self.lock().phase()
    }

    /// How long it will be before more may be admitted by time alone; `None`: time changes nothing.
    pub fn opens_for(&self, now: Instant) -> Option<Duration> {
        Some(self.lock().next_wakeup()?.saturating_duration_since(now))
    }

    fn change<R>(&self, act: impl FnOnce(&mut Breaker) -> R) -> R {
        let mut breaker = self.lock();
        let result = act(&mut breaker);
        let epoch = breaker.closed_epoch().unwrap_or(NOT_CLOSED);
        // Nobody else writes while the lock is held; a line that doesn't change stays in everybody's cache.
        if self.closed.load(Ordering::Relaxed) != epoch {
            self.closed.store(epoch, Ordering::Release);
        }
        result
    }

    /// The breaker is whole between any two statements, so a panic of another thread spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Nothing is owed.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// The circuit waits for this one's outcome.
    pub fn is_trial(&self) -> bool {
        matches!(self, Self::Trial(_))
    }

    /// A good head has come, its content goes on. Only a trial has to say so.
    pub fn on_head(&mut self, outcome: &Outcome, took: Duration, now: Instant) {
        if let Self::Trial(Trial { circuit, permit: Some(permit) }) = self {
            circuit.change(|breaker| breaker.on_head(permit, outcome, took, now));
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.circuit.change(|breaker| breaker.cancel(permit));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Barrier;

    use outrigger_config::model::Backoff;

    use super::*;
    use crate::policy::outcome::tests::status;

    const SECOND: Duration = Duration::from_secs(1);

    fn circuit(now: Instant) -> Arc<Circuit> {
        let config = CircuitBreaker {
            window: 10 * SECOND,
            failure_rate: None,
            min_requests: 20,
            consecutive: NonZeroU32::new(3),
            slow_call_duration: None,
            trial_requests: NonZeroU32::MIN,
            backoff: Backoff { base: SECOND, max: SECOND },
        };
        Circuit::new(&config, now)
    }

    /// Lets one attempt fail; whether it was made.
    fn fail(circuit: &Arc<Circuit>, now: Instant) -> bool {
        let Ok(pass) = circuit.admit(now).0 else { return false };
        circuit.report(pass, &status(503), Duration::ZERO, now);
        true
    }

    #[test]
    fn cb_4_a_trial_of_which_nothing_is_heard_is_given_back() {
        let start = Instant::now();
        let circuit = circuit(start);
        while fail(&circuit, start) {}
        let now = start + 2 * SECOND;
        let (trial, turned) = circuit.admit(now);
        assert_eq!(turned, Some(Transition::HalfOpened));
        assert!(circuit.admit(now).0.is_err(), "one trial is out");
        drop(trial);
        assert!(circuit.admit(now).0.is_ok_and(|pass| matches!(pass, Pass::Trial(_))));
    }

    /// Four workers meet again and again at a circuit whose penalty is just served: trials are never two.
    #[test]
    fn cb_4_one_trial_at_a_time_whatever_the_workers_do() {
        let start = Instant::now();
        let (circuit, out) = (circuit(start), AtomicU64::new(0));
        let rounds = Barrier::new(4);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (circuit, out, rounds) = (&circuit, &out, &rounds);
                scope.spawn(move || {
                    for round in 0..200u32 {
                        rounds.wait();
                        let now = start + 2 * SECOND * round;
                        for _ in 0..20 {
                            let Ok(pass) = circuit.admit(now).0 else { continue };
                            if matches!(pass, Pass::Trial(_)) {
                                assert_eq!(out.fetch_add(1, Ordering::SeqCst), 0, "a second trial");
                                std::thread::yield_now();
                                out.fetch_sub(1, Ordering::SeqCst);
                            }
                            let code = if worker == 0 && round % 3 == 0 { 200 } else { 503 };
                            circuit.report(pass, &status(code), Duration::ZERO, now);
                        }
                    }
                });
            }
        });
    }
}
