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
    breaker.on_outcome(permit, &status(code), Duration::ZERO, now, 0.0)
}

/// Whoever remembers the epoch instead of asking is told the same, and is as much a straggler after a transition.
#[test]
fn cb_4_who_knows_that_it_is_closed_need_not_ask() {
    let now = Instant::now();
    let mut breaker = Breaker::new(config(), now);
    let epoch = breaker.closed_epoch().expect("it is closed");
    assert_eq!(permit(&mut breaker, now).expect("admitted").epoch, epoch);
    while attempt(&mut breaker, 503, now).is_none() {}
    assert_eq!(breaker.closed_epoch(), None);
    assert_eq!(end(&mut breaker, Permit::while_closed(epoch), 503, now), None);
    assert_eq!(breaker.phase(), Phase::Open);
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

proptest! {
    /// Even if every trial is lost.
    #[test]
    fn lost_trials_are_replaced_at_the_pace_of_the_longest_penalty(trials in 1u32..5, hours in 1u64..5) {
        let trial_requests = NonZeroU32::new(trials).unwrap();
        let (mut breaker, trial, start) = on_trial(CircuitBreaker { trial_requests, ..config() }, Instant::now());
        drop(trial);
        let sent = (1..hours * 3600).filter(|s| permit(&mut breaker, start + SECOND(*s)).is_some()).count() as u64;
        let longest = hours * 3600 / 90 + 1;
        prop_assert!(sent >= longest - 2 && sent < longest * u64::from(trials), "{sent} in {hours} h");
    }

    /// Outcomes of one window, so that the count is exact: it opens at the threshold, and not before.
    #[test]
    fn cb_1_opens_exactly_at_the_threshold(
        consecutive in prop::option::of(1u32..9), rate in prop::option::of(0.01..=1.0f64), min_requests in 0u32..30,
        outcomes in prop::collection::vec(any_outcome(), 1..200),
    ) {
        let consecutive = consecutive.and_then(NonZeroU32::new);
        let config = CircuitBreaker { consecutive, failure_rate: rate, min_requests, ..config() };
        let now = Instant::now();
        let mut breaker = Breaker::new(config, now);
        let (mut streak, mut failures, mut total) = (0, 0, 0);
        for outcome in outcomes {
            let trial = permit(&mut breaker, now).unwrap();
            let transition = breaker.on_outcome(trial, &outcome, Duration::ZERO, now, 0.0);
            let failed = match outcome.class() {
                Class::System => true,
                Class::Success | Class::Customer => false,
                Class::Throttled | Class::Neutral => {
                    prop_assert_eq!(transition, None);
                    continue;
                }
            };
            total += 1;
            failures += u32::from(failed);
            streak = if failed { streak + 1 } else { 0 };
            let by_count = consecutive.is_some_and(|limit| streak >= limit.get());
            let by_rate = total >= min_requests
                && rate.is_some_and(|rate| f64::from(failures) >= (rate * 1e6).round() / 1e6 * f64::from(total) - 1e-9);
            prop_assert_eq!(transition.is_some(), failed && (by_count || by_rate), "{} of {}", failures, total);
            if transition.is_some() {
                break;
            }
        }
    }

    /// What was admitted before a transition has no say after it.
    #[test]
    fn stragglers_neither_close_nor_reopen(codes in prop::collection::vec(prop::sample::select(vec![200u16, 503]), 1..50)) {
        let start = Instant::now();
        let mut breaker = Breaker::new(config(), start);
        let early: Vec<_> = codes.iter().map(|_| permit(&mut breaker, start).unwrap()).collect();
        while attempt(&mut breaker, 503, start).is_none() {}
        let (later, half) = (start + SECOND(1), early.len() / 2);
        let mut early = early.into_iter().zip(codes);
        for (permit, code) in early.by_ref().take(half) {
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), SECOND(1), start, 0.0), None);
        }
        let trial = permit(&mut breaker, later).unwrap();
        for (permit, code) in early {
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), SECOND(1), later, 0.0), None);
        }
        prop_assert!(permit(&mut breaker, later).is_none(), "the one trial is still out");
        let closed = end(&mut breaker, trial, 200, later);
        prop_assert_eq!(closed, Some(Transition::Closed));
    }

    #[test]
    fn ec_1_no_4xx_opens_however_slow(codes in prop::collection::vec(400u16..500, 1..100), took in 0u64..100_000) {
        let now = Instant::now();
        let eager = CircuitBreaker {
            consecutive: Some(NonZeroU32::MIN), min_requests: 1, slow_call_duration: Some(MS(1)), ..config()
        };
        let mut breaker = Breaker::new(eager, now);
        for code in codes {
            let permit = permit(&mut breaker, now).unwrap();
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), MS(took), now, 0.0), None);
        }
    }
}

#[test]
fn cb_1_consecutive_failures_at_the_threshold_and_one_below() {
    let now = Instant::now();
    let mut breaker = Breaker::new(CircuitBreaker { failure_rate: None, ..config() }, now);
    for _ in 0..9 {
        attempts(&mut breaker, 6, 503, now);
        assert_eq!(attempt(&mut breaker, 200, now), None, "a success ends the row");
    }
    let seventh = (0..7).find_map(|_| attempt(&mut breaker, 503, now));
    assert_eq!(seventh, Some(Transition::Opened { cause: Cause::Consecutive(7), penalty: SECOND(1) }));
}

#[test]
fn cb_1_failure_rate_at_the_threshold_and_one_below() {
    let now = Instant::now();
    for (good, opens) in [(10, true), (11, false)] {
        let mut breaker = Breaker::new(rate_only(), now);
        attempts(&mut breaker, good, 200, now);
        attempts(&mut breaker, 9, 503, now);
        let last = attempt(&mut breaker, 503, now);
        let cause = Cause::FailureRate(Tally { failures: 10, total: 20 });
        assert_eq!(last, opens.then_some(Transition::Opened { cause, penalty: SECOND(1) }));
    }
}

#[test]
fn cb_1_failures_older_than_the_window_are_forgotten() {
    let start = Instant::now();
    let mut breaker = Breaker::new(rate_only(), start);
    attempts(&mut breaker, 19, 503, start);
    let later = start + SECOND(11);
    attempts(&mut breaker, 19, 503, later);
    assert!(attempt(&mut breaker, 503, later).is_some());
}

#[test]
fn cb_2_four_failures_of_four_say_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(rate_only(), now);
    attempts(&mut breaker, 4, 503, now);
    assert_eq!(breaker.phase(), Phase::Closed);
}

#[test]
fn cb_4_one_trial_passes_and_decides() {
    for (code, phase) in [(200, Phase::Closed), (404, Phase::Closed), (503, Phase::Open)] {
        let (mut breaker, trial, now) = on_trial(config(), Instant::now());
        (0..100).for_each(|_| assert!(permit(&mut breaker, now).is_none(), "one is out"));
        end(&mut breaker, trial, code, now);
        assert_eq!(breaker.phase(), phase, "{code}");
    }
}

#[test]
fn cb_4_three_trials_must_all_succeed() {
    let three = CircuitBreaker { trial_requests: NonZeroU32::new(3).unwrap(), ..config() };
    for codes in [[200, 200, 200], [200, 200, 503]] {
        let (mut breaker, first, now) = on_trial(three, Instant::now());
        let [second, third] = [(); 2].map(|()| permit(&mut breaker, now).expect("three at a time"));
        assert!(permit(&mut breaker, now).is_none(), "and no more");
        let ended = [first, second, third].into_iter().zip(codes).map(|(trial, code)| {
            breaker
                .on_outcome(trial, &status(code), Duration::ZERO, now, 0.0)
                .map(|transition| transition.to())
        });
        let last = if codes[2] == 200 { Phase::Closed } else { Phase::Open };
        assert_eq!(ended.collect::<Vec<_>>(), [None, None, Some(last)]);
    }
}

#[test]
fn cb_4_a_trial_that_proves_nothing_is_given_back() {
    let (mut breaker, mut trial, now) = on_trial(config(), Instant::now());
    for outcome in [status(429), Outcome::Canceled, Outcome::Stale] {
        assert_eq!(breaker.on_outcome(trial, &outcome, Duration::ZERO, now, 0.0), None);
        trial = permit(&mut breaker, now).expect("its place is free again");
        assert!(permit(&mut breaker, now).is_none());
    }
    breaker.cancel(trial);
    assert!(permit(&mut breaker, now).is_some());
}

#[test]
fn cb_5_penalties_double_while_trials_fail() {
    let mut now = Instant::now();
    let mut breaker = opened(config(), now);
    let penalties = [(); 8].map(|()| {
        let until = breaker.next_wakeup().unwrap();
        let penalty = until - now;
        now = until;
        attempt(&mut breaker, 503, now);
        penalty.as_secs()
    });
    assert_eq!(penalties, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn cb_5_a_hundred_sidecars_do_not_probe_in_one_bin() {
    let start = Instant::now();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut bins = [0; 10];
    for _ in 0..100 {
        let mut breaker = Breaker::new(config(), start);
        let opened = (0..7).find_map(|_| {
            let permit = permit(&mut breaker, start)?;
            breaker.on_outcome(permit, &status(503), Duration::ZERO, start, rng.f64())
        });
        assert!(opened.is_some());
        let after = breaker.next_wakeup().unwrap() - (start + SECOND(1));
        bins[usize::try_from(after.as_millis()).unwrap() / 50] += 1;
    }
    assert!(bins.iter().all(|n| *n < 30), "probes in bins of 50 ms: {bins:?}");
}

#[test]
fn cb_5_what_fails_again_at_once_is_not_met_with_the_shortest_penalty() {
    let mut now = Instant::now();
    let mut breaker = opened(config(), now);
    let penalties = [0, 0, 100].map(|behaved| {
        let penalty = breaker.next_wakeup().unwrap() - now;
        now += penalty;
        assert_eq!(attempt(&mut breaker, 200, now), Some(Transition::Closed));
        now += SECOND(behaved);
        while attempt(&mut breaker, 503, now).is_none() {}
        penalty.as_secs()
    });
    assert_eq!((penalties, (breaker.next_wakeup().unwrap() - now).as_secs()), ([1, 2, 4], 1));
}

/// One bad replica opens its own circuit, not that of the upstream; when all are bad the upstream's opens too.
#[test]
fn cb_8_one_bad_replica_opens_alone() {
    let now = Instant::now();
    for (bad, all) in [(1, false), (3, true)] {
        let mut upstream = Breaker::new(config(), now);
        let mut endpoints = [(); 3].map(|()| Breaker::new(config(), now));
        for n in (0..300).map(|n| n % 3) {
            let Some(above) = permit(&mut upstream, now) else { break };
            let Some(below) = permit(&mut endpoints[n], now) else {
                upstream.cancel(above);
                continue;
            };
            let outcome = status(if n < bad { 503 } else { 200 });
            upstream.on_outcome(above, &outcome, Duration::ZERO, now, 0.0);
            endpoints[n].on_outcome(below, &outcome, Duration::ZERO, now, 0.0);
        }
        assert_eq!(upstream.phase() == Phase::Open, all);
        if !all {
            assert_eq!(
                endpoints.map(|endpoint| endpoint.phase()),
                [Phase::Open, Phase::Closed, Phase::Closed]
            );
        }
    }
}

/// What the caller does in `mode: dryRun` and in `mode: enforce`.
#[test]
fn cb_9_a_dry_run_decides_as_the_enforced_would() {
    let start = Instant::now();
    let run = |dry: bool| {
        let mut breaker = Breaker::new(config(), start);
        let (mut sent, mut refused, mut transitions) = (0, 0, Vec::new());
        for n in 0..6_000u64 {
            let now = start + MS(n * 10);
            let (admission, began) = breaker.admit(now);
            transitions.extend(began);
            match admission {
                Admission::Admitted(permit) => {
                    sent += 1;
                    let code = if (1_000..3_000).contains(&n) { 503 } else { 200 };
                    transitions.extend(breaker.on_outcome(permit, &status(code), Duration::ZERO, now, 0.3));
                }
                Admission::Refused { .. } => {
                    refused += 1;
                    sent += u64::from(dry);
                }
            }
        }
        (sent, refused, transitions)
    };
    let (enforced, dry) = (run(false), run(true));
    assert_eq!(dry.0, 6_000, "nothing is refused");
    assert!(enforced.1 > 1_000 && enforced.0 + enforced.1 == 6_000);
    assert_eq!((enforced.1, enforced.2), (dry.1, dry.2));
}

#[test]
fn cb_9_thresholds_change_without_losing_the_window() {
    let now = Instant::now();
    let mut breaker = Breaker::new(rate_only(), now);
    attempts(&mut breaker, 10, 503, now);
    let stricter = CircuitBreaker { min_requests: 11, window: SECOND(30), ..rate_only() };
    assert_eq!(breaker.reconfigure(&stricter, now), None, "a reload opens nothing");
    let cause = Cause::FailureRate(Tally { failures: 11, total: 11 });
    assert_eq!(attempt(&mut breaker, 503, now), Some(Transition::Opened { cause, penalty: SECOND(1) }));
}

#[test]
fn cb_9_a_reload_cuts_a_penalty_that_is_too_long_and_closes_what_has_passed() {
    let start = Instant::now();
    let mut breaker =
        opened(CircuitBreaker { backoff: Backoff { base: SECOND(60), max: SECOND(60) }, ..config() }, start);
    let short = CircuitBreaker { backoff: Backoff { base: SECOND(1), max: SECOND(2) }, ..config() };
    breaker.reconfigure(&short, start);
    assert_eq!(breaker.next_wakeup(), Some(start + SECOND(3)));

    let three = CircuitBreaker { trial_requests: NonZeroU32::new(3).unwrap(), ..config() };
    let (mut breaker, trial, now) = on_trial(three, start);
    end(&mut breaker, trial, 200, now);
    assert_eq!(breaker.reconfigure(&config(), now), Some(Transition::Closed), "one is enough now");
}

#[test]
fn slow_calls_are_failures_where_configured() {
    let now = Instant::now();
    for (limit, opens) in [(None, false), (Some(MS(101)), false), (Some(MS(100)), true)] {
        let mut breaker = Breaker::new(CircuitBreaker { slow_call_duration: limit, ..config() }, now);
        for outcome in [
            status(200),
            Outcome::Canceled,
            status(302),
            Outcome::Stale,
            status(200),
            status(200),
            status(200),
        ] {
            let permit = permit(&mut breaker, now).unwrap();
            breaker.on_outcome(permit, &outcome, MS(100), now, 0.0);
        }
        assert_eq!(breaker.phase() == Phase::Open, opens, "{limit:?}");
    }
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let start = Instant::now();
    let now = start + SECOND(100);
    let mut breaker = opened(config(), now);
    let Admission::Refused { retry_after } = breaker.admit(start).0 else { panic!("open") };
    assert_eq!(retry_after, SECOND(101));
    let (mut breaker, trial, _) = on_trial(config(), now);
    assert_eq!(end(&mut breaker, trial, 200, start), Some(Transition::Closed));
    attempts(&mut breaker, 6, 503, start);
    assert!(attempt(&mut breaker, 503, start).is_some());
}
