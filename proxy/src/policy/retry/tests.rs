use outrigger_config::model::{Backoff, Origin, RetryBudget, Setting};
use proptest::prelude::*;

use super::*;
use crate::policy::budget::Budget;
use crate::policy::outcome::ConnectFailure;
use crate::policy::outcome::tests::{SILENT, status};

fn built_in<T>(value: T) -> Setting<T> {
    Setting { value, origin: Origin::BuiltIn }
}

fn policy(on: &[RetryCondition], attempts: u32) -> Retry {
    let backoff = Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) };
    Retry {
        on: built_in(on.to_vec()),
        attempts: built_in(attempts),
        backoff: built_in(backoff),
        methods: built_in(vec![Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS]),
        replay_body: built_in(64 * 1024),
    }
}

/// A GET that was sent, at its first attempt, with ten seconds left.
fn standing(now: Instant) -> Standing<'static> {
    Standing {
        method: &Method::GET,
        idempotency_key: false,
        body: Body::Replayable,
        sent: true,
        retries: 0,
        repaired: false,
        now,
        deadline: now + Duration::from_secs(10),
    }
}

/// What follows with a budget that always pays, and the ceiling of the back-off.
fn after(policy: &Retry, standing: &Standing<'_>, outcome: &Outcome) -> Decision {
    decide(policy, standing, outcome, 1.0, || true)
}

/// A response with or without the mark of RT-10.
fn marked(code: u16, settled_below: bool) -> Outcome {
    match status(code) {
        Outcome::Response { status, retry_after, .. } => {
            Outcome::Response { status, retry_after, settled_below }
        }
        silent => silent,
    }
}

fn retried(decision: Decision) -> bool {
    matches!(decision, Decision::Retry { .. })
}

const ALL: [RetryCondition; 7] = [
    RetryCondition::ConnectFailure,
    RetryCondition::Reset,
    RetryCondition::Timeout,
    RetryCondition::GatewayError,
    RetryCondition::ServerError,
    RetryCondition::Retriable4xx,
    RetryCondition::Status(418, 420),
];

/// The conditions as the documentation tells them, one outcome a row.
fn documented(outcome: &Outcome) -> Vec<RetryCondition> {
    use RetryCondition as On;
    match outcome {
        Outcome::Response { status, .. } => match status.as_u16() {
            409 => vec![On::Retriable4xx],
            418..=420 => vec![On::Status(418, 420)],
            502..=504 => vec![On::GatewayError, On::ServerError],
            500..=599 => vec![On::ServerError],
            _ => vec![],
        },
        Outcome::ConnectFailure(_) => vec![On::ConnectFailure, On::GatewayError, On::ServerError],
        Outcome::Reset { responded: false } | Outcome::Stale => {
            vec![On::Reset, On::GatewayError, On::ServerError]
        }
        Outcome::AttemptTimeout => vec![On::Timeout, On::GatewayError, On::ServerError],
        Outcome::Garbage => vec![On::GatewayError, On::ServerError],
        _ => vec![],
    }
}

proptest! {
    /// Whatever the exchange, a retry is one that every rule allows, and a refusal never costs the budget anything.
    #[test]
    fn no_retry_breaks_a_rule(
        outcome in prop_oneof![(100u16..600).prop_map(status), prop::sample::select(SILENT.to_vec())],
        on in prop::sample::subsequence(ALL.to_vec(), 0..=7), attempts in 0u32..=10, retries in 0u32..=11,
        post in any::<bool>(), idempotency_key in any::<bool>(), gone in any::<bool>(), sent in any::<bool>(),
        repaired in any::<bool>(), left in 0u64..600, draw in 0.0..=1.0, pays in any::<bool>(),
    ) {
        let now = Instant::now();
        let policy = policy(&on, attempts);
        let s = Standing {
            method: if post { &Method::POST } else { &Method::GET },
            idempotency_key, sent, retries, repaired, now,
            body: if gone { Body::Gone } else { Body::Replayable },
            deadline: now + Duration::from_millis(left),
        };
        let mut asked = 0;
        let decision = decide(&policy, &s, &outcome, draw, || { asked += 1; pays });
        let repair = outcome == Outcome::Stale && !repaired;
        match decision {
            Decision::Retry { after, fresh } => {
                prop_assert_eq!(asked, 1);
                prop_assert!(pays && now + after < s.deadline && !gone);
                prop_assert!(!post || idempotency_key || !sent);
                prop_assert!(repair || (retries < attempts && documented(&outcome).iter().any(|c| on.contains(c))));
                prop_assert_eq!(fresh, outcome == Outcome::Stale);
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

/// Every status 400–599 and every way to get none, against every condition: retried if and only if listed.
#[test]
fn rt_6_retried_if_and_only_if_listed() {
    let now = Instant::now();
    let s = Standing { repaired: true, ..standing(now) };
    for outcome in (400..600).map(status).chain(SILENT) {
        for condition in ALL {
            let listed = documented(&outcome).contains(&condition);
            assert_eq!(
                retried(after(&policy(&[condition], 1), &s, &outcome)),
                listed,
                "{condition:?} {outcome:?}"
            );
        }
    }
}

#[test]
fn rt_7_customer_errors_are_final() {
    let now = Instant::now();
    let policy =
        policy(&[RetryCondition::ConnectFailure, RetryCondition::Reset, RetryCondition::GatewayError], 1);
    for code in [400, 401, 403, 404, 409, 422, 429] {
        assert_eq!(
            after(&policy, &standing(now), &status(code)),
            Decision::Stop(Refused::NotListed),
            "{code}"
        );
    }
}

#[test]
fn rt_8_a_request_that_may_do_harm_twice_is_sent_once() {
    let now = Instant::now();
    let mut policy = policy(&[RetryCondition::ConnectFailure, RetryCondition::ServerError], 1);
    let post = Standing { method: &Method::POST, ..standing(now) };
    let reset = Outcome::Reset { responded: false };
    let refused = Outcome::ConnectFailure(ConnectFailure::Refused);
    assert_eq!(after(&policy, &post, &reset), Decision::Stop(Refused::NotIdempotent));
    assert_eq!(after(&policy, &post, &status(503)), Decision::Stop(Refused::NotIdempotent));
    assert!(retried(after(&policy, &Standing { idempotency_key: true, ..post }, &reset)));
    assert!(retried(after(&policy, &Standing { sent: false, ..post }, &refused)), "nothing was sent");
    assert!(retried(after(&policy, &Standing { sent: false, ..post }, &reset)), "nothing was sent");
    policy.methods = built_in(vec![Method::POST]);
    assert!(retried(after(&policy, &post, &reset)));
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
    let wait = |millis| Decision::Retry { after: Duration::from_millis(millis), fresh: false };
    assert_eq!(after(1, 0.0), wait(1000));
    assert_eq!(after(1, 1.0), wait(1500));
    assert_eq!(after(0, 1.0), wait(25), "the own back-off still holds");
    assert_eq!(after(11, 0.0), Decision::Stop(Refused::Deadline));
    assert_eq!(after(u64::MAX, 1.0), Decision::Stop(Refused::Deadline));
}

#[test]
fn u_5_a_stale_connection_is_repaired_once_beside_the_attempts() {
    let now = Instant::now();
    let off = policy(&[], 0);
    let repair = Decision::Retry { after: Duration::ZERO, fresh: true };
    assert_eq!(after(&off, &standing(now), &Outcome::Stale), repair);
    let again = Standing { repaired: true, ..standing(now) };
    assert_eq!(after(&off, &again, &Outcome::Stale), Decision::Stop(Refused::NotListed));
    let post = Standing { method: &Method::POST, ..standing(now) };
    assert_eq!(after(&off, &post, &Outcome::Stale), Decision::Stop(Refused::NotIdempotent));
    assert_eq!(after(&off, &Standing { sent: false, ..post }, &Outcome::Stale), repair);
    let broke = decide(&off, &standing(now), &Outcome::Stale, 0.0, || false);
    assert_eq!(broke, Decision::Stop(Refused::Budget), "inside the budget");
}

#[test]
fn labels_are_distinct() {
    let mut labels = Refused::ALL.map(Refused::label).to_vec();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Refused::ALL.len());
}
