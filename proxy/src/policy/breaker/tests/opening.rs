//! What opens it, and what does not?

use super::*;

proptest! {
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
            let transition = breaker.on_outcome(trial, &outcome, Duration::ZERO, now, || 0.0);
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

    #[test]
    fn ec_1_no_4xx_opens_however_slow(codes in prop::collection::vec(400u16..500, 1..100), took in 0u64..100_000) {
        let now = Instant::now();
        let eager = CircuitBreaker {
            consecutive: Some(NonZeroU32::MIN), min_requests: 1, slow_call_duration: Some(MS(1)), ..config()
        };
        let mut breaker = Breaker::new(eager, now);
        for code in codes {
            let permit = permit(&mut breaker, now).unwrap();
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), MS(took), now, || 0.0), None);
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
            upstream.on_outcome(above, &outcome, Duration::ZERO, now, || 0.0);
            endpoints[n].on_outcome(below, &outcome, Duration::ZERO, now, || 0.0);
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
            breaker.on_outcome(permit, &outcome, MS(100), now, || 0.0);
        }
        assert_eq!(breaker.phase() == Phase::Open, opens, "{limit:?}");
    }
}
