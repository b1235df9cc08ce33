//! What do we answer ourselves? A status, the reason for machines and people, and nothing that could be taken for the
//! application's.

use std::future::poll_fn;
use std::io::Write;

use http::{Method, StatusCode};

use super::After;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{push_number, write_persistence, write_status};
use crate::http1::{ServerConn, Version};

/// Tells the downstream of a failure, as far as it can still be told.
pub async fn fail(exchange: &mut Exchange<'_>, down: &mut ServerConn, failure: Failure) -> After {
    exchange.failure = Some(failure);
    // A head has gone out already: breaking off is all that is left to say.
    if exchange.status.is_some() || failure == Failure::Canceled {
        return After::Abort;
    }
    exchange.status = Some(failure.status());
    exchange.keep_alive &= down.decoder.is_done() && failure != Failure::Unsupported && !exchange.drains();
    let reason = reason(exchange, failure.cause());
    let bodiless = exchange.head.method == Method::HEAD;
    let out = down.wire.out();
    write(out, failure, &reason, (exchange.keep_alive, exchange.head.version), bodiless);
    exchange.bytes_out = if bodiless { 0 } else { reason.len() as u64 + 1 };
    send(down).await;
    // Nobody would write the rest while the next request is awaited.
    if exchange.keep_alive && down.wire.is_flushed() { After::Keep(exchange.started) } else { After::Close }
}

/// Refuses what is not even a request, and counts it as the listener's.
pub fn refuse(down: &mut ServerConn, failure: Failure) {
    let reason = format!("{}; route=-; policy=-", failure.cause());
    write(down.wire.out(), failure, &reason, (false, Version::Http11), false);
}

/// The value of `x-outrigger-reason`; bears `attempts=` once retries are done with (RT-10).
pub fn reason(exchange: &Exchange<'_>, cause: &str) -> String {
    let (route, rule) = exchange.chosen.map_or(("-", "-"), |(rule, _)| (&*rule.route, &*rule.name));
    let mut reason = format!("{cause}; route={route}; policy={rule}");
    if exchange.gave_up {
        use std::fmt::Write;
        let _ = write!(reason, "; attempts={}", exchange.attempts);
    }
    reason
}

fn write(
    out: &mut Vec<u8>,
    failure: Failure,
    reason: &str,
    (keep_alive, version): (bool, Version),
    bodiless: bool,
) {
    let status: StatusCode = failure.status();
    write_status(out, status);
    push_number(out, "content-length", reason.len() as u64 + 1);
    let _ = write!(out, "content-type: text/plain\r\nx-outrigger-reason: {reason}\r\n");
    if let Some(seconds) = failure.retry_after() {
        push_number(out, "retry-after", u64::from(seconds));
    }
    let date = httpdate::HttpDate::from(std::time::SystemTime::now());
    let _ = write!(out, "date: {date}\r\n");
    write_persistence(out, keep_alive, version);
    out.extend_from_slice(b"\r\n");
    if !bodiless {
        let _ = writeln!(out, "{reason}");
    }
}

/// Writes what waits, but for no longer than the alarm says.
async fn send(down: &mut ServerConn) {
    down.alarm.set(crate::clock::now() + crate::http1::server::LINGER);
    poll_fn(|cx| {
        let flushed = down.wire.poll_flush(cx).map(|_| ());
        if flushed.is_ready() { flushed } else { down.alarm.poll(cx) }
    })
    .await;
}
