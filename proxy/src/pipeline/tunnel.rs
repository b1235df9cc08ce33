//! What becomes of a connection that shall speak something else? Once both sides agree, octets go both ways until each
//! has ended, nothing moves for too long, or the time is up that the caller gave it.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outrigger_config::model::{Direction, Upgrade};

use super::attempt::Answer;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{http1::write_switch, http2};
use super::up::Up;
use crate::clock::now;
use crate::message::transfer::Passing;
use crate::message::{Framing, ResponseHead, Scratch, Sink, Source, TransferError, Version, poll_transfer};
use crate::policy::outcome::Outcome;
use crate::snapshot::Backend;
use crate::telemetry::Protocol;

/// How an attempt ends whose answer is a tunnel.
const OPENED: Outcome =
    Outcome::Response { status: StatusCode::SWITCHING_PROTOCOLS, retry_after: None, settled_below: false };

/// What the request wants and its policy allows. What is not allowed is left away where the request means something
/// without it (RFC 9110 §7.8).
pub fn wanted<'s>(exchange: &Exchange<'_>, backend: &'s Backend) -> Result<Option<&'s Upgrade>, Failure> {
    let head = &exchange.head;
    let allowed = &*backend.policy.upgrades;
    if head.method == Method::CONNECT {
        let connect = allowed.iter().find(|upgrade| **upgrade == Upgrade::Connect);
        return connect
            .filter(|_| exchange.listener.direction == Direction::Outbound)
            .map(Some)
            .ok_or(Failure::ConnectNotAllowed);
    }
    if !head.upgrade {
        return Ok(None);
    }
    let named = |upgrade: &Upgrade| matches!(upgrade, Upgrade::Protocol(name) if names(&head.headers, name));
    let found = allowed.iter().find(|upgrade| named(upgrade));
    match found.filter(|_| head.framing == Framing::None) {
        // RFC 8441 §4 has no answer that means "as if it had not been asked".
        None if head.version == Version::Http2 => Err(Failure::UpgradeNotAllowed),
        found => Ok(found),
    }
}

/// Whether `Upgrade` lists this protocol.
fn names(headers: &HeaderMap, protocol: &str) -> bool {
    let mut tokens =
        headers.get_all(UPGRADE).iter().flat_map(|value| value.as_bytes().split(|&octet| octet == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(protocol.as_bytes()))
}

/// A server switches to nothing that it was not asked for (RFC 9110 §15.2.2).
pub fn is_asked_for(exchange: &Exchange<'_>, head: &ResponseHead) -> bool {
    matches!(exchange.tunnel, Some(Upgrade::Protocol(protocol)) if names(&head.headers, protocol))
}

/// Whether an answer opens the tunnel that was wanted.
pub fn is_agreed(exchange: &Exchange<'_>, answer: &Answer) -> bool {
    match (exchange.tunnel, &answer.up) {
        (None, _) => false,
        (Some(Upgrade::Connect), _) => true,
        (Some(Upgrade::Protocol(_)), Up::Http1(_)) => answer.head.status == StatusCode::SWITCHING_PROTOCOLS,
        (Some(Upgrade::Protocol(_)), Up::Http2(_)) => answer.head.status.is_success(),
    }
}

/// Opens the tunnel, and serves it to its end.
pub async fn relay(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    answer: Answer,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    let Answer { mut head, mut up, mut load, .. } = answer;
    exchange.keep_alive = false;
    agree(exchange, &mut head, down).map_err(|_| Failure::Canceled)?;
    backend.upstream.metrics.attempt(exchange.worker.id, "success");
    // For the endpoint the attempt is over: what follows is nobody's answer.
    backend.upstream.conclude(&mut load, &OPENED, now);
    if let Up::Http1(conn) = &mut up {
        conn.channel.open_tunnel();
    }
    let mut tunnel = Tunnel { exchange, backend, down, up: &mut up, ways: [Way::Flows; 2], waiting: None };
    let ended = poll_fn(|cx| tunnel.poll(cx)).await;
    // Who reads must not take a break for an end, on either side.
    if let (Err(_), Up::Http1(conn)) = (&ended, &mut up) {
        conn.channel.wire.reset();
    }
    drop(load);
    ended
}

/// Tells the downstream, in its version's words.
fn agree(exchange: &mut Exchange<'_>, head: &mut ResponseHead, down: &mut Down<'_>) -> std::io::Result<()> {
    match down {
        Down::Http1(conn) if exchange.is_opaque() => {
            conn.channel.open_tunnel();
            Ok(())
        }
        Down::Http1(conn) => {
            let connect = exchange.tunnel == Some(&Upgrade::Connect);
            let status = if connect { StatusCode::OK } else { StatusCode::SWITCHING_PROTOCOLS };
            exchange.status = Some(status);
            let metrics = exchange.worker.shared.metrics.downstream(exchange.listener.direction);
            conn.active = Some(metrics.active(exchange.worker.id, Protocol::Tcp));
            write_switch(conn.channel.wire.out(), status, head, exchange);
            conn.channel.open_tunnel();
            Ok(())
        }
        Down::Http2(stream) => {
            exchange.status = Some(StatusCode::OK);
            let mut fields = http2::response(head);
            fields.remove("sec-websocket-accept");
            // Some servers send one with their 101, where it means nothing; here it would bound the tunnel.
            fields.remove(CONTENT_LENGTH);
            stream.answer(StatusCode::OK, fields, false)
        }
    }
}

/// How far one direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// More may come.
    Flows,
    /// All has come and gone; the other side is to be told.
    Ends,
    /// The other side was told.
    Ended,
}

/// A tunnel that is open.
struct Tunnel<'w, 's, 'c> {
    exchange: &'w mut Exchange<'s>,
    backend: &'w Backend,
    down: &'w mut Down<'c>,
    up: &'w mut Up,
    /// Towards the upstream, and towards the downstream.
    ways: [Way; 2],
    /// Octets moved when the wait began, and until when it may last.
    waiting: Option<(u64, Instant)>,
}

impl Tunnel<'_, '_, '_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let exchange = &mut *self.exchange;
        let scratch = &exchange.worker.scratch;
        let [to_up, to_down] = &mut self.ways;
        let moved = (exchange.bytes_in, exchange.bytes_out);
        let (taken, given) = (&mut exchange.bytes_in, &mut exchange.bytes_out);
        let upwards = to_up.poll(cx, scratch, self.down, self.up, taken, Up::poll_end);
        let downwards = to_down.poll(cx, scratch, self.up, self.down, given, Down::poll_end);
        if exchange.is_opaque() {
            // As they pass: a connection may live for days.
            let (received, sent) = (exchange.bytes_in - moved.0, exchange.bytes_out - moved.1);
            exchange.connections().moved(exchange.worker.id, received, sent);
        }
        if let Err(error) = upwards {
            return Poll::Ready(Err(broke(&error, Failure::Canceled, Failure::BrokenBody)));
        }
        if let Err(error) = downwards {
            return Poll::Ready(Err(broke(&error, Failure::BrokenBody, Failure::Canceled)));
        }
        if self.ways == [Way::Ended; 2] {
            return Poll::Ready(Ok(()));
        }
        self.poll_wait(cx)
    }

    /// Neither side moves now: for how long may that be?
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let moved = self.exchange.bytes_in + self.exchange.bytes_out;
        let until = match self.waiting {
            Some((before, until)) if before == moved => until,
            _ => {
                let now = now();
                // Octets that never pause move the alarm on each poll, so it would never be heard.
                self.check(now)?;
                let until = self.limit(now);
                self.wait(moved, until);
                until
            }
        };
        if self.down.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Failure::Canceled));
        }
        loop {
            ready!(self.down.alarm().poll(cx));
            let now = now();
            self.check(now)?;
            if now >= until {
                return Poll::Ready(Err(Failure::BodyIdle));
            }
            // It was woken early, since something is to be looked at.
            self.wait(moved, until);
        }
    }

    fn wait(&mut self, moved: u64, until: Instant) {
        self.waiting = Some((moved, until));
        self.down.alarm().set_idle(until);
    }

    /// Whether it may go on: the caller waits, and both ends are still whom they proved to be.
    fn check(&self, now: Instant) -> Result<(), Failure> {
        let worker = self.exchange.worker;
        if self.is_over(now) {
            return Err(Failure::Deadline);
        }
        let direction = self.exchange.listener.direction;
        if self.exchange.proof.as_ref().is_some_and(|proof| worker.distrusts(direction, proof)) {
            return Err(Failure::Canceled);
        }
        if self.up.proof().is_some_and(|proof| proof.holds().is_err()) {
            return Err(Failure::BrokenBody);
        }
        Ok(())
    }

    fn limit(&self, now: Instant) -> Instant {
        let mut idle = *self.backend.policy.timeouts.idle;
        if !self.exchange.is_opaque() {
            idle = idle.min(self.exchange.snapshot.limits().body_idle_timeout);
        }
        let idle = now + idle;
        self.exchange.deadline.whole.map_or(idle, |whole| whole.min(idle))
    }

    /// The caller waits no longer.
    fn is_over(&self, now: Instant) -> bool {
        self.exchange.deadline.whole.is_some_and(|whole| now >= whole)
    }
}

impl Way {
    /// Moves what can be moved; `end` tells the far side that nothing more comes.
    fn poll<F: Source, T: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        from: &mut F,
        to: &mut T,
        moved: &mut u64,
        end: impl FnOnce(&mut T, &mut Context<'_>) -> Poll<std::io::Result<()>>,
    ) -> Result<(), TransferError> {
        if *self == Self::Flows {
            let count = |passing: Passing<'_>| {
                if let Passing::Data(data) = passing {
                    *moved += data.len() as u64;
                }
            };
            if poll_transfer(cx, scratch, from, to, count)?.is_ready() {
                *self = Self::Ends;
            }
        }
        if *self == Self::Ends && end(to, cx).map_err(TransferError::Sink)?.is_ready() {
            *self = Self::Ended;
        }
        Ok(())
    }
}

/// Whose end broke.
fn broke(error: &TransferError, source: Failure, sink: Failure) -> Failure {
    match error {
        TransferError::Source(_) | TransferError::Malformed(_) => source,
        TransferError::Sink(_) => sink,
    }
}

/// What the downstream of an HTTP/1 connection reads beside the fields of the answer.
pub fn switch_fields(exchange: &Exchange<'_>, head: &ResponseHead) -> Vec<(&'static str, HeaderValue)> {
    let Some(Upgrade::Protocol(protocol)) = exchange.tunnel else { return Vec::new() };
    let mut fields = vec![("connection", HeaderValue::from_static("upgrade"))];
    fields.extend(HeaderValue::from_str(protocol).ok().map(|protocol| ("upgrade", protocol)));
    // RFC 6455 §4.2.2: over HTTP/2 there is no such handshake (RFC 8441 §5), so we are the one who answers it.
    if head.version == Version::Http2 {
        let key = exchange.head.headers.get("sec-websocket-key").map(HeaderValue::as_bytes);
        let accept = key.and_then(|key| HeaderValue::from_str(&crate::http1::websocket::accept(key)).ok());
        fields.extend(accept.map(|accept| ("sec-websocket-accept", accept)));
    }
    fields
}
