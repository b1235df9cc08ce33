mod beside;
mod bounds;
mod conditions;

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
