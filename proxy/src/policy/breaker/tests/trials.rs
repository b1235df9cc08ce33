//! Who finds out that the target is back?

use super::*;

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
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), SECOND(1), start, || 0.0), None);
        }
        let trial = permit(&mut breaker, later).unwrap();
        for (permit, code) in early {
            prop_assert_eq!(breaker.on_outcome(permit, &status(code), SECOND(1), later, || 0.0), None);
        }
        prop_assert!(permit(&mut breaker, later).is_none(), "the one trial is still out");
        let closed = end(&mut breaker, trial, 200, later);
        prop_assert_eq!(closed, Some(Transition::Closed));
    }
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
                .on_outcome(trial, &status(code), Duration::ZERO, now, || 0.0)
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
        assert_eq!(breaker.on_outcome(trial, &outcome, Duration::ZERO, now, || 0.0), None);
        trial = permit(&mut breaker, now).expect("its place is free again");
        assert!(permit(&mut breaker, now).is_none());
    }
    breaker.cancel(trial);
    assert!(permit(&mut breaker, now).is_some());
}

/// A trial of which a good head has come, and since when.
fn answering(config: CircuitBreaker) -> (Breaker, Permit, Instant) {
    let (mut breaker, mut trial, now) = on_trial(config, Instant::now());
    breaker.on_head(&mut trial, &status(200), Duration::ZERO, now);
    (breaker, trial, now)
}

#[test]
fn cb_4_a_trial_is_judged_by_its_end() {
    for (outcome, phase) in [(status(200), Phase::Closed), (Outcome::Reset { responded: true }, Phase::Open)]
    {
        let (mut breaker, trial, start) = answering(config());
        let now = start + MS(999);
        assert!(permit(&mut breaker, now).is_none(), "it holds its place meanwhile");
        breaker.on_outcome(trial, &outcome, Duration::ZERO, now, || 0.0);
        assert_eq!(breaker.phase(), phase, "{outcome:?}");
    }
}

#[test]
fn cb_4_a_stream_that_lasts_is_proof_enough() {
    let (mut breaker, trial, start) = answering(config());
    let now = start + SECOND(1);
    assert_eq!(breaker.next_wakeup(), Some(now));
    assert!(breaker.would_admit(now));
    assert_eq!(breaker.on_wakeup(now), Some(Transition::Closed));
    let end = Outcome::Reset { responded: true };
    assert_eq!(breaker.on_outcome(trial, &end, Duration::ZERO, now, || 0.0), None, "too late to matter");
}

#[test]
fn cb_4_a_slow_head_is_no_good_one() {
    let slow = CircuitBreaker { slow_call_duration: Some(MS(100)), ..config() };
    let (mut breaker, mut trial, now) = on_trial(slow, Instant::now());
    breaker.on_head(&mut trial, &status(200), MS(100), now);
    assert_eq!(breaker.on_wakeup(now + SECOND(1)), None);
    breaker.on_outcome(trial, &status(200), MS(100), now + SECOND(1), || 0.0);
    assert_eq!(breaker.phase(), Phase::Open);
}

/// Two of three are taken for successes while they stream; when they end, neither counts again.
#[test]
fn cb_4_no_trial_counts_twice() {
    let three = CircuitBreaker { trial_requests: NonZeroU32::new(3).unwrap(), ..config() };
    let (mut breaker, first, start) = answering(three);
    let mut second = permit(&mut breaker, start).expect("three at a time");
    breaker.on_head(&mut second, &status(200), Duration::ZERO, start);
    let now = start + SECOND(1);
    assert_eq!(breaker.on_wakeup(now), None, "two of three");
    let mut third = permit(&mut breaker, now).expect("the third");
    breaker.on_head(&mut third, &status(200), Duration::ZERO, now);
    assert_eq!(end(&mut breaker, first, 200, now), None);
    breaker.cancel(second);
    assert!(permit(&mut breaker, now).is_none(), "the third is still out");
    assert_eq!(end(&mut breaker, third, 200, now), Some(Transition::Closed));
}
