mod opening;
mod penalties;
mod reload;
mod trials;

use std::num::NonZeroU32;

use outrigger_config::model::Backoff;
use proptest::prelude::*;

use super::*;
use crate::policy::outcome::tests::{SILENT, status};

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
const SECOND: fn(u64) -> Duration = Duration::from_secs;

/// The example of the manual, with the count of consecutive failures.
fn config() -> CircuitBreaker {
    CircuitBreaker {
        window: SECOND(10),
        failure_rate: Some(0.5),
        min_requests: 20,
        consecutive: NonZeroU32::new(7),
        slow_call_duration: None,
        trial_requests: NonZeroU32::MIN,
        backoff: Backoff { base: SECOND(1), max: SECOND(60) },
    }
}

fn rate_only() -> CircuitBreaker {
    CircuitBreaker { consecutive: None, ..config() }
}

pub(super) fn permit(breaker: &mut Breaker, now: Instant) -> Option<Permit> {
    match breaker.admit(now).0 {
        Admission::Admitted(permit) => Some(permit),
        Admission::Refused { .. } => None,
    }
}

/// An admitted attempt ends, at once and with the shortest penalty should it open.
fn end(breaker: &mut Breaker, permit: Permit, code: u16, now: Instant) -> Option<Transition> {
    breaker.on_outcome(permit, &status(code), Duration::ZERO, now, || 0.0)
}

/// A whole attempt.
fn attempt(breaker: &mut Breaker, code: u16, now: Instant) -> Option<Transition> {
    let permit = permit(breaker, now).expect("admitted");
    end(breaker, permit, code, now)
}

/// So many attempts that open nothing.
fn attempts(breaker: &mut Breaker, n: u32, code: u16, now: Instant) {
    (0..n).for_each(|_| assert_eq!(attempt(breaker, code, now), None));
}

/// Open from `now` on, for one second.
fn opened(config: CircuitBreaker, now: Instant) -> Breaker {
    let mut breaker = Breaker::new(config, now);
    while attempt(&mut breaker, 503, now).is_none() {}
    breaker
}

/// In `HalfOpen`, with its first trial out.
fn on_trial(config: CircuitBreaker, now: Instant) -> (Breaker, Permit, Instant) {
    let mut breaker = opened(config, now);
    let now = now + SECOND(1);
    let (Admission::Admitted(trial), Some(Transition::HalfOpened)) = breaker.admit(now) else {
        panic!("its time had come")
    };
    (breaker, trial, now)
}

pub(super) fn any_config() -> impl Strategy<Value = CircuitBreaker> {
    let by =
        (prop::option::of(0.01..=1.0f64), prop::option::of(1u32..9), 1u32..30, prop::option::of(1u64..500));
    (by, 1u32..5, 1u64..20_000, 1u64..3_000, 1u64..60_000).prop_map(
        |((failure_rate, consecutive, min_requests, slow), trials, window, base, max)| CircuitBreaker {
            window: MS(window),
            failure_rate,
            min_requests,
            consecutive: consecutive.and_then(NonZeroU32::new),
            slow_call_duration: slow.map(MS),
            trial_requests: NonZeroU32::new(trials).unwrap(),
            backoff: Backoff { base: MS(base), max: MS(max) },
        },
    )
}

pub(super) fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(status(200)),
        6 => Just(status(503)),
        1 => prop::sample::select([404, 429, 302].map(status).to_vec()),
        2 => prop::sample::select(SILENT.to_vec()),
    ]
}
