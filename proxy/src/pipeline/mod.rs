//! What happens to one request? [`handle`] is its life, in order.

mod answer;
mod at_hand;
mod attempt;
mod authz;
mod cached;
mod connection;
mod down;
mod error;
mod exchange;
mod fallback;
mod fault;
pub mod headers;
mod ids;
mod lease;
mod limits;
mod opaque;
mod pacing;
mod relay;
mod retry;
mod tunnel;
mod up;
mod upload;
mod waiting;

use std::time::Instant;

pub use self::answer::refuse;
pub use self::down::Down;
pub use self::error::Failure;
use self::exchange::Exchange;
use self::fallback::Found;
pub use self::opaque::pass;
use self::upload::Upload;
use crate::message::{Known, RequestHead};
use crate::policy::deadline::Told;
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker::Worker;

/// What becomes of the downstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It may send the next request; idle since then.
    Keep(Instant),
    /// It ends, in order.
    Close,
    /// It ends at once: its answer broke off, and it must see that.
    Abort,
}

/// The life of a request: one snapshot, a route, who may, a deadline, what limits let it have, the cache, attempts, what stands in
/// for them, the answer.
pub async fn handle(
    worker: &Worker,
    snapshot: &Snapshot,
    listener: ListenerId,
    down: &mut Down<'_>,
    head: RequestHead,
) -> After {
    let now = crate::clock::now();
    let caller = (down.ends(), down.proof().cloned());
    let mut exchange = Exchange::begin(worker, snapshot, listener, caller, head, now);
    let after = match carry(&mut exchange, down).await {
        Ok(()) => relay::after(&exchange, down),
        Err(failure) => answer::fail(&mut exchange, down, failure).await,
    };
    exchange.finish(after)
}

/// The way there and back, up to whatever stops it.
async fn carry(exchange: &mut Exchange<'_>, down: &mut Down<'_>) -> Result<(), Failure> {
    exchange.snapshot.settle_path(exchange.listener, &mut exchange.head).map_err(Failure::AmbiguousPath)?;
    let (rule, backend) = exchange.route().ok_or(Failure::NoRoute)?;
    exchange.chosen = Some((rule, backend));
    authz::check(exchange)?;
    if exchange.head.known.has(Known::DEADLINE) {
        exchange.told = Told::read(&exchange.head.headers).map_err(|_| Failure::BadDeadline)?;
    }
    exchange.tunnel = tunnel::wanted(exchange, backend)?;
    exchange.set_deadline(backend);
    exchange.deadline.left(exchange.started).ok_or(Failure::Expired)?;
    let mut admission = limits::admit(exchange, rule, down).await?;
    if let Some(at_hand) = cached::look(exchange, backend, down).await? {
        return at_hand::give(exchange, at_hand, down).await;
    }
    let mut upload = Upload::of(exchange, rule, backend);
    let found = fallback::until_found(exchange, backend, &mut admission, &mut upload, down).await;
    exchange.bytes_in = upload.taken;
    match found? {
        Found::Answer(backend, answer) if tunnel::is_agreed(exchange, &answer) => {
            tunnel::relay(exchange, backend, answer, down).await
        }
        Found::Answer(backend, answer) if cached::is_confirmed(exchange, &answer.head) => {
            let at_hand = cached::confirmed(exchange, backend, &answer.head);
            relay::lay_aside(exchange, backend, answer, upload.is_complete());
            at_hand::give(exchange, at_hand.ok_or(Failure::NotCached)?, down).await
        }
        Found::Answer(backend, answer) => {
            exchange.stays_a_request(backend);
            relay::relay(exchange, backend, upload, answer, down).await
        }
        Found::AtHand(at_hand) => at_hand::give(exchange, at_hand, down).await,
    }
}
