//! How does an answer that lies ready get back? Whole, at the caller's pace, without any upstream.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::answer::reason;
use super::cached::Visit;
use super::connection::poll_left;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::http1::{push_number, write_persistence, write_status};
use super::headers::{REASON, quota};
use crate::cache::Stored;
use crate::clock::now;
use crate::http1::Encoder;
use crate::http1::encoder::push_field;
use crate::message::transfer::Passing;
use crate::message::{Framing, Piece, Scratch, Sink, Source, TransferError, poll_transfer};
use crate::policy::cacheable::condition;
use crate::policy::grpc;
use crate::snapshot::stand_in::Canned;

/// Octets that are handed over at a time, so that a slow caller has no more of them waiting.
const PIECE: usize = 16 * 1024;

/// An answer that lies ready.
#[derive(Debug)]
pub enum AtHand<'s> {
    /// From the cache, and how old it is.
    Stored(Arc<Stored>, Duration),
    /// The same, but the caller has its content already (RFC 9111 §4.3.2).
    Unmodified(Arc<Stored>, Duration),
    /// Written down in the policy.
    Canned(&'s Canned),
}

impl AtHand<'_> {
    fn status(&self) -> StatusCode {
        match self {
            Self::Stored(stored, _) => stored.status,
            Self::Unmodified(..) => StatusCode::NOT_MODIFIED,
            Self::Canned(canned) => canned.status,
        }
    }

    fn headers(&self) -> &HeaderMap {
        match self {
            Self::Stored(stored, _) | Self::Unmodified(stored, _) => &stored.headers,
            Self::Canned(canned) => &canned.headers,
        }
    }

    /// Those of them that are told.
    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let bare = matches!(self, Self::Unmodified(..));
        self.headers().iter().filter(move |(name, _)| !bare || condition::is_told(name))
    }

    fn content(&self) -> &Bytes {
        match self {
            Self::Stored(stored, _) | Self::Unmodified(stored, _) => &stored.body,
            Self::Canned(canned) => &canned.body,
        }
    }
}

/// Answers with it.
pub async fn give(
    exchange: &mut Exchange<'_>,
    at_hand: AtHand<'_>,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    // Who waits for what the upstream says need not wait for this caller.
    exchange.visit.take().iter_mut().for_each(Visit::give_up);
    exchange.keep_alive &= down.is_done() && !exchange.drains();
    let status = at_hand.status();
    exchange.status = Some(status);
    exchange.grpc_status = grpc::Status::read(at_hand.headers()).filter(|_| exchange.grpc);
    // What a gRPC call ended in is in the head, and nothing follows ("Trailers-Only").
    let whole = if exchange.grpc { Bytes::new() } else { at_hand.content().clone() };
    let length = has_length(status).then_some(whole.len());
    let bodiless = exchange.head.method == Method::HEAD || length.is_none();
    let left = if bodiless { Bytes::new() } else { whole };
    write(exchange, &at_hand, length, left.len(), down)?;
    let (mut content, mut sent, mut waits_since) = (Content { left }, 0, None);
    let idle = exchange.snapshot.limits().body_idle_timeout;
    let result = poll_fn(|cx| {
        let tap = |passing: Passing<'_>| {
            if let Passing::Data(data) = passing {
                sent += data.len() as u64;
            }
        };
        let scratch = &exchange.worker.scratch;
        if let Poll::Ready(done) = poll_transfer(cx, scratch, &mut content, down, tap) {
            return Poll::Ready(done.map_err(|_| Failure::Canceled));
        }
        if waits_since != Some(sent) {
            waits_since = Some(sent);
            down.alarm().set(now() + idle);
        }
        if down.alarm().poll(cx).is_ready() {
            return Poll::Ready(Err(Failure::BodyIdle));
        }
        poll_left(exchange, down, cx).map(|()| Err(Failure::Canceled))
    })
    .await;
    exchange.bytes_out = sent;
    result
}

/// With these a length is an error, or would speak of another answer (RFC 9110 §8.6).
fn has_length(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The head, as the caller's version has it; `follows`: octets behind it.
fn write(
    exchange: &Exchange<'_>,
    at_hand: &AtHand<'_>,
    length: Option<usize>,
    follows: usize,
    down: &mut Down<'_>,
) -> Result<(), Failure> {
    let reason = exchange.fell.map(|fell| reason(exchange, fell.cause));
    let date = match at_hand {
        AtHand::Canned(canned) if !canned.headers.contains_key(DATE) => {
            Some(httpdate::HttpDate::from(std::time::SystemTime::now()).to_string())
        }
        AtHand::Stored(..) | AtHand::Unmodified(..) | AtHand::Canned(_) => None,
    };
    // RFC 9111 §5.1.
    let age = match at_hand {
        AtHand::Stored(_, age) | AtHand::Unmodified(_, age) => Some(age.as_secs()),
        AtHand::Canned(_) => None,
    };
    let kind =
        (exchange.grpc && !at_hand.headers().contains_key(CONTENT_TYPE)).then(|| "application/grpc".into());
    let texts = [(REASON, reason), (DATE, date), (CONTENT_TYPE, kind)];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    match down {
        Down::Http1(conn) => {
            let out = conn.channel.wire.out();
            write_status(out, at_hand.status());
            for (name, value) in at_hand.fields() {
                push_field(out, name.as_str(), value.as_bytes());
            }
            texts.for_each(|(name, text)| push_field(out, name.as_str(), text.as_bytes()));
            if let Some(age) = age {
                push_number(out, AGE.as_str(), age);
            }
            if let Some(length) = length {
                push_number(out, CONTENT_LENGTH.as_str(), length as u64);
            }
            quota::write(out, at_hand.headers(), exchange.quota);
            write_persistence(out, exchange.keep_alive, exchange.head.version);
            out.extend_from_slice(b"\r\n");
            conn.channel.encoder = Encoder::new(Framing::Length(follows as u64));
            Ok(())
        }
        Down::Http2(stream) => {
            let mut fields = HeaderMap::with_capacity(at_hand.headers().len() + 4);
            for (name, value) in at_hand.fields() {
                fields.append(name.clone(), value.clone());
            }
            fields.extend(texts.filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))));
            fields.extend(age.map(|age| (AGE, HeaderValue::from(age))));
            fields.extend(length.map(|length| (CONTENT_LENGTH, HeaderValue::from(length))));
            quota::add(&mut fields, exchange.quota);
            stream.answer(at_hand.status(), fields, follows == 0).map_err(|_| Failure::Canceled)
        }
    }
}

/// Content that is all there.
struct Content {
    left: Bytes,
}

impl Source for Content {
    fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        _: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>> {
        ready!(to.poll_room(cx)).map_err(TransferError::Sink)?;
        let piece = self.left.split_to(self.left.len().min(PIECE));
        tap(Passing::Data(&piece));
        let last = self.left.is_empty();
        let pushed: io::Result<()> = to.push(cx, Piece::Shared(piece), last);
        Poll::Ready(pushed.map_err(TransferError::Sink))
    }
}
