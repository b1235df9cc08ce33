//! What stands in for an upstream that failed? The chain of a rule, in order, within the one deadline.
//!
//! A step is taken if what has gone wrong last is among its conditions, and if it can help at all: a cache that has
//! nothing, a stub that a gRPC caller cannot read, the very upstream that failed, or another for which no time or no
//! content is left, is passed over. What another upstream answers is judged in turn, so that the chain goes on behind it;
//! it is asked like the first one, with its own limits, budget and policy, and can be flooded no more than by its own
//! traffic.

use std::sync::Arc;

use outrigger_config::model::{FallbackCondition, Mode};

use super::at_hand::AtHand;
use super::attempt::Answer;
use super::cached::{self, Visit};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::limits;
use super::pacing;
use super::relay;
use super::retry::{self, answered};
use super::upload::Upload;
use crate::clock::now;
use crate::policy::grpc;
use crate::policy::outcome::{Class, ConnectFailure, TlsFailure};
use crate::policy::retry::Body;
use crate::snapshot::Backend;
use crate::snapshot::limiter::Admission;
use crate::snapshot::stand_in::{Canned, Chain, StandIn, Step};
use crate::telemetry::Flag;

/// What the caller gets.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one, and a box would be an allocation a request"
)]
pub enum Found<'s> {
    /// What an upstream answered.
    Answer(&'s Backend, Answer),
    /// What lies ready.
    AtHand(AtHand<'s>),
}

/// What stood in, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fell {
    /// What stood in, as metrics call it.
    pub kind: &'static str,
    /// The same, as a cause in `x-outrigger-reason`.
    pub cause: &'static str,
    /// The cause of what it stood in for.
    pub instead_of: &'static str,
    /// The flag of that.
    pub flag: Flag,
}

/// The answer of the chosen upstream, or of what stands in for it.
pub async fn until_found<'s>(
    exchange: &mut Exchange<'s>,
    backend: &'s Backend,
    admission: &mut Admission<'_>,
    upload: &mut Upload,
    down: &mut Down<'_>,
) -> Result<Found<'s>, Failure> {
    let ended = ask(exchange, backend, admission, upload, down).await;
    match exchange.chosen.and_then(|(rule, _)| rule.fallback.as_ref()) {
        // Who is to have a tunnel wants a peer: nothing else will do. An `Upgrade` that the policy does not allow was left
        // away, and makes no difference (RFC 9110 §7.8).
        Some(chain) if exchange.tunnel.is_none() => {
            along(chain, exchange, (backend, ended), admission, upload, down).await
        }
        _ => ended.map(|answer| Found::Answer(backend, answer)),
    }
}

/// Asks an upstream, whether it is the first or stands in, by its own policy: its pace, a place among its requests, then attempts.
pub async fn ask(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    admission: &mut Admission<'_>,
    upload: &mut Upload,
    down: &mut Down<'_>,
) -> Result<Answer, Failure> {
    pacing::turn(exchange, backend, down).await?;
    limits::place(exchange, backend, down, admission).await?;
    let answer = retry::until_answered(exchange, backend, upload, down).await;
    limits::learn(exchange, admission, &answer);
    answer
}

/// Goes along the chain for as long as something is wrong.
async fn along<'s>(
    chain: &'s Chain,
    exchange: &mut Exchange<'s>,
    (mut backend, mut ended): (&'s Backend, Result<Answer, Failure>),
    admission: &mut Admission<'_>,
    upload: &mut Upload,
    down: &mut Down<'_>,
) -> Result<Found<'s>, Failure> {
    for step in &chain.steps {
        let Some(trouble) = Trouble::of(exchange, &ended) else { break };
        let Some(help) =
            help(exchange, backend, step, upload).filter(|_| step.on.iter().any(|on| trouble.is(*on)))
        else {
            continue;
        };
        let (kind, cause) = words(&step.with);
        chain.metrics.fallback(exchange.worker.id, kind, step.mode);
        if step.mode == Mode::DryRun {
            continue;
        }
        exchange.fell = Some(Fell { kind, cause, instead_of: trouble.cause, flag: trouble.flag });
        lay_aside(exchange, backend, ended, upload);
        admission.vacate();
        // Whoever waits for what this upstream brings would wait for what stands in.
        exchange.visit.iter_mut().for_each(Visit::give_up);
        match help {
            Help::AtHand(at_hand) => return Ok(Found::AtHand(at_hand)),
            Help::Ask(other) => {
                exchange.gave_up = false;
                exchange.chosen = exchange.chosen.map(|(rule, _)| (rule, other));
                backend = other;
                // On the heap, so that requests without it have no larger future.
                ended = Box::pin(ask(exchange, backend, admission, upload, down)).await;
            }
        }
    }
    ended.map(|answer| Found::Answer(backend, answer))
}

/// What a step has for a request.
enum Help<'s> {
    AtHand(AtHand<'s>),
    Ask(&'s Backend),
}

/// `None`: the step is of no use to this request.
fn help<'s>(exchange: &Exchange<'s>, failed: &Backend, step: &'s Step, upload: &Upload) -> Option<Help<'s>> {
    match &step.with {
        StandIn::Stale => cached::stale(exchange).map(Help::AtHand),
        StandIn::Canned { answer, .. } => {
            is_readable(exchange, answer).then_some(Help::AtHand(AtHand::Canned(answer)))
        }
        StandIn::Backend(other) => {
            let repeatable = exchange.head.headers.contains_key("idempotency-key")
                || other.policy.retry.methods.contains(&exchange.head.method);
            // Of several backends of a rule it may be the one that was chosen; to ask that again is for `retry` to decide.
            let another = !Arc::ptr_eq(&other.upstream, &failed.upstream);
            let in_time = exchange.deadline.left(now()).is_some();
            let sendable = upload.body() == Body::Replayable && (repeatable || !upload.sent);
            (another && in_time && sendable).then_some(Help::Ask(other))
        }
    }
}

/// A gRPC caller understands only what says how the call ended.
fn is_readable(exchange: &Exchange<'_>, answer: &Canned) -> bool {
    !exchange.grpc || answer.headers.contains_key(grpc::STATUS)
}

/// What a step is called: by metrics, and in `x-outrigger-reason`.
fn words(with: &StandIn) -> (&'static str, &'static str) {
    match with {
        StandIn::Stale => ("stale", "fallback-stale"),
        StandIn::Backend(_) => ("backend", "fallback-backend"),
        StandIn::Canned { degraded: false, .. } => ("static", "fallback-static"),
        StandIn::Canned { degraded: true, .. } => ("degrade", "fallback-degrade"),
    }
}

/// Counts what is not passed on; relay or answer would have done it.
fn lay_aside(exchange: &Exchange<'_>, backend: &Backend, ended: Result<Answer, Failure>, upload: &Upload) {
    match ended {
        Ok(answer) => {
            backend.upstream.metrics.attempt(exchange.worker.id, answered(&answer).label());
            relay::discard(exchange, backend, answer, upload.is_complete());
        }
        Err(failure) => exchange.count_failure(failure),
    }
}

/// What is wrong with an answer, or with there being none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trouble {
    is: &'static [FallbackCondition],
    cause: &'static str,
    flag: Flag,
}

impl Trouble {
    /// `None`: nothing that anything could stand in for. A status below 500 is the caller's own doing.
    fn of(exchange: &Exchange<'_>, ended: &Result<Answer, Failure>) -> Option<Self> {
        match ended {
            Ok(answer) if answered(answer).class() == Class::System => {
                let flag = if exchange.gave_up { Flag::UpstreamRetryLimit } else { Flag::None };
                Some(Self { is: &[FallbackCondition::ServerError], cause: "upstream-failure", flag })
            }
            Ok(_) => None,
            // Whoever set that deadline has left.
            Err(Failure::Deadline) if is_callers(exchange) => None,
            Err(failure) => {
                let (is, cause, flag) = (conditions(*failure), failure.cause(), failure.flag());
                (!is.is_empty()).then_some(Self { is, cause, flag })
            }
        }
    }

    fn is(self, on: FallbackCondition) -> bool {
        on == FallbackCondition::Any || self.is.contains(&on)
    }
}

fn is_callers(exchange: &Exchange<'_>) -> bool {
    exchange.told.shortest().is_some_and(|told| now().saturating_duration_since(exchange.started) >= told)
}

/// By which conditions a failure goes; by none: it is not the upstream's, or too late.
fn conditions(failure: Failure) -> &'static [FallbackCondition] {
    use FallbackCondition as On;
    match failure {
        Failure::Connect(ConnectFailure::TimedOut | ConnectFailure::Tls(TlsFailure::TimedOut)) => {
            &[On::ConnectFailure, On::Timeout]
        }
        Failure::Connect(ConnectFailure::Refused | ConnectFailure::Unreachable | ConnectFailure::Tls(_)) => {
            &[On::ConnectFailure]
        }
        Failure::Reset
        | Failure::Refused
        | Failure::GoneAway { .. }
        | Failure::Garbage(_)
        | Failure::UpgradeRefused => &[On::Reset],
        Failure::AttemptTimeout | Failure::Deadline => &[On::Timeout],
        Failure::NoEndpoint | Failure::NoHealthyEndpoint => &[On::NoEndpoint],
        Failure::BreakerOpen { .. } => &[On::BreakerOpen],
        Failure::RequestLimit
        | Failure::ConnectionLimit
        | Failure::PendingLimit
        | Failure::Exhausted
        | Failure::Paced { .. } => &[On::Limit],
        Failure::Injected(status) if status.is_server_error() => &[On::ServerError],
        Failure::Injected(_)
        | Failure::BadRequest(_)
        | Failure::SlowHead
        | Failure::BadBody(_)
        | Failure::ConnectNotAllowed
        | Failure::UpgradeNotAllowed
        | Failure::PlaintextRefused
        | Failure::BadDeadline
        | Failure::AmbiguousPath(_)
        | Failure::Unauthorized
        | Failure::NoRoute
        | Failure::RateLimit { .. }
        | Failure::CallerLimit
        | Failure::Overload
        | Failure::Expired
        | Failure::NotCached
        | Failure::BodyIdle
        | Failure::BrokenBody
        | Failure::Canceled => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HeadError;

    #[test]
    fn fb_6_what_a_caller_did_is_nobodys_failure() {
        let callers = [
            Failure::NoRoute,
            Failure::RateLimit { retry_after: 1 },
            Failure::CallerLimit,
            Failure::Overload,
            Failure::Canceled,
            Failure::BadDeadline,
            Failure::Unauthorized,
            Failure::Expired,
            Failure::BodyIdle,
            Failure::BadRequest(HeadError::Syntax),
        ];
        assert!(callers.into_iter().all(|failure| conditions(failure).is_empty()));
    }

    #[test]
    fn fb_6_any_failure_of_an_upstream_is_any() {
        let theirs = [
            (Failure::Reset, FallbackCondition::Reset),
            (Failure::AttemptTimeout, FallbackCondition::Timeout),
            (Failure::Connect(ConnectFailure::TimedOut), FallbackCondition::Timeout),
            (Failure::Connect(ConnectFailure::TimedOut), FallbackCondition::ConnectFailure),
            (Failure::NoEndpoint, FallbackCondition::NoEndpoint),
            (Failure::NoHealthyEndpoint, FallbackCondition::NoEndpoint),
            (Failure::BreakerOpen { retry_after: 1 }, FallbackCondition::BreakerOpen),
            (Failure::PendingLimit, FallbackCondition::Limit),
            (Failure::RequestLimit, FallbackCondition::Limit),
            (Failure::ConnectionLimit, FallbackCondition::Limit),
            (Failure::Paced { retry_after: 1 }, FallbackCondition::Limit),
        ];
        for (failure, on) in theirs {
            let trouble = Trouble { is: conditions(failure), cause: failure.cause(), flag: failure.flag() };
            assert!(trouble.is(on) && trouble.is(FallbackCondition::Any), "{failure:?}");
            assert!(!trouble.is(FallbackCondition::ServerError), "{failure:?}");
        }
    }
}
