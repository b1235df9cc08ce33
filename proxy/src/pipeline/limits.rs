//! May it? A place among the requests in flight.
//!
//! A request has one place among its upstream's, from before its first attempt to the last octet of its answer; its
//! retries go on in it. So what is in flight is bounded by the same number, a retry never waits behind newcomers, and an
//! upstream that fails is not met by more callers while others pause between their attempts.

use std::sync::Arc;

use http::StatusCode;

use super::attempt::Answer;
use super::connection::{Stopped, watched};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use crate::clock::now;
use crate::policy::concurrency::Ended;
use crate::snapshot::Backend;
use crate::upstream::bulkhead::{Bulkhead, Entry, Permit, Turned};

/// A place among the upstream's requests, waited for if need be; `None`: it has no such limit.
pub async fn place(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
) -> Result<Option<Permit>, Failure> {
    match &backend.upstream.requests {
        Some(limit) => enter(limit, exchange, down, Failure::RequestLimit).await.map(Some),
        None => Ok(None),
    }
}

/// Lets a limit that adapts itself see how its request went.
pub fn learn(exchange: &Exchange<'_>, place: Option<&Permit>, answer: &Result<Answer, Failure>) {
    let Some(place) = place.filter(|place| place.adapts()) else { return };
    let now = now();
    let ended = match answer {
        Ok(answer) if is_too_much(answer.head.status) => Ended::TooMuch,
        Ok(_) => Ended::Answered(now.saturating_duration_since(exchange.attempt_began)),
        Err(Failure::AttemptTimeout | Failure::Deadline | Failure::Refused) => Ended::TooMuch,
        Err(_) => return,
    };
    place.ended(ended, now);
}

fn is_too_much(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Waits for a place no longer than the queue allows, nor the deadline, nor the caller.
async fn enter(
    limit: &Arc<Bulkhead>,
    exchange: &mut Exchange<'_>,
    down: &mut Down<'_>,
    full: Failure,
) -> Result<Permit, Failure> {
    let waiting = match limit.enter(exchange.class) {
        Entry::Inside(permit) => return Ok(permit),
        Entry::Refused => return Err(Failure::PendingLimit),
        Entry::Waits(waiting) => waiting,
    };
    let (until, deadline) = (waiting.until, exchange.deadline.head);
    down.alarm().set(until.min(deadline));
    let verdict = watched(exchange, down, waiting).await;
    exchange.attempt_began = now();
    match verdict {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(Turned::Full)) => Err(Failure::PendingLimit),
        Err(Stopped::Rung) if deadline <= until => Err(Failure::Deadline),
        Ok(Err(Turned::Late)) | Err(Stopped::Rung) => Err(full),
        Err(Stopped::Left) => Err(Failure::Canceled),
    }
}
