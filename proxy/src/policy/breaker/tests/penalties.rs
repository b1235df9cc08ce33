//! For how long is it open?

use super::*;

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
            breaker.on_outcome(permit, &status(503), Duration::ZERO, start, || rng.f64())
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
