//! What do we answer ourselves? A status, the reason for machines and people, and nothing that could be taken for the
//! application's.

use std::fmt::Write;
use std::future::poll_fn;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::After;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::http1::{write_persistence, write_status};
use super::headers::{REASON, quota};
use crate::http1::encoder::push_field;
use crate::http1::server::LINGER;
use crate::message::{Sink, Source, Version};
use crate::policy::grpc;

/// Tells the downstream of a failure, as far as it can still be told.
pub async fn fail(exchange: &mut Exchange<'_>, down: &mut Down<'_>, failure: Failure) -> After {
    exchange.failure = Some(failure);
    match exchange.visit.take() {
        // Who waits for what this request would have brought may go in its place.
        Some(mut visit) if failure != Failure::Canceled => visit.give_up(),
        _ => {}
    }
    exchange.grpc_status = exchange.grpc.then(|| failure.grpc_status());
    if failure == Failure::Canceled {
        return After::Abort;
    }
    let reason = reason(exchange, failure.cause());
    if exchange.status.is_some() {
        return break_off(exchange, down, failure, &reason).await;
    }
    exchange.keep_alive &= down.is_done() && !exchange.drains();
    let mut answer = Answer::of(failure, &reason, exchange.grpc, exchange.head.method == Method::HEAD);
    quota::add(&mut answer.fields, exchange.quota);
    exchange.status = Some(answer.status);
    exchange.bytes_out = answer.content.as_ref().map_or(0, |content| content.len() as u64);
    answer.write(down, (exchange.keep_alive, exchange.head.version));
    // Nobody would write the rest while the next request is awaited.
    if send(down).await && exchange.keep_alive { After::Keep(exchange.started) } else { After::Close }
}

/// Refuses what is not even a request.
pub fn refuse(down: &mut Down<'_>, failure: Failure) {
    let reason = format!("{}; route=-; policy=-", failure.cause());
    Answer::of(failure, &reason, false, false).write(down, (false, Version::Http11));
}

/// The value of `x-outrigger-reason`; says for what something stood in, and bears `attempts=` once retries are done with
/// (RT-10).
pub fn reason(exchange: &Exchange<'_>, cause: &str) -> String {
    let (route, rule) = exchange.chosen.map_or(("-", "-"), |(rule, _)| (&*rule.route, &*rule.name));
    let policy = exchange.denied_by.unwrap_or(rule);
    let mut reason = format!("{cause}; route={route}; policy={policy}");
    if exchange.failure == Some(Failure::Unauthorized) {
        let _ = write!(reason, "; rule={}", exchange.denied_rule.unwrap_or("-"));
    }
    if let Some(fell) = exchange.fell {
        let _ = write!(reason, "; instead-of={}", fell.instead_of);
    }
    if exchange.injected.is_some() {
        reason.push_str("; injected");
    }
    if exchange.gave_up {
        let _ = write!(reason, "; attempts={}", exchange.attempts);
    }
    reason
}

/// A head has gone out already: to break off is all that is left to say. But gRPC says its status last.
async fn break_off(exchange: &Exchange<'_>, down: &mut Down<'_>, failure: Failure, reason: &str) -> After {
    if exchange.grpc && down.finish(Some(&grpc_status(failure, reason))).is_ok() && send(down).await {
        return After::Close;
    }
    After::Abort
}

/// What a gRPC caller reads.
fn grpc_status(failure: Failure, reason: &str) -> HeaderMap {
    HeaderMap::from_iter([
        (grpc::STATUS, HeaderValue::from(failure.grpc_status())),
        (grpc::MESSAGE, grpc::encode_message(reason)),
    ])
}

/// A whole answer of ours.
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    content: Option<String>,
}

impl Answer {
    fn of(failure: Failure, reason: &str, grpc: bool, bodiless: bool) -> Self {
        let mut fields = HeaderMap::new();
        if grpc {
            // "Trailers-Only": all in the head, and nothing after it (gRPC over HTTP/2, "Responses").
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            fields.extend(grpc_status(failure, reason));
        } else {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(reason.len() + 1));
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        if let Some(seconds) = failure.retry_after() {
            fields.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let date = httpdate::HttpDate::from(std::time::SystemTime::now()).to_string();
        let texts = [(REASON, reason), (DATE, &*date)];
        fields.extend(
            texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(text).ok()?))),
        );
        let status = if grpc { StatusCode::OK } else { failure.status() };
        Self { status, fields, content: (!grpc && !bodiless).then(|| format!("{reason}\n")) }
    }

    fn write(self, down: &mut Down<'_>, (keep_alive, version): (bool, Version)) {
        match down {
            Down::Http1(conn) => {
                let out = conn.channel.wire.out();
                write_status(out, self.status);
                for (name, value) in &self.fields {
                    push_field(out, name.as_str(), value.as_bytes());
                }
                if !self.fields.contains_key(CONTENT_LENGTH) {
                    push_field(out, CONTENT_LENGTH.as_str(), b"0");
                }
                write_persistence(out, keep_alive, version);
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(self.content.unwrap_or_default().as_bytes());
            }
            Down::Http2(stream) => {
                stream.answer_whole(self.status, self.fields, self.content.map(Into::into));
            }
        }
    }
}

/// Writes what waits, but for no longer than the alarm says; whether all of it left.
async fn send(down: &mut Down<'_>) -> bool {
    down.alarm().set(crate::clock::now() + LINGER);
    poll_fn(|cx| {
        let flushed = down.poll_flush(cx).map(|sent| sent.is_ok());
        if flushed.is_ready() { flushed } else { down.alarm().poll(cx).map(|()| false) }
    })
    .await
}
