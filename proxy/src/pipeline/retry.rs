//! How often do we try? Attempts, one after the other, until an answer stands or nothing more may be done.

use std::time::{Duration, Instant};

use http::StatusCode;
use smallvec::SmallVec;

use super::attempt::{self, Answer, Attempt};
use super::connection::pause;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::is_settled;
use super::pacing;
use super::relay;
use super::upload::Upload;
use crate::clock::now;
use crate::policy::grpc;
use crate::policy::outcome::{Class, Outcome};
use crate::policy::retry::{Decision, Kind, Refused, Standing, decide};
use crate::snapshot::Backend;
use crate::upstream::endpoint::{Endpoint, InFlight};

/// A hop below is told our deadline in whole milliseconds, rounded down, and so gives up before we do.
const ROUNDING: Duration = Duration::from_millis(2);

/// The answer that stands. Its attempt is counted when its content has ended, all others here.
pub async fn until_answered(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    upload: &mut Upload,
    down: &mut Down<'_>,
) -> Result<Answer, Failure> {
    let mut tried = SmallVec::<[u64; 4]>::new();
    let (mut retries, mut repaired, mut replaced) = (0, false, 0);
    // What is never retried earns nothing, and so takes no lock; a repair of it is paid by the floor.
    if *backend.policy.retry.attempts > 0 {
        backend.upstream.deposit(1, exchange.started);
    }
    loop {
        let load = attempt::pick(exchange, backend, &tried)?;
        let mut ended = attempt::attempt(exchange, backend, upload, down, load, repaired).await;
        let now = now();
        let outcome = classify(&ended, exchange, backend, now);
        upload.sent |= ended.sent;
        tell(exchange, backend, &mut ended, &outcome, now);
        pacing::hear(exchange, backend, &ended, &outcome, retries > 0, now);
        if outcome.class() == Class::Success {
            return ended.result;
        }
        let standing = Standing {
            method: &exchange.head.method,
            idempotency_key: exchange.head.headers.contains_key("idempotency-key"),
            body: upload.body(),
            sent: ended.sent,
            retries,
            repaired,
            replaced,
            closed_off: backend.upstream.is_closed_off(now),
            now,
            deadline: exchange.deadline.head,
        };
        let draw = exchange.worker.rng(fastrand::Rng::f64);
        let decision =
            decide(&backend.policy.retry, &standing, &outcome, draw, || backend.upstream.withdraw(now));
        match decision {
            Decision::Stop(refused) => return stand(exchange, backend, refused, &outcome, ended),
            Decision::Again { kind, after } => {
                backend.upstream.metrics.attempt(exchange.worker.id, outcome.label());
                backend.upstream.metrics.retry(exchange.worker.id, outcome.label());
                match kind {
                    Kind::Retry => {
                        retries += 1;
                        tried.extend(ended.load().map(|load| load.id));
                    }
                    // Where one idle connection was stale, the others may be: one repair is all there is.
                    Kind::Repair => {
                        repaired = true;
                        backend.upstream.metrics.stale_connection(exchange.worker.id);
                    }
                    Kind::Replacement => replaced += 1,
                }
                if let Ok(answer) = ended.result {
                    relay::discard(exchange, backend, answer, upload.is_complete());
                }
                drop(ended.load);
                if !after.is_zero() {
                    pause(exchange, down, now + after).await?;
                }
            }
        }
    }
}

/// Lets all learn from an outcome.
fn tell(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    ended: &mut Attempt,
    outcome: &Outcome,
    now: Instant,
) {
    if let Some(load) = ended.load() {
        backend.upstream.report(load, outcome, exchange.asked, now);
    }
    if *outcome == (Outcome::DeadlineExceeded { fair: false }) {
        // Nor is it evidence to limits that adapt themselves.
        exchange.asked.whole = None;
    }
}

/// No further attempt: the outcome stands, and says so.
fn stand(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    refused: Refused,
    outcome: &Outcome,
    ended: Attempt,
) -> Result<Answer, Failure> {
    if refused != Refused::NotListed {
        backend.upstream.metrics.retry_refused(exchange.worker.id, refused.label());
        exchange.gave_up = refused.settles(outcome) && outcome.class() == Class::System;
        if exchange.gave_up {
            exchange.settle();
        }
    }
    if ended.result.is_err() {
        backend.upstream.metrics.attempt(exchange.worker.id, outcome.label());
    }
    ended.result
}

/// What happened, in the words that breaker, retry and metrics share.
fn classify(ended: &Attempt, exchange: &Exchange<'_>, backend: &Backend, now: Instant) -> Outcome {
    let deadline = |load: Option<&InFlight>| {
        let given = exchange.asked.turn.map(|turn| now.saturating_duration_since(turn));
        let fair = given.zip(load).is_some_and(|(given, load)| had_a_chance(load, backend, given, now));
        Outcome::DeadlineExceeded { fair }
    };
    match &ended.result {
        Ok(answer) => match answered(answer) {
            said if is_of_deadline(&said, exchange, now) => deadline(Some(&answer.load)),
            said => said,
        },
        Err(failure) => match failure {
            Failure::Injected(status) => injected(*status, exchange.grpc),
            Failure::Connect(kind) => Outcome::ConnectFailure(*kind),
            Failure::Reset if ended.stale => Outcome::Stale,
            Failure::Reset => Outcome::Reset { responded: false },
            Failure::Refused => Outcome::Refused,
            Failure::GoneAway { progressed } => Outcome::GoneAway { progressed: *progressed },
            Failure::Garbage(_) => Outcome::Garbage,
            Failure::AttemptTimeout => Outcome::AttemptTimeout,
            Failure::Deadline | Failure::Expired => deadline(ended.load.as_ref()),
            Failure::BrokenBody => Outcome::Reset { responded: true },
            // What the downstream did, or we refused, says nothing about the upstream.
            Failure::Canceled
            | Failure::BadBody(_)
            | Failure::BodyIdle
            | Failure::RateLimit { .. }
            | Failure::CallerLimit
            | Failure::Paced { .. }
            | Failure::Overload
            | Failure::RequestLimit
            | Failure::ConnectionLimit
            | Failure::PendingLimit
            | Failure::Exhausted
            | Failure::BadRequest(_)
            | Failure::SlowHead
            | Failure::ConnectNotAllowed
            | Failure::UpgradeNotAllowed
            | Failure::UpgradeRefused
            | Failure::PlaintextRefused
            | Failure::BadDeadline
            | Failure::AmbiguousPath(_)
            | Failure::Unauthorized
            | Failure::NoRoute
            | Failure::NotCached
            | Failure::NoEndpoint
            | Failure::NoHealthyEndpoint
            | Failure::BreakerOpen { .. } => Outcome::Canceled,
        },
    }
}

/// A hop below has answered because the deadline that it was told is over.
fn is_of_deadline(said: &Outcome, exchange: &Exchange<'_>, now: Instant) -> bool {
    let timed_out = match said {
        Outcome::Response { status, .. } => *status == StatusCode::GATEWAY_TIMEOUT,
        Outcome::Grpc { status, .. } => *status == grpc::Status::DeadlineExceeded,
        _ => false,
    };
    timed_out && exchange.deadline.whole.is_some_and(|at| at.saturating_duration_since(now) < ROUNDING)
}

/// Whether a deadline that ran out says anything about the endpoint that was `given` so much time.
pub fn had_a_chance(load: &Endpoint, backend: &Backend, given: Duration, now: Instant) -> bool {
    load.had_a_chance(given, backend.policy.timeouts.request.limit(), now)
}

/// What an endpoint in whose place we answer is taken to have said.
fn injected(status: StatusCode, grpc: bool) -> Outcome {
    if grpc {
        let status = grpc::Status::of_http(status);
        Outcome::Grpc { status, pushback: None, settled_below: false }
    } else {
        Outcome::Response { status, retry_after: None, settled_below: false }
    }
}

/// What a response head says of the attempt; below 400 only that it succeeded, unless gRPC says otherwise (EC-4).
pub fn answered(answer: &Answer) -> Outcome {
    let settled_below = || is_settled(&answer.head.headers);
    if let Some(failure) = answer.ended.and_then(|ended| ended.failure(settled_below())) {
        return failure;
    }
    let status = answer.head.status;
    let failed = status.as_u16() >= 400;
    Outcome::Response {
        status,
        retry_after: failed.then(|| retry_after(answer)).flatten(),
        settled_below: failed && settled_below(),
    }
}

/// `Retry-After` in either of its forms (RFC 9110 §10.2.3).
fn retry_after(answer: &Answer) -> Option<Duration> {
    let said = answer.head.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    match said.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(said).ok()?.duration_since(std::time::SystemTime::now()).ok(),
    }
}
