//! May it? Rate limits first, then a place among the requests in flight.
//!
//! A request has one place among its upstream's, from before its first attempt to the last octet of its answer; its
//! retries go on in it. So what is in flight is bounded by the same number, a retry never waits behind newcomers, and an
//! upstream that fails is not met by more callers while others pause between their attempts.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use outrigger_config::model::PeerIdentity;
use outrigger_config::model::priority::Class;

use super::attempt::{Answer, refused};
use super::connection::{Stopped, pause, watched};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::lease;
use crate::clock::now;
use crate::policy::concurrency::Ended;
use crate::policy::grpc;
use crate::snapshot::limiter::{Admission, Caller, Denial, RateLimiter};
use crate::snapshot::{Backend, Rule, request};
use crate::upstream::bulkhead::{Bulkhead, Entry, Permit, Turned, Waiting};

/// What the policies that concern it let it have; nothing is spent where one of them says no.
pub async fn admit<'s>(
    exchange: &mut Exchange<'s>,
    rule: &Rule,
    down: &mut Down<'_>,
) -> Result<Admission<'s>, Failure> {
    let mut admission = Admission::default();
    exchange.class = rule.priority.unwrap_or_default();
    let limiters = &exchange.snapshot.limiters;
    if limiters.is_empty() {
        return Ok(admission);
    }
    if rule.priority.is_none() {
        // What a dry run would call it is nobody else's business.
        let mut acting = limiters.iter().filter(|limiter| limiter.acts() && concerns(limiter, exchange));
        exchange.class = acting.find_map(|limiter| class(limiter, exchange)).unwrap_or_default();
    }
    for limiter in limiters {
        if concerns(limiter, exchange)
            && let Err(failure) = pass(limiter, exchange, rule, down, &mut admission).await
        {
            admission.refund();
            return Err(failure);
        }
    }
    exchange.quota = admission.quota();
    if admission.overflowed() {
        exchange.worker.shared.metrics.limit_exceeded(exchange.worker.id, "rate-limit-keys");
    }
    Ok(admission)
}

/// A place among the upstream's requests, waited for if need be; not before an upstream that takes nobody.
pub async fn place(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
    admission: &mut Admission<'_>,
) -> Result<(), Failure> {
    if let Some(limit) = &backend.upstream.requests {
        let why = [Failure::PendingLimit, Failure::RequestLimit];
        admission.ask(enter(limit, exchange, Some(backend), down, why).await?);
    }
    Ok(())
}

/// Lets limits that adapt themselves see how their request went.
pub fn learn(exchange: &Exchange<'_>, admission: &mut Admission<'_>, answer: &Result<Answer, Failure>) {
    if !admission.adapts() {
        return;
    }
    let now = now();
    // A caller takes its time over its content, and where that still flows, the upstream has not had its turn.
    let ended = match (answer, exchange.asked.whole) {
        (Ok(answer), _) if is_too_much(answer) => Ended::TooMuch,
        (Ok(_), Some(sent)) => Ended::Answered(now.saturating_duration_since(sent)),
        (Err(Failure::Refused), _) | (Err(Failure::AttemptTimeout | Failure::Deadline), Some(_)) => {
            Ended::TooMuch
        }
        _ => return,
    };
    admission.ended(ended, now);
}

/// In HTTP's words or in gRPC's.
fn is_too_much(answer: &Answer) -> bool {
    let ended = answer.ended.map(|ended| ended.status);
    matches!(answer.head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        || matches!(ended, Some(grpc::Status::ResourceExhausted | grpc::Status::Unavailable))
}

fn concerns(limiter: &RateLimiter, exchange: &Exchange<'_>) -> bool {
    let head = &exchange.head;
    limiter.concerns(exchange.listener.direction, &request(head.host(), head))
}

fn class(limiter: &RateLimiter, exchange: &Exchange<'_>) -> Option<Class> {
    limiter.class(&request(exchange.head.host(), &exchange.head))
}

/// One policy's say. What it decides is counted; whether that changes anything is up to its mode.
async fn pass<'s>(
    limiter: &'s RateLimiter,
    exchange: &mut Exchange<'s>,
    rule: &Rule,
    down: &mut Down<'_>,
    admission: &mut Admission<'s>,
) -> Result<(), Failure> {
    let class = match rule.priority {
        None if !limiter.acts() => class(limiter, exchange).unwrap_or(exchange.class),
        _ => exchange.class,
    };
    let draw = exchange.worker.rng(fastrand::Rng::f64);
    let times = (exchange.started, exchange.deadline.head);
    let taken = limiter.take(&caller(exchange), class, times, draw, admission);
    let decided = match taken {
        Ok(wait) => {
            let entered = if limiter.acts() {
                enter_all(limiter, exchange, down, admission, wait).await
            } else {
                look(limiter, exchange, class, admission).map(|()| wait)
            };
            entered.inspect_err(|_| limiter.turned_away())
        }
        Err(denial) => Err(deny(limiter, exchange, denial)),
    };
    let decision = match decided {
        Ok(Duration::ZERO) => "allowed",
        Ok(_) => "queued",
        Err(Failure::RateLimit { .. }) => "denied-rate",
        Err(Failure::CallerLimit) => "denied-caller",
        Err(Failure::Overload) => "denied-overload",
        // It left, or its time was up: nobody denied it anything.
        Err(_) => "abandoned",
    };
    limiter.metrics.decided(exchange.worker.id, decision);
    match decided {
        Err(failure) if limiter.acts() => {
            exchange.denied_by = Some(limiter.config.name.as_str());
            Err(failure)
        }
        _ => Ok(()),
    }
}

/// Who asks, as far as limits tell callers apart.
fn caller<'e>(exchange: &'e Exchange<'_>) -> Caller<'e> {
    let identity = exchange.identity().map(PeerIdentity::as_str);
    Caller { source: exchange.peer.ip(), identity, headers: &exchange.head.headers }
}

/// All that may have to be waited for; answers how long its token made it wait.
async fn enter_all<'s>(
    limiter: &'s RateLimiter,
    exchange: &mut Exchange<'s>,
    down: &mut Down<'_>,
    admission: &mut Admission<'s>,
    wait: Duration,
) -> Result<Duration, Failure> {
    queue(exchange, down, wait).await?;
    let wait = wait.max(lease::token(limiter, exchange, down, admission).await?);
    in_flight(limiter, exchange, down, admission).await?;
    Ok(wait)
}

/// Why, and what the caller is told of it.
pub(super) fn deny<'s>(limiter: &RateLimiter, exchange: &mut Exchange<'s>, denial: Denial<'s>) -> Failure {
    match denial {
        Denial::Rate(quota) => {
            if limiter.acts() {
                exchange.quota = Some(quota);
            }
            let wait = quota.fields.retry_after.unwrap_or(1);
            Failure::RateLimit { retry_after: u32::try_from(wait).unwrap_or(u32::MAX) }
        }
        Denial::Caller => Failure::CallerLimit,
        Denial::Share => Failure::Overload,
    }
}

/// Waits until so long after the request came: then there is a token for it.
pub(super) async fn queue(
    exchange: &mut Exchange<'_>,
    down: &mut Down<'_>,
    wait: Duration,
) -> Result<(), Failure> {
    if wait.is_zero() {
        return Ok(());
    }
    // Not beyond its deadline: a token that comes later was denied.
    let waited = pause(exchange, down, exchange.started + wait).await;
    exchange.attempt_began = now();
    waited
}

/// A place among the requests in flight under a policy.
async fn in_flight(
    limiter: &RateLimiter,
    exchange: &mut Exchange<'_>,
    down: &mut Down<'_>,
    admission: &mut Admission<'_>,
) -> Result<(), Failure> {
    let Some(places) = &limiter.places else { return Ok(()) };
    admission.hold(enter(places, exchange, None, down, [Failure::Overload; 2]).await?);
    Ok(())
}

/// The same in a dry run, in which nobody waits.
fn look<'s>(
    limiter: &'s RateLimiter,
    exchange: &mut Exchange<'s>,
    class: Class,
    admission: &mut Admission<'s>,
) -> Result<(), Failure> {
    lease::look(limiter, exchange, class, admission)?;
    if let Some(places) = &limiter.places {
        admission.hold(places.try_enter(class).ok_or(Failure::Overload)?);
    }
    Ok(())
}

/// A place, waited for if need be, and if the `backend` whose place it is takes anybody.
async fn enter(
    limit: &Arc<Bulkhead>,
    exchange: &mut Exchange<'_>,
    backend: Option<&Backend>,
    down: &mut Down<'_>,
    why: [Failure; 2],
) -> Result<Permit, Failure> {
    let nothing_else = |_: &mut Context<'_>| Poll::<Infallible>::Pending;
    let entry = limit.enter(exchange.class, None);
    if let Entry::Inside(permit) = entry {
        return Ok(permit);
    }
    // Asked by one that is in the queue already: who opens a breaker after this finds it there.
    if let Some(backend) = backend
        && let Some(refusal) = backend.upstream.refusal(now())
    {
        return Err(refused(exchange, backend, backend.upstream.refused(refusal)));
    }
    let Entry::Waits(waiting) = entry else { return Err(why[0]) };
    match wait(waiting, exchange, backend, down, why, nothing_else).await? {
        Got::Place(permit) => Ok(permit),
        Got::Other(never) => match never {},
    }
}

/// What one that waited got.
#[derive(Debug)]
pub enum Got<T> {
    /// The place that it waited for.
    Place(Permit),
    /// Something as good.
    Other(T),
}

/// Waits for a place, or for `other`, no longer than the queue allows, nor the deadline, nor the caller, nor a `backend` that
/// takes nobody any more. `why` not: the queue is full, or it took too long.
pub async fn wait<T>(
    mut waiting: Waiting,
    exchange: &mut Exchange<'_>,
    backend: Option<&Backend>,
    down: &mut Down<'_>,
    why: [Failure; 2],
    mut other: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<Got<T>, Failure> {
    let ([full, late], until, deadline) = (why, waiting.until, exchange.deadline.head);
    down.alarm().set(until.min(deadline));
    let either = poll_fn(|cx| match Pin::new(&mut waiting).poll(cx) {
        Poll::Ready(Err(turned)) => Poll::Ready(Err(turned)),
        place => match other(cx) {
            Poll::Ready(other) => Poll::Ready(Ok(Got::Other(other))),
            Poll::Pending => place.map(|place| place.map(Got::Place)),
        },
    });
    let verdict = watched(exchange, down, either).await;
    exchange.attempt_began = now();
    match verdict {
        Ok(Ok(got)) => Ok(got),
        Ok(Err(Turned::Full)) => Err(full),
        Ok(Err(Turned::Shut(refusal))) => {
            Err(backend.map_or(full, |backend| refused(exchange, backend, backend.upstream.refused(refusal))))
        }
        Err(Stopped::Rung) if deadline <= until => Err(Failure::Deadline),
        Ok(Err(Turned::Late)) | Err(Stopped::Rung) => Err(late),
        Err(Stopped::Left) => Err(Failure::Canceled),
    }
}
