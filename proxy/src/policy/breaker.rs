//! May this attempt be made, or has its target failed too much lately? A circuit breaker, for an endpoint or an upstream.
//!
//! **Question.** Attempts at a target that is down cost everybody time and keep it down. When to stop, and how to find
//! out that it is back, without sending it more than it must bear?
//!
//! **States and transitions.**
//!
//! ```text
//!                    consecutive failures, or failure rate
//!          ┌────────┐  with minimum throughput          ┌──────┐
//!     ────→│ Closed │──────────────────────────────────→│ Open │←─┐
//!          └────────┘                                   └──────┘  │ a trial failed
//!               ↑  `trialRequests` trials succeeded         │     │
//!               │                ┌──────────┐ penalty served│     │
//!               └────────────────│ HalfOpen │←──────────────┘     │
//!                                │          │─────────────────────┘
//!                                └──────────┘
//! ```
//!
//! Closed admits all and counts; Open refuses all; `HalfOpen` admits `trialRequests` and refuses the rest. Each admitted
//! attempt holds a [`Permit`] and hands it back with its outcome, or without ([`Breaker::cancel`]).
//!
//! What counts: a failure of the upstream's making ([`Class::System`]); where `slowCallDuration` is set, also a success
//! that took as long, and a call that was given up after as long. A success or a 4xx is a good answer. 429 and what
//! says nothing about the upstream are no evidence: they are not counted, and a trial that ends so is given back. What
//! we refuse ourselves has no permit, so it cannot be reported.
//!
//! **Invariants.** Only a failure opens it. In `HalfOpen` no more than `trialRequests` trials are out or have passed.
//! What was admitted before a transition changes nothing after it: stragglers neither close nor re-open the circuit.
//! `HalfOpen` cannot wedge: a trial of which nothing was heard for the longest penalty is given up and its place is free,
//! so even if every outcome were lost, trials would go out at the pace of the longest penalty.
//! No `now` before an earlier one does harm. Memory is constant.
//!
//! **Time.** Constant for each call; only a failure looks at the whole window (eleven slots).
//!
//! **On reload.** [`Breaker::reconfigure`] changes the thresholds and keeps state, window and penalty. Nothing opens by
//! it; a penalty that is now too long is cut, a `HalfOpen` that has now seen trials enough closes. Whether refusals are
//! enforced is no business of this machine: in `mode: dryRun` the caller counts [`Admission::Refused`], makes the
//! attempt all the same and, having no permit, reports nothing. So both modes decide alike on the same evidence, and the
//! mode can change at any time (CB-9).
//!
//! **Source.** M. Nygard, "Release It!" (2007) for the three states; Linkerd's breaker for trials by real requests under
//! a jittered exponential back-off; Resilience4j for rate, minimum throughput and slow calls, and its issue #544
//! (half-open for ever, after a trial whose outcome was ignored) for permits that can be handed back.

mod transition;
mod window;

use std::time::{Duration, Instant};

use outrigger_config::model::CircuitBreaker;

pub use self::transition::{Cause, Phase, Tally, Transition};
use self::window::Window;
use super::outcome::{Class, Outcome};
use super::penalty::{self, Penalty};
use super::share::Share;

/// A circuit breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    config: CircuitBreaker,
    /// Permits of another epoch are of no interest any more.
    epoch: u64,
    penalty: Penalty,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Closed {
        since: Instant,
        window: Window,
        streak: u32,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        /// Trials of which nothing was heard yet.
        out: u32,
        /// Trials that succeeded.
        passed: u32,
        /// When those that are out are given up.
        given_up: Instant,
    },
}

/// The answer to one attempt.
#[derive(Debug)]
pub enum Admission {
    /// Make it, and report how it ended.
    Admitted(Permit),
    /// Don't.
    Refused {
        /// When it may be worth while to ask again.
        retry_after: Duration,
    },
}

/// The right to one attempt. To be handed back once, with an outcome or without.
#[derive(Debug)]
#[must_use = "an outcome that is never reported delays recovery"]
pub struct Permit {
    epoch: u64,
}

impl Permit {
    /// The permit of all who came while the circuit was [closed](Breaker::closed_epoch) in this epoch.
    pub fn while_closed(epoch: u64) -> Self {
        Self { epoch }
    }
}

impl Breaker {
    /// A closed circuit with nothing counted.
    pub fn new(config: CircuitBreaker, now: Instant) -> Self {
        Self { config, epoch: 0, penalty: Penalty::default(), state: closed(&config, now) }
    }

    /// May an attempt be made? Also turns Open into `HalfOpen` when its time has come.
    pub fn admit(&mut self, now: Instant) -> (Admission, Option<Transition>) {
        let transition = self.on_wakeup(now);
        let free = self.places(now);
        let admission = match &mut self.state {
            State::Closed { .. } => Admission::Admitted(Permit { epoch: self.epoch }),
            State::Open { until } => Admission::Refused { retry_after: until.saturating_duration_since(now) },
            State::HalfOpen { .. } if free == 0 => {
                Admission::Refused { retry_after: self.config.backoff.base }
            }
            State::HalfOpen { out, given_up, .. } => {
                // Those before it, which nobody has reported, are given up: whatever they say now comes too late.
                if now >= *given_up && *out > 0 {
                    *out = 0;
                    self.epoch += 1;
                }
                *out += 1;
                *given_up = now + penalty::longest(&self.config.backoff);
                Admission::Admitted(Permit { epoch: self.epoch })
            }
        };
        (admission, transition)
    }

    /// Whether [`admit`](Self::admit) would admit. Takes no place, so the next to ask may be told otherwise.
    pub fn would_admit(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= *until,
            State::HalfOpen { .. } => self.places(now) > 0,
        }
    }

    /// While it is closed everyone is admitted, and with the same permit: who knows this number until the next transition
    /// need not ask. `None`: it is not closed.
    pub fn closed_epoch(&self) -> Option<u64> {
        matches!(self.state, State::Closed { .. }).then_some(self.epoch)
    }

    /// An admitted attempt ended, `took` after the request was sent whole: with its response head, or without one.
    /// `draw`, uniform in `[0, 1]`, decides on the jitter should it open.
    pub fn on_outcome(
        &mut self,
        permit: Permit,
        outcome: &Outcome,
        took: Duration,
        now: Instant,
        draw: f64,
    ) -> Option<Transition> {
        if permit.epoch != self.epoch {
            return None;
        }
        let Some(failed) = self.failed(outcome, took) else {
            self.cancel(permit);
            return None;
        };
        match &mut self.state {
            State::Open { .. } => None,
            State::Closed { since, window, streak } => {
                window.add(failed, now);
                *streak = if failed { streak.saturating_add(1) } else { 0 };
                let cause = if failed { cause(&self.config, *streak, window) } else { None };
                let behaved = now.saturating_duration_since(*since);
                cause.map(|cause| self.open(cause, behaved, now, draw))
            }
            State::HalfOpen { .. } if failed => Some(self.open(Cause::Trial, Duration::ZERO, now, draw)),
            State::HalfOpen { out, passed, .. } => {
                *out = out.saturating_sub(1);
                *passed += 1;
                self.close_if_passed(now)
            }
        }
    }

    /// An admitted attempt was not made, or nothing is known of how it ended: its place is free again.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is handed back once")]
    pub fn cancel(&mut self, permit: Permit) {
        if let State::HalfOpen { out, .. } = &mut self.state
            && permit.epoch == self.epoch
        {
            *out = out.saturating_sub(1);
        }
    }

    /// When the state will change without anything being asked or reported. Later than the truth it does no harm:
    /// [`admit`](Self::admit) looks for itself.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Lets trials begin if it is time.
    pub fn on_wakeup(&mut self, now: Instant) -> Option<Transition> {
        match self.state {
            State::Open { until } if now >= until => {
                self.enter(State::HalfOpen { out: 0, passed: 0, given_up: now });
                Some(Transition::HalfOpened)
            }
            _ => None,
        }
    }

    /// Other thresholds from now on; what is known stays.
    pub fn reconfigure(&mut self, config: &CircuitBreaker, now: Instant) -> Option<Transition> {
        self.config = *config;
        match &mut self.state {
            State::Closed { window, .. } => window.resize(config.window, now),
            State::Open { until } => *until = (*until).min(now + penalty::longest(&config.backoff)),
            State::HalfOpen { given_up, .. } => {
                *given_up = (*given_up).min(now + penalty::longest(&config.backoff));
                return self.close_if_passed(now);
            }
        }
        None
    }

    /// For the gauge and for people.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Whether an outcome is a failure; `None` if it is no evidence either way.
    fn failed(&self, outcome: &Outcome, took: Duration) -> Option<bool> {
        let slow = self.config.slow_call_duration.is_some_and(|limit| took >= limit);
        match outcome.class() {
            Class::System => Some(true),
            Class::Success => Some(slow),
            // EC-1: whatever the request's own fault was, and a 408 is slow by nature.
            Class::Customer => Some(false),
            Class::Throttled => None,
            // Callers that are less patient than we are must not hide an upstream that hangs.
            Class::Neutral => slow.then_some(true),
        }
    }

    /// Trials that may begin now.
    fn places(&self, now: Instant) -> u32 {
        match self.state {
            State::HalfOpen { out, passed, given_up } => {
                let out = if now >= given_up { 0 } else { out };
                self.config.trial_requests.get().saturating_sub(passed + out)
            }
            State::Closed { .. } | State::Open { .. } => 0,
        }
    }

    fn open(&mut self, cause: Cause, behaved: Duration, now: Instant, draw: f64) -> Transition {
        let penalty = self.penalty.impose(&self.config.backoff, behaved, draw);
        self.enter(State::Open { until: now + penalty });
        Transition::Opened { cause, penalty }
    }

    fn close_if_passed(&mut self, now: Instant) -> Option<Transition> {
        let State::HalfOpen { passed, .. } = self.state else { return None };
        (passed >= self.config.trial_requests.get()).then(|| {
            self.enter(closed(&self.config, now));
            Transition::Closed
        })
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

fn closed(config: &CircuitBreaker, now: Instant) -> State {
    State::Closed { since: now, window: Window::new(config.window, now), streak: 0 }
}

/// Why it should open after a failure, if it should.
fn cause(config: &CircuitBreaker, streak: u32, window: &Window) -> Option<Cause> {
    if config.consecutive.is_some_and(|limit| streak >= limit.get()) {
        return Some(Cause::Consecutive(streak));
    }
    let (rate, tally) = (Share::new(config.failure_rate?), window.sum());
    let reached = rate.is_reached(tally.failures.into(), tally.total.into());
    (tally.total >= config.min_requests && reached).then_some(Cause::FailureRate(tally))
}

#[cfg(test)]
mod tests;
