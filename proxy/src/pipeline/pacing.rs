//! Is it this request's turn? It waits for the pace that its upstream's answers ask for, and its own answer is heard.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::attempt::{Answer, Attempt};
use super::connection::pause;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use crate::clock::now;
use crate::policy::grpc;
use crate::policy::outcome::Outcome;
use crate::policy::pacing::told::{Heard, Quota};
use crate::snapshot::Backend;
use crate::upstream::pacing::Pacing;

/// Waits for the request's turn, no longer than the policy lets it, nor the deadline, nor the caller.
pub async fn turn(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    let Some(pacing) = &backend.upstream.pacing else { return Ok(()) };
    wait(pacing, exchange, down).await
}

async fn wait(pacing: &Pacing, exchange: &mut Exchange<'_>, down: &mut Down<'_>) -> Result<(), Failure> {
    let came = now();
    let Some(mut turn) = pacing.enter(exchange.worker.id, came).map_err(denied)? else { return Ok(()) };
    let (until, deadline) = (came + pacing.patience(), exchange.deadline.head);
    loop {
        let now = now();
        exchange.attempt_began = now;
        // The pace may have changed since it was told how long.
        let wait = turn.wait(now);
        if wait.is_zero() {
            return Ok(());
        }
        if now >= deadline {
            return Err(Failure::Deadline);
        }
        if now >= until {
            return Err(denied(wait));
        }
        pause(exchange, down, (now + wait).min(until).min(deadline)).await?;
    }
}

fn denied(wait: Duration) -> Failure {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
    Failure::Paced { retry_after: seconds.max(1) }
}

/// What an attempt's answer says of the pace. `again`: the attempt was a retry.
pub fn hear(
    exchange: &Exchange<'_>,
    backend: &Backend,
    ended: &Attempt,
    outcome: &Outcome,
    again: bool,
    now: Instant,
) {
    if let (Some(pacing), Ok(answer)) = (&backend.upstream.pacing, &ended.result) {
        pacing.hear(&heard(answer, outcome), again, exchange.attempt_began, now);
    }
}

fn heard(answer: &Answer, outcome: &Outcome) -> Heard {
    let head = &answer.head;
    let exhausted = answer.ended.is_some_and(|ended| ended.status == grpc::Status::ResourceExhausted);
    let refused = head.status == StatusCode::TOO_MANY_REQUESTS || exhausted;
    // A 503 speaks of one endpoint, which retries and ejection see to: it must not hold back the calls to all.
    let wait = outcome.asked_wait().filter(|_| refused);
    Heard { quota: Quota::read(&head.headers), refused, wait }
}
