//! May it, by a limit that all replicas share? Almost always a token is at hand; else the store is waited for, not long.

use std::time::Duration;

use outrigger_config::model::priority::Class;

use super::connection::{Stopped, watched};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::limits::{deny, queue};
use crate::clock::now;
use crate::snapshot::limiter::{Admission, Denial, RateLimiter};
use crate::store::{Purse, Take, Token};

/// How long a request waits for the store before it takes the local share: many times what a store in the same region
/// takes, and little of any caller's deadline.
const PATIENCE: Duration = Duration::from_millis(50);

/// A token of the shared limit, if there is one or will be before the queue's timeout; answers how long that took.
pub async fn token<'s>(
    limiter: &'s RateLimiter,
    exchange: &mut Exchange<'s>,
    down: &mut Down<'_>,
    admission: &mut Admission<'s>,
) -> Result<Duration, Failure> {
    let Some(shared) = &limiter.shared else { return Ok(Duration::ZERO) };
    let (mut turn, mut waited) = (None, Duration::ZERO);
    loop {
        let retry_after = match ask(&shared.purse, exchange, down).await? {
            Ok(token) => {
                let quota = shared.passed(exchange.class, token.left);
                admission.lease(token, Some(quota));
                return Ok(waited);
            }
            Err(retry_after) => retry_after,
        };
        waited = exchange.attempt_began.saturating_duration_since(exchange.started) + retry_after;
        turn = turn.or_else(|| shared.queue());
        let patience = exchange.deadline.head.saturating_duration_since(exchange.started);
        if turn.as_ref().is_none_or(|turn| waited > turn.timeout.min(patience)) {
            return Err(deny(limiter, exchange, Denial::Rate(shared.denied(exchange.class, retry_after))));
        }
        queue(exchange, down, waited).await?;
    }
}

/// The same in a dry run, in which nobody waits: who would have waited for the store counts as let pass.
pub fn look<'s>(
    limiter: &'s RateLimiter,
    exchange: &mut Exchange<'s>,
    class: Class,
    admission: &mut Admission<'s>,
) -> Result<(), Failure> {
    let Some(shared) = &limiter.shared else { return Ok(()) };
    match shared.purse.take(exchange.worker.id, class, exchange.started) {
        Take::Passed(token) => admission.lease(token, None),
        Take::Waits(_) => {}
        Take::Denied { retry_after } => {
            return Err(deny(limiter, exchange, Denial::Rate(shared.denied(class, retry_after))));
        }
    }
    Ok(())
}

/// A token, or when there is one: by what the store says, or if that takes too long by the local share.
async fn ask<'s>(
    purse: &'s Purse,
    exchange: &mut Exchange<'_>,
    down: &mut Down<'_>,
) -> Result<Result<Token<'s>, Duration>, Failure> {
    let (worker, class, began) = (exchange.worker.id, exchange.class, exchange.attempt_began);
    let (by, deadline) = (began + PATIENCE, exchange.deadline.head);
    loop {
        let answered = match purse.take(worker, class, exchange.attempt_began) {
            Take::Passed(token) => return Ok(Ok(token)),
            Take::Denied { retry_after } => return Ok(Err(retry_after)),
            Take::Waits(answered) => answered,
        };
        down.alarm().set(by.min(deadline));
        let stopped = watched(exchange, down, answered).await;
        exchange.attempt_began = now();
        match stopped {
            Ok(()) => {}
            Err(Stopped::Left) => return Err(Failure::Canceled),
            Err(Stopped::Rung) if deadline < by => return Err(Failure::Deadline),
            Err(Stopped::Rung) => purse.give_up(worker, class, exchange.attempt_began),
        }
    }
}
