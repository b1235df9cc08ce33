//! How does the answer get back? Streamed, while what is left of the request's content still flows the other way.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::After;
use super::answer::reason;
use super::attempt::{Answer, Ended};
use super::cached;
use super::connection::poll_left;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::fault::Faulty;
use super::headers::{REASON, http1, http2, is_settled, kept_for, quota};
use super::retry::{answered, had_a_chance};
use super::up::Up;
use super::upload::{Upload, UploadError};
use crate::cache::Recording;
use crate::clock::now;
use crate::http1::Encoder;
use crate::http1::encoder::push_field;
use crate::message::transfer::Passing;
use crate::message::{Framing, ResponseHead, Sink, Source, TransferError, Version, poll_transfer};
use crate::policy::grpc;
use crate::policy::outcome::Outcome;
use crate::snapshot::Backend;
use crate::upstream::endpoint::InFlight;
use crate::upstream::pool::Client;

/// Passes an answer on, to its last byte.
pub async fn relay(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    mut upload: Upload,
    answer: Answer,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    let said = answered(&answer);
    let Answer { mut head, mut up, ended, mut load } = answer;
    // To who asked for a tunnel over HTTP/2, this would look like one (RFC 8441 §4).
    if exchange.head.upgrade && exchange.head.version == Version::Http2 && head.status.is_success() {
        report(exchange, backend, &mut load, (said, said), None);
        return Err(Failure::UpgradeRefused);
    }
    upload.forget();
    // Who answers an upload early with an error, or without having asked for it, doesn't want the rest.
    if !upload.is_complete() && (head.status.as_u16() >= 400 || upload.is_gated()) {
        exchange.keep_alive = false;
    }
    exchange.keep_alive &= !exchange.drains();
    exchange.status = Some(head.status);
    let mark = mark(exchange, &head);
    let mut recording = cached::recording(exchange, backend, &head);
    let kept_for = kept_for(&head);
    let streams = exchange.deadline.whole.is_some() && head.headers.get(CONTENT_TYPE).is_some_and(are_events);
    if let Err(failure) = answer_with(exchange, &mut head, mark, down) {
        let outcome = broke_off(exchange, backend, (&head, &load), (failure, None)).unwrap_or(said);
        report(exchange, backend, &mut load, (said, outcome), None);
        return Err(failure);
    }
    let mut relay = Relay {
        faulty: Faulty::of(exchange),
        exchange,
        backend,
        upload: &mut upload,
        up: &mut up,
        down,
        recorded: &mut recording,
        streams,
        ended,
        waiting: None,
        silence: None,
    };
    let result = poll_fn(|cx| relay.poll(cx)).await;
    let (silence, ended) = (relay.silence, relay.ended.or_else(|| unsaid(exchange, result)));
    exchange.bytes_in = upload.taken;
    exchange.grpc_status = ended.map(|ended| ended.status);
    let outcome = match result {
        Err(failure) if ended.is_none() => {
            broke_off(exchange, backend, (&head, &load), (failure, silence)).unwrap_or(said)
        }
        _ => ended.and_then(|ended| ended.failure(false)).unwrap_or(said),
    };
    report(exchange, backend, &mut load, (said, outcome), silence);
    result?;
    if let Some(recording) = recording {
        recording.finish();
    }
    if let Up::Http1(mut conn) = up
        && head.keep_alive
        && upload.is_complete()
    {
        conn.kept_for = kept_for;
        give_back(exchange, backend, &load, conn);
    }
    exchange.worker.scratch.recycle(head.headers);
    Ok(())
}

/// Events are no content that ends (WHATWG HTML §9.2). Parameters and case change nothing (RFC 9110 §8.3.1).
fn are_events(content_type: &HeaderValue) -> bool {
    let kind = content_type.as_bytes().split(|&octet| octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// What it says of the endpoint that its answer broke off; `None`: nothing, so the head stands. In `silence` there was room
/// for more, and none came.
fn broke_off(
    exchange: &Exchange<'_>,
    backend: &Backend,
    (head, load): (&ResponseHead, &InFlight),
    (failure, silence): (Failure, Option<Duration>),
) -> Option<Outcome> {
    // By intent: events, and whatever gRPC method it is.
    let pauses = exchange.grpc || head.headers.get(CONTENT_TYPE).is_some_and(are_events);
    match (failure, silence) {
        (Failure::BrokenBody, _) => Some(Outcome::Reset { responded: true }),
        (Failure::AttemptTimeout, Some(_)) => Some(Outcome::AttemptTimeout),
        (Failure::BodyIdle, Some(_)) if !pauses => Some(Outcome::AttemptTimeout),
        (Failure::Deadline, Some(silence)) if !pauses => {
            Some(Outcome::DeadlineExceeded { fair: had_a_chance(load, backend, silence, now()) })
        }
        // A gRPC call has succeeded when it says so, not before.
        _ => exchange.grpc.then_some(Outcome::Canceled),
    }
}

/// The head, as the downstream's version has it.
fn answer_with(
    exchange: &mut Exchange<'_>,
    head: &mut ResponseHead,
    mark: Option<String>,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    match down {
        Down::Http1(conn) => {
            let framing = downstream_framing(head.framing, exchange);
            let out = conn.channel.wire.out();
            http1::write_response(out, head, framing, exchange);
            if let Some(mark) = mark {
                push_field(out, REASON.as_str(), mark.as_bytes());
            }
            quota::write(out, &head.headers, exchange.quota);
            out.extend_from_slice(b"\r\n");
            conn.channel.encoder = Encoder::new(framing);
            Ok(())
        }
        Down::Http2(stream) => {
            let mut fields = http2::response(head);
            fields.extend(mark.and_then(|mark| Some((REASON, mark.try_into().ok()?))));
            quota::add(&mut fields, exchange.quota);
            let ended = head.framing == Framing::None;
            stream.answer(head.status, fields, ended).map_err(|_| Failure::Canceled)
        }
    }
}

/// A gRPC call that went well says so at its end: who hears nothing takes it for UNKNOWN, whatever the head promised.
fn unsaid(exchange: &Exchange<'_>, result: Result<(), Failure>) -> Option<Ended> {
    let status = exchange.status.filter(|status| exchange.grpc && result.is_ok() && status.is_success())?;
    Some(Ended { status: grpc::Status::of_http(status), pushback: None })
}

/// The attempt is over: counted once, and held for or against its endpoint. What it has `said` by its head it was told
/// then.
fn report(
    exchange: &Exchange<'_>,
    backend: &Backend,
    load: &mut InFlight,
    (said, outcome): (Outcome, Outcome),
    silence: Option<Duration>,
) {
    if outcome != said {
        load.on_outcome(&outcome, silence, now());
    }
    backend.upstream.conclude(load, &outcome, now);
    backend.upstream.metrics.attempt(exchange.worker.id, outcome.label());
}

/// What becomes of the downstream connection when all went well.
pub fn after(exchange: &Exchange<'_>, down: &Down<'_>) -> After {
    if exchange.keep_alive && down.is_done() && !exchange.drains() {
        After::Keep(exchange.started)
    } else {
        After::Close
    }
}

/// An answer that another stands in for, though nothing is wrong with it.
pub fn lay_aside(exchange: &Exchange<'_>, backend: &Backend, mut answer: Answer, upload_complete: bool) {
    let outcome = answered(&answer);
    backend.upstream.conclude(&mut answer.load, &outcome, now);
    backend.upstream.metrics.attempt(exchange.worker.id, outcome.label());
    discard(exchange, backend, answer, upload_complete);
}

/// An answer that a retry makes superfluous: its connection may still be good.
pub fn discard(exchange: &Exchange<'_>, backend: &Backend, answer: Answer, upload_complete: bool) {
    let Answer { head, up: Up::Http1(mut conn), load, .. } = answer else { return };
    let channel = &mut conn.channel;
    let ahead = channel.wire.ahead().to_vec();
    let mut rest = &ahead[..];
    while let Ok(crate::http1::Chunk::Data(_)) = channel.decoder.decode(&mut rest) {}
    let read = ahead.len() - rest.len();
    channel.wire.consume(read);
    if channel.is_done() && head.keep_alive && upload_complete {
        conn.kept_for = kept_for(&head);
        give_back(exchange, backend, &load, conn);
    }
}

/// A connection goes back only if both messages ended where they should: what follows is nobody's answer.
fn give_back(exchange: &Exchange<'_>, backend: &Backend, load: &InFlight, conn: Box<Client>) {
    let wire = &conn.channel.wire;
    if wire.is_flushed() && wire.ahead().is_empty() && !wire.is_eof() {
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
        (Framing::Chunked | Framing::UntilClose, Version::Http11 | Version::Http2) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
            exchange.keep_alive = false;
            Framing::UntilClose
        }
        (Framing::None | Framing::Length(_), _) => framing,
    }
}

/// Tells the hops above that retries are done with (RT-10), and people why the answer is what it is.
fn mark(exchange: &mut Exchange<'_>, head: &ResponseHead) -> Option<String> {
    if let Some(fell) = exchange.fell {
        Some(reason(exchange, fell.cause))
    } else if exchange.gave_up && !is_settled(&head.headers) {
        Some(reason(exchange, "upstream-failure"))
    } else if head.status.is_server_error() && !is_settled(&head.headers) && exchange.is_settled_below() {
        exchange.gave_up = true;
        Some(reason(exchange, "settled-below"))
    } else {
        None
    }
}

/// An answer under way.
struct Relay<'w, 's, 'c> {
    exchange: &'w mut Exchange<'s>,
    backend: &'w Backend,
    upload: &'w mut Upload,
    up: &'w mut Up,
    down: &'w mut Down<'c>,
    /// What of it is kept.
    recorded: &'w mut Option<Box<Recording>>,
    /// What is wrong with it on purpose.
    faulty: Option<Box<Faulty>>,
    streams: bool,
    /// What a gRPC call has ended in.
    ended: Option<Ended>,
    /// `None`: has not had to wait yet.
    waiting: Option<Pause>,
    /// For how long nothing had come when a clock rang, though the upstream had all it needed and there was room.
    silence: Option<Duration>,
}

/// A time in which neither side moves.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// Octets moved before.
    moved: u64,
    since: Instant,
}

impl Relay<'_, '_, '_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let scratch = &self.exchange.worker.scratch;
        if !self.upload.is_complete() {
            match self.upload.poll(cx, scratch, self.down, self.up) {
                Poll::Ready(Err(UploadError::Left)) => return Poll::Ready(Err(Failure::Canceled)),
                Poll::Ready(Err(UploadError::Malformed(error))) => {
                    return Poll::Ready(Err(Failure::BadBody(error)));
                }
                Poll::Ready(Ok(()) | Err(UploadError::Refused)) | Poll::Pending => {}
            }
        }
        let (bytes_out, ended, grpc) = (&mut self.exchange.bytes_out, &mut self.ended, self.exchange.grpc);
        let recorded = &mut *self.recorded;
        let tap = |passing: Passing<'_>| match passing {
            Passing::Data(data) => {
                *bytes_out += data.len() as u64;
                if let Some(recording) = recorded {
                    recording.add(data);
                }
            }
            Passing::Trailers(trailers) if grpc => *ended = Ended::read(trailers),
            // They have no place in what is kept.
            Passing::Trailers(_) => {
                if let Some(recording) = recorded {
                    recording.give_up();
                }
            }
        };
        let moved = match &mut self.faulty {
            Some(fault) => poll_transfer(cx, scratch, &mut fault.over(self.up), self.down, tap),
            None => poll_transfer(cx, scratch, self.up, self.down, tap),
        };
        match moved {
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
        if self.waiting.is_none_or(|pause| pause.moved != moved) {
            let now = now();
            let at = self.limit(now);
            self.waiting = Some(Pause { moved, since: now });
            // Content that never pauses moves the alarm on each poll, so it would never be heard.
            if at <= now {
                return Poll::Ready(Err(self.cut(cx, now)));
            }
            self.down.alarm().set(at);
        }
        if self.down.alarm().poll(cx).is_ready() {
            return Poll::Ready(Err(self.cut(cx, now())));
        }
        poll_left(self.exchange, self.down, cx).map(|()| Err(Failure::Canceled))
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

    /// A clock has rung: which one, and who was waited for?
    fn cut(&mut self, cx: &mut Context<'_>, now: Instant) -> Failure {
        let has_room = matches!(self.down.poll_room(cx), Poll::Ready(Ok(())));
        let upstreams_turn = self.upload.is_complete() && has_room;
        let pause = self.waiting.filter(|_| upstreams_turn);
        self.silence = pause.map(|pause| now.saturating_duration_since(pause.since));
        if self.whole().is_some_and(|at| now >= at) {
            Failure::Deadline
        } else if self.attempt().is_some_and(|at| now >= at) {
            Failure::AttemptTimeout
        } else {
            Failure::BodyIdle
        }
    }
}
