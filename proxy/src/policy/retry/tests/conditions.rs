//! Which failures are tried again, and which requests?

use super::*;

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

#[test]
fn labels_are_distinct() {
    let mut labels = Refused::ALL.map(Refused::label).to_vec();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Refused::ALL.len());
}
