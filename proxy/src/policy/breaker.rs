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
//! An attempt is judged by its end. A trial whose head was good holds its place until its content has ended too, so that
//! one which breaks off has failed; but a stream need never end, so content that still flows when the shortest penalty
//! has passed since the head is proof enough.
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
        /// Those of them whose head was good.
        answered: u32,
        /// When these are taken for successes, ended or not.
        proven: Instant,
        /// How often that has happened.
        rounds: u32,
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
    /// The attempt is a trial with a good head, among those that are proven next after so many rounds.
    answered: Option<u32>,
}

impl Permit {
    /// The permit of all who came while the circuit was [closed](Breaker::closed_epoch) in this epoch.
    pub fn while_closed(epoch: u64) -> Self {
        Self { epoch, answered: None }
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
            State::Closed { .. } => Admission::Admitted(Permit::while_closed(self.epoch)),
            State::Open { until } => Admission::Refused { retry_after: until.saturating_duration_since(now) },
            State::HalfOpen { .. } if free == 0 => {
                Admission::Refused { retry_after: self.config.backoff.base }
            }
            State::HalfOpen { out, given_up, answered, .. } => {
                // Those before it, which nobody has reported, are given up: whatever they say now comes too late.
                if now >= *given_up && *out > 0 {
                    (*out, *answered) = (0, 0);
                    self.epoch += 1;
                }
                *out += 1;
                *given_up = now + penalty::longest(&self.config.backoff);
                Admission::Admitted(Permit { epoch: self.epoch, answered: None })
            }
        };
        (admission, transition)
    }

    /// Whether [`admit`](Self::admit) would admit. Takes no place, so the next to ask may be told otherwise.
    pub fn would_admit(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= *until,
            State::HalfOpen { passed, answered, .. } => {
                let proven = self.next_wakeup().is_some_and(|at| now >= at);
                self.places(now) > 0 || proven && passed + answered >= self.config.trial_requests.get()
            }
        }
    }

    /// While it is closed everyone is admitted, and with the same permit: who knows this number until the next transition
    /// need not ask. `None`: it is not closed.
    pub fn closed_epoch(&self) -> Option<u64> {
        matches!(self.state, State::Closed { .. }).then_some(self.epoch)
    }

    /// A good head has come for an admitted attempt, `took` after the request was sent whole; its content goes on.
    pub fn on_head(&mut self, permit: &mut Permit, outcome: &Outcome, took: Duration, now: Instant) {
        let good = self.failed(outcome, took) == Some(false);
        if let State::HalfOpen { answered, proven, rounds, .. } = &mut self.state
            && good
            && (permit.epoch, permit.answered) == (self.epoch, None)
        {
            *answered += 1;
            *proven = now + self.config.backoff.base;
            permit.answered = Some(*rounds);
        }
    }

    /// An admitted attempt ended, all its content too; its head came, or it ended without one, `took` after the request
    /// was sent whole. `draw`, uniform in `[0, 1]`, is asked for the jitter should it open.
    pub fn on_outcome(
        &mut self,
        permit: Permit,
        outcome: &Outcome,
        took: Duration,
        now: Instant,
        draw: impl FnOnce() -> f64,
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
                cause.map(|cause| self.open(cause, behaved, now, draw()))
            }
            State::HalfOpen { .. } if failed => Some(self.open(Cause::Trial, Duration::ZERO, now, draw())),
            State::HalfOpen { .. } => {
                let counts = self.comes_back(&permit);
                self.pass(u32::from(counts), now)
            }
        }
    }

    /// An admitted attempt was not made, or nothing is known of how it ended: its place is free again.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is handed back once")]
    pub fn cancel(&mut self, permit: Permit) {
        if permit.epoch == self.epoch {
            self.comes_back(&permit);
        }
    }

    /// When the state will change without anything being asked or reported. Later than the truth it does no harm:
    /// [`admit`](Self::admit) looks for itself.
    pub fn next_wakeup(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::HalfOpen { answered: 1.., proven, .. } => Some(proven),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Lets trials begin if it is time, and takes those for successes that have been answering for long.
    pub fn on_wakeup(&mut self, now: Instant) -> Option<Transition> {
        if self.next_wakeup().is_none_or(|at| now < at) {
            return None;
        }
        if let State::HalfOpen { out, answered, rounds, .. } = &mut self.state {
            let proven = std::mem::take(answered);
            *out = out.saturating_sub(proven);
            *rounds += 1;
            return self.pass(proven, now);
        }
        let (given_up, proven) = (now, now);
        self.enter(State::HalfOpen { out: 0, passed: 0, given_up, answered: 0, proven, rounds: 0 });
        Some(Transition::HalfOpened)
    }

    /// Other thresholds from now on; what is known stays.
    pub fn reconfigure(&mut self, config: &CircuitBreaker, now: Instant) -> Option<Transition> {
        self.config = *config;
        match &mut self.state {
            State::Closed { window, .. } => window.resize(config.window, now),
            State::Open { until } => *until = (*until).min(now + penalty::longest(&config.backoff)),
            State::HalfOpen { given_up, proven, .. } => {
                *given_up = (*given_up).min(now + penalty::longest(&config.backoff));
                *proven = (*proven).min(now + config.backoff.base);
                return self.pass(0, now);
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
            State::HalfOpen { out, passed, given_up, .. } => {
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

    /// A trial is out no more; `false`: it was taken for a success before.
    fn comes_back(&mut self, permit: &Permit) -> bool {
        let State::HalfOpen { out, answered, rounds, .. } = &mut self.state else { return false };
        match permit.answered {
            Some(round) if round != *rounds => return false,
            Some(_) => *answered = answered.saturating_sub(1),
            None => {}
        }
        *out = out.saturating_sub(1);
        true
    }

    /// So many more trials have succeeded.
    fn pass(&mut self, trials: u32, now: Instant) -> Option<Transition> {
        let State::HalfOpen { passed, .. } = &mut self.state else { return None };
        *passed += trials;
        (*passed >= self.config.trial_requests.get()).then(|| {
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
