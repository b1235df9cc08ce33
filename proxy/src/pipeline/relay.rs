//! How does the answer get back? Streamed, while what is left of the request's content still flows the other way.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use http::StatusCode;

use super::After;
use super::answer::reason;
use super::attempt::Answer;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{is_settled, kept_for, write_response};
use super::retry::answered;
use super::upload::{Upload, UploadError};
use crate::clock::now;
use crate::http1::encoder::push_field;
use crate::http1::{ClientConn, Encoder, Framing, ServerConn, TransferError, Version, poll_transfer};
use crate::policy::outcome::Outcome;
use crate::snapshot::Backend;
use crate::upstream::endpoint::InFlight;

/// Passes an answer on, to its last byte.
pub async fn relay(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    mut upload: Upload,
    answer: Answer,
    down: &mut ServerConn,
) -> Result<(), Failure> {
    let outcome = answered(&answer);
    let Answer { head, mut conn, load } = answer;
    upload.forget();
    let framing = downstream_framing(head.framing, exchange);
    // Who answers an upload early with an error, or without having asked for it, doesn't want the rest.
    if !upload.is_complete() && (head.status.as_u16() >= 400 || upload.is_gated()) {
        exchange.keep_alive = false;
    }
    exchange.keep_alive &= !exchange.drains();
    exchange.status = Some(head.status);
    write_response(down.wire.out(), &head, framing, exchange);
    write_mark(down.wire.out(), &head.headers, exchange);
    down.wire.out().extend_from_slice(b"\r\n");
    down.encoder = Encoder::new(framing);
    conn.kept_for = kept_for(&head);
    let streams = exchange.deadline.whole.is_some()
        && head.headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let mut relay =
        Relay { exchange, backend, upload: &mut upload, conn: &mut conn, down, streams, waiting: None };
    let result = poll_fn(|cx| relay.poll(cx)).await;
    exchange.bytes_in = upload.taken;
    report(exchange, backend, &load, outcome, result);
    result?;
    if head.keep_alive && upload.is_complete() {
        give_back(exchange, backend, &load, conn);
    }
    exchange.worker.scratch.recycle(head.headers);
    Ok(())
}

/// The attempt is over: counted once, and an endpoint that broke off its answer is told.
fn report(
    exchange: &Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    answered: Outcome,
    result: Result<(), Failure>,
) {
    let outcome = match result {
        Err(Failure::BrokenBody) => Outcome::Reset { responded: true },
        Err(Failure::AttemptTimeout) => Outcome::AttemptTimeout,
        _ => answered,
    };
    if outcome != answered {
        let now = now();
        load.on_outcome(&outcome, now.saturating_duration_since(exchange.attempt_began), now);
    }
    backend.upstream.metrics.attempt(exchange.worker.id, outcome.label());
}

/// What becomes of the downstream connection when all went well.
pub fn after(exchange: &Exchange<'_>, down: &ServerConn) -> After {
    if exchange.keep_alive && down.decoder.is_done() && !exchange.drains() {
        After::Keep(exchange.started)
    } else {
        After::Close
    }
}

/// An answer that a retry makes superfluous: its connection may still be good.
pub fn discard(exchange: &Exchange<'_>, backend: &Backend, answer: Answer, upload_complete: bool) {
    let Answer { head, mut conn, load } = answer;
    let ahead = conn.wire.ahead().to_vec();
    let mut rest = &ahead[..];
    while let Ok(crate::http1::Chunk::Data(_)) = conn.decoder.decode(&mut rest) {}
    let read = ahead.len() - rest.len();
    conn.wire.consume(read);
    if conn.decoder.is_done() && head.keep_alive && upload_complete {
        conn.kept_for = kept_for(&head);
        give_back(exchange, backend, &load, conn);
    }
}

/// A connection goes back only if both messages ended where they should: what follows is nobody's answer.
fn give_back(exchange: &Exchange<'_>, backend: &Backend, load: &InFlight, conn: Box<ClientConn>) {
    if conn.wire.is_flushed() && conn.wire.ahead().is_empty() && !conn.wire.is_eof() {
        exchange.worker.pools.give(
            &exchange.worker.scratch,
            load,
            &backend.upstream.config.limits,
            conn,
            now(),
        );
    }
}

/// HTTP/1.0 has no chunked coding: there, content of unknown length ends with the connection.
fn downstream_framing(framing: Framing, exchange: &mut Exchange<'_>) -> Framing {
    match (framing, exchange.head.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
            exchange.keep_alive = false;
            Framing::UntilClose
        }
        (Framing::None | Framing::Length(_), _) => framing,
    }
}

/// Tells the hops above that retries are done with (RT-10), and people why the answer is what it is.
fn write_mark(out: &mut Vec<u8>, headers: &http::HeaderMap, exchange: &mut Exchange<'_>) {
    let status = exchange.status.unwrap_or(StatusCode::OK);
    if exchange.gave_up && !is_settled(headers) {
        push_field(out, "x-outrigger-reason", reason(exchange, "upstream-failure").as_bytes());
    } else if status.is_server_error() && !is_settled(headers) && exchange.is_settled_below() {
        exchange.gave_up = true;
        push_field(out, "x-outrigger-reason", reason(exchange, "settled-below").as_bytes());
    }
}

/// An answer under way.
struct Relay<'w, 's> {
    exchange: &'w mut Exchange<'s>,
    backend: &'w Backend,
    upload: &'w mut Upload,
    conn: &'w mut ClientConn,
    down: &'w mut ServerConn,
    streams: bool,
    /// Octets moved when the wait began, and when it ends; `None`: has not had to wait yet.
    waiting: Option<(u64, Instant)>,
}

impl Relay<'_, '_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let scratch = &self.exchange.worker.scratch;
        if !self.upload.is_complete() {
            match self.upload.poll(cx, scratch, self.down, self.conn) {
                Poll::Ready(Err(UploadError::Left)) => return Poll::Ready(Err(Failure::Canceled)),
                Poll::Ready(Err(UploadError::Malformed(error))) => {
                    return Poll::Ready(Err(Failure::BadBody(error)));
                }
                Poll::Ready(Ok(()) | Err(UploadError::Refused)) | Poll::Pending => {}
            }
        }
        let bytes_out = &mut self.exchange.bytes_out;
        let from = (&mut self.conn.wire, &mut self.conn.decoder);
        let to = (&mut self.down.wire, &mut self.down.encoder);
        match poll_transfer(cx, scratch, from, to, |data| *bytes_out += data.len() as u64) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(TransferError::Sink(_))) => Poll::Ready(Err(Failure::Canceled)),
            Poll::Ready(Err(TransferError::Source(_) | TransferError::Malformed(_))) => {
                Poll::Ready(Err(Failure::BrokenBody))
            }
            Poll::Pending => self.poll_wait(cx),
        }
    }

    /// Neither side moves now: for how long may that be?
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let moved = self.exchange.bytes_out + self.upload.taken;
        if self.waiting.is_none_or(|(before, _)| before != moved) {
            let now = now();
            let at = self.limit(now);
            // Content that never pauses moves the alarm on each poll, so it would never be heard.
            if at <= now {
                return Poll::Ready(Err(self.why(now)));
            }
            self.waiting = Some((moved, at));
            self.down.alarm.set(at);
        }
        if self.down.alarm.poll(cx).is_ready() {
            return Poll::Ready(Err(self.why(now())));
        }
        if self.down.decoder.is_done() {
            let may_half_close = !self.exchange.head.keep_alive;
            let gone = self.down.poll_gone(cx, &self.exchange.worker.scratch, may_half_close);
            return gone.map(|()| Err(Failure::Canceled));
        }
        Poll::Pending
    }

    /// The first of the clocks that still run.
    fn limit(&self, now: Instant) -> Instant {
        let timeouts = &self.backend.policy.timeouts;
        let idle = now + (*timeouts.idle).min(self.exchange.snapshot.limits().body_idle_timeout);
        [self.whole(), self.attempt()].into_iter().flatten().fold(idle, Instant::min)
    }

    /// The exchange's deadline, where it covers content: a stream is bounded by `idle` alone.
    fn whole(&self) -> Option<Instant> {
        self.exchange.deadline.whole.filter(|_| !self.streams)
    }

    fn attempt(&self) -> Option<Instant> {
        self.backend.policy.timeouts.backend_request.map(|limit| self.exchange.attempt_began + limit)
    }

    fn why(&self, now: Instant) -> Failure {
        if self.whole().is_some_and(|at| now >= at) {
            Failure::Deadline
        } else if self.attempt().is_some_and(|at| now >= at) {
            Failure::AttemptTimeout
        } else {
            Failure::BodyIdle
        }
    }
}
