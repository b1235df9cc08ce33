//! What does another policy change, and what does a dry run decide?

use super::*;

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
                    transitions.extend(breaker.on_outcome(
                        permit,
                        &status(code),
                        Duration::ZERO,
                        now,
                        || 0.3,
                    ));
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
