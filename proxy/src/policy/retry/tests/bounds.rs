//! How often, how soon, and when not at all?

use super::*;

proptest! {
    /// Whatever the exchange, a further attempt is one that every rule allows, and a refusal never costs the budget
    /// anything.
    #[test]
    fn no_retry_breaks_a_rule(
        outcome in any_outcome(), on in prop::sample::subsequence(ALL.to_vec(), 0..=ALL.len()),
        attempts in 0u32..=10, retries in 0u32..=11, replaced in 0u32..=70,
        post in any::<bool>(), idempotency_key in any::<bool>(), gone in any::<bool>(), sent in any::<bool>(),
        repaired in any::<bool>(), closed_off in any::<bool>(), left in 0u64..600, draw in 0.0..=1.0, pays in any::<bool>(),
    ) {
        let now = Instant::now();
        let policy = policy(&on, attempts);
        let s = Standing {
            method: if post { &Method::POST } else { &Method::GET },
            idempotency_key, sent, retries, repaired, replaced, closed_off, now,
            body: if gone { Body::Gone } else { Body::Replayable },
            deadline: now + Duration::from_millis(left),
        };
        let mut asked = 0;
        let decision = decide(&policy, &s, &outcome, draw, || { asked += 1; pays });
        match decision {
            Decision::Again { kind, after } => {
                prop_assert!(now + after < s.deadline && !gone && !closed_off);
                prop_assert!(!post || idempotency_key || !sent || vouched(&outcome));
                prop_assert_eq!(asked, u32::from(kind != Kind::Replacement));
                prop_assert!(asked == 0 || pays);
                match kind {
                    Kind::Retry => {
                        prop_assert!(retries < attempts && documented(&outcome).iter().any(|c| on.contains(c)));
                        prop_assert!(after >= outcome.asked_wait().unwrap_or_default());
                    }
                    Kind::Repair => {
                        let closed = [Outcome::Stale, Outcome::GoneAway { progressed: false }];
                        prop_assert!(closed.contains(&outcome) && !repaired && after.is_zero());
                    }
                    Kind::Replacement => {
                        prop_assert!(replaced < 64 && after <= Duration::from_millis(10));
                        prop_assert_eq!(outcome, Outcome::GoneAway { progressed: true });
                    }
                }
            }
            Decision::Stop(Refused::Budget) => prop_assert!(asked == 1 && !pays),
            Decision::Stop(_) => prop_assert_eq!(asked, 0),
        }
    }
}

#[test]
fn rt_1_attempts_are_counted() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::ServerError], 2);
    let decisions =
        [0, 1, 2].map(|retries| after(&policy, &Standing { retries, ..standing(now) }, &status(503)));
    assert!(retried(decisions[0]) && retried(decisions[1]));
    assert_eq!(decisions[2], Decision::Stop(Refused::Exhausted));
}

#[test]
fn rt_4_no_attempt_starts_at_or_after_the_deadline() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::ServerError], 3);
    let at = |millis| {
        let deadline = now + Duration::from_millis(millis);
        after(&policy, &Standing { deadline, ..standing(now) }, &status(503))
    };
    assert!(retried(at(26)));
    assert_eq!(at(25), Decision::Stop(Refused::Deadline));
    assert_eq!(at(0), Decision::Stop(Refused::Deadline));
}

#[test]
fn rt_5_an_endpoint_that_leaves_without_any_work_done_makes_no_storm() {
    let now = Instant::now();
    let (off, left) = (policy(&[], 0), Outcome::GoneAway { progressed: false });
    assert_eq!(after(&off, &standing(now), &left), again(Kind::Repair, 0));
    let again = Standing { repaired: true, ..standing(now) };
    assert_eq!(after(&off, &again, &left), Decision::Stop(Refused::NotListed));
    let broke = decide(&off, &standing(now), &left, 0.0, || false);
    assert_eq!(broke, Decision::Stop(Refused::Budget), "inside the budget");
}

/// A→B→C→D, each hop with two retries and a budget of its own, D always failing: the hop next to the failure retries.
#[test]
fn rt_10_hops_do_not_multiply() {
    fn hop(depth: usize, now: Instant, budgets: &mut [Budget], leaf: &mut u32) -> Outcome {
        if depth == budgets.len() {
            *leaf += 1;
            return status(503);
        }
        budgets[depth].deposit(1, now);
        let policy = policy(&[RetryCondition::ServerError], 2);
        for retries in 0.. {
            let outcome = hop(depth + 1, now, budgets, leaf);
            let s = Standing { retries, ..standing(now) };
            if let Decision::Stop(why) = decide(&policy, &s, &outcome, 0.0, || budgets[depth].withdraw(now)) {
                return marked(503, why.settles(&outcome));
            }
        }
        unreachable!()
    }
    let start = Instant::now();
    let config = RetryBudget { percent: 0.2, interval: Duration::from_secs(10), min_rate: 0.0 };
    let mut budgets = vec![Budget::new(&config, start); 3];
    let mut leaf = 0;
    for n in 0..10_000 {
        hop(0, start + Duration::from_millis(2 * n), &mut budgets, &mut leaf);
    }
    assert!((11_900..=12_000).contains(&leaf), "{leaf} instead of 10 000");
}

#[test]
fn rt_10_a_mark_is_passed_on_by_hops_that_never_retry() {
    let now = Instant::now();
    for (policy, why) in [(policy(&[], 0), Refused::NotListed), (policy(&ALL, 2), Refused::SettledBelow)] {
        assert_eq!(after(&policy, &standing(now), &marked(503, true)), Decision::Stop(why));
        assert!(why.settles(&marked(503, true)));
    }
    assert!(!Refused::NotListed.settles(&marked(503, false)));
    let grpc = Outcome::Grpc { status: Status::Unavailable, pushback: None, settled_below: true };
    assert_eq!(after(&policy(&ALL, 2), &standing(now), &grpc), Decision::Stop(Refused::SettledBelow));
    assert!(Refused::NotListed.settles(&grpc));
}

#[test]
fn rt_13_retry_after_is_waited_for_if_it_fits() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::ServerError], 1);
    let Outcome::Response { status, .. } = status(503) else { unreachable!() };
    let asks = |secs| Outcome::Response {
        status,
        retry_after: Some(Duration::from_secs(secs)),
        settled_below: false,
    };
    let after = |secs, draw| decide(&policy, &standing(now), &asks(secs), draw, || true);
    let wait = |millis| again(Kind::Retry, millis);
    assert_eq!(after(1, 0.0), wait(1000));
    assert_eq!(after(1, 1.0), wait(1500));
    assert_eq!(after(0, 1.0), wait(25), "the own back-off still holds");
    assert_eq!(after(11, 0.0), Decision::Stop(Refused::Deadline));
    assert_eq!(after(u64::MAX, 1.0), Decision::Stop(Refused::Deadline));
}

#[test]
fn rt_13_grpc_pushback_is_waited_for_if_it_fits_and_heard_if_it_forbids() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::Grpc(GrpcStatus::Unavailable)], 1);
    let says = |pushback| {
        let outcome =
            Outcome::Grpc { status: Status::Unavailable, pushback: Some(pushback), settled_below: false };
        after(&policy, &standing(now), &outcome)
    };
    let wait = |millis| says(Pushback::After(Duration::from_millis(millis)));
    assert_eq!((wait(0), wait(1000)), (again(Kind::Retry, 25), again(Kind::Retry, 1500)));
    assert_eq!(wait(10_000), Decision::Stop(Refused::Deadline));
    assert_eq!(says(Pushback::Never), Decision::Stop(Refused::PushedBack));
    assert!(Refused::PushedBack.settles(&grpc(Status::Unavailable)), "nor do hops above retry");
}
