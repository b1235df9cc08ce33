use outrigger_config::model::{Backoff, GrpcStatus, Origin, RetryBudget, Setting};
use proptest::prelude::*;

use super::*;
use crate::policy::budget::Budget;
use crate::policy::grpc::Status;
use crate::policy::outcome::ConnectFailure;
use crate::policy::outcome::tests::{SILENT, grpc, grpc_failures, status};

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
        replaced: 0,
        closed_off: false,
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
    matches!(decision, Decision::Again { .. })
}

/// A further attempt of this kind, after so many milliseconds.
fn again(kind: Kind, millis: u64) -> Decision {
    Decision::Again { kind, after: Duration::from_millis(millis) }
}

const ALL: [RetryCondition; 13] = [
    RetryCondition::ConnectFailure,
    RetryCondition::Reset,
    RetryCondition::Timeout,
    RetryCondition::GatewayError,
    RetryCondition::ServerError,
    RetryCondition::Retriable4xx,
    RetryCondition::Status(418, 420),
    RetryCondition::RefusedStream,
    RetryCondition::Grpc(GrpcStatus::Cancelled),
    RetryCondition::Grpc(GrpcStatus::DeadlineExceeded),
    RetryCondition::Grpc(GrpcStatus::ResourceExhausted),
    RetryCondition::Grpc(GrpcStatus::Internal),
    RetryCondition::Grpc(GrpcStatus::Unavailable),
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
        Outcome::Grpc { status, .. } => match status {
            Status::Cancelled => vec![On::Grpc(GrpcStatus::Cancelled)],
            Status::DeadlineExceeded => vec![On::Grpc(GrpcStatus::DeadlineExceeded)],
            Status::ResourceExhausted => vec![On::Grpc(GrpcStatus::ResourceExhausted)],
            Status::Internal => vec![On::Grpc(GrpcStatus::Internal)],
            Status::Unavailable => vec![On::Grpc(GrpcStatus::Unavailable)],
            _ => vec![],
        },
        Outcome::ConnectFailure(_) => vec![On::ConnectFailure, On::GatewayError, On::ServerError],
        Outcome::Refused | Outcome::GoneAway { .. } => {
            vec![On::RefusedStream, On::Reset, On::GatewayError, On::ServerError]
        }
        Outcome::Reset { responded: false } | Outcome::Stale => {
            vec![On::Reset, On::GatewayError, On::ServerError]
        }
        Outcome::AttemptTimeout => vec![On::Timeout, On::GatewayError, On::ServerError],
        Outcome::Garbage => vec![On::GatewayError, On::ServerError],
        _ => vec![],
    }
}

/// The endpoint did nothing about it, or who wrote the policy means POST.
fn vouched(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused | Outcome::GoneAway { .. } | Outcome::Grpc { .. })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let grpc = (prop::sample::select(Status::ALL.to_vec()), prop::option::of(0u64..1000), any::<bool>())
        .prop_map(|(status, wait, settled_below)| Outcome::Grpc {
            status,
            pushback: wait.map(|wait| match wait {
                0 => Pushback::Never,
                wait => Pushback::After(Duration::from_millis(wait)),
            }),
            settled_below,
        });
    prop_oneof![(100u16..600).prop_map(status), prop::sample::select(SILENT.to_vec()), grpc]
}

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

/// Every status 400–599, every gRPC status and every way to get none, against every condition: retried if and only if listed.
#[test]
fn rt_6_retried_if_and_only_if_listed() {
    let now = Instant::now();
    let s = Standing { repaired: true, replaced: 64, ..standing(now) };
    for outcome in (400..600).map(status).chain(SILENT).chain(grpc_failures()) {
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

#[test]
fn rt_8_what_nobody_began_with_may_be_sent_again_whatever_it_is() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::RefusedStream], 1);
    let post = Standing { method: &Method::POST, ..standing(now) };
    let gone = Standing { body: Body::Gone, ..post };
    for (outcome, kind) in [
        (Outcome::Refused, Kind::Retry),
        (Outcome::GoneAway { progressed: true }, Kind::Replacement),
        (Outcome::GoneAway { progressed: false }, Kind::Repair),
    ] {
        let decision = decide(&policy, &post, &outcome, 0.0, || true);
        assert_eq!(decision, again(kind, 0), "{outcome:?}");
        assert_eq!(after(&policy, &gone, &outcome), Decision::Stop(Refused::BodyGone), "{outcome:?}");
    }
}

/// Each gRPC call is a POST: the status that is listed decides, not the method.
#[test]
fn rt_8_a_grpc_status_that_is_listed_is_retried_although_it_was_a_post() {
    let now = Instant::now();
    let policy = policy(&[RetryCondition::Grpc(GrpcStatus::Unavailable), RetryCondition::ServerError], 1);
    let post = Standing { method: &Method::POST, ..standing(now) };
    let unavailable = grpc(Status::Unavailable);
    assert!(retried(after(&policy, &post, &unavailable)));
    assert_eq!(after(&policy, &post, &status(503)), Decision::Stop(Refused::NotIdempotent));
    assert_eq!(after(&policy, &post, &grpc(Status::Internal)), Decision::Stop(Refused::NotListed));
    let gone = Standing { body: Body::Gone, ..post };
    assert_eq!(after(&policy, &gone, &unavailable), Decision::Stop(Refused::BodyGone));
}

/// RFC 9113 §6.8: an endpoint that leaves every 50 requests costs neither attempts nor budget, and yet there is an end.
#[test]
fn u_16_what_goaway_left_undone_is_replaced_beside_attempts_and_budget() {
    let now = Instant::now();
    let left = Outcome::GoneAway { progressed: true };
    let broke = |on: &[RetryCondition], replaced, draw| {
        decide(&policy(on, 0), &Standing { replaced, ..standing(now) }, &left, draw, || false)
    };
    for replaced in 0..64 {
        let millis = if replaced < 3 { 0 } else { 10 };
        assert_eq!(broke(&[], replaced, 1.0), again(Kind::Replacement, millis), "{replaced}");
        assert_eq!(broke(&[], replaced, 0.0), again(Kind::Replacement, 0), "{replaced}");
    }
    assert_eq!(broke(&ALL, 64, 0.0), Decision::Stop(Refused::NotListed), "attempts: 0");
    let after_that = Standing { replaced: 64, ..standing(now) };
    let listed = policy(&[RetryCondition::RefusedStream], 1);
    assert_eq!(after(&listed, &after_that, &left), again(Kind::Retry, 25));
    let late = Standing { deadline: now, ..standing(now) };
    assert_eq!(after(&listed, &late, &left), Decision::Stop(Refused::Deadline));
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

#[test]
fn u_5_a_stale_connection_is_repaired_once_beside_the_attempts() {
    let now = Instant::now();
    let off = policy(&[], 0);
    let repair = again(Kind::Repair, 0);
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
