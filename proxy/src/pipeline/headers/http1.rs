//! How is a head written for HTTP/1? Field by field, behind one another.

use std::io::Write;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outrigger_config::model::{Direction, Upgrade};

use super::super::exchange::Exchange;
use super::super::tunnel::switch_fields;
use super::{is_nominated, nominated, takes_trailers};
use crate::http1::encoder::push_field;
use crate::http1::websocket;
use crate::message::head::{connection_tokens, may_have_content};
use crate::message::{Framing, Known, RequestHead, ResponseHead, Version};

/// The head of the next attempt, which begins `now`.
pub fn write_request(out: &mut Vec<u8>, exchange: &Exchange<'_>, now: Instant) {
    let head = &exchange.head;
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    let path = head.target.path_and_query().map_or("/", |path| path.as_str());
    // `http://host?query` has an empty path, and the origin form has none (RFC 9112 §3.2.1).
    if path.starts_with('?') {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_field(out, HOST.as_str(), exchange.head.authority().as_bytes());
    let nominated = nominated(&head.headers, head.known);
    for (name, value) in &head.headers {
        let ours = Known::REWRITTEN.has(Known::of(name.as_str()));
        if !(ours || nominated && is_nominated(&head.headers, name)) {
            push_field(out, name.as_str(), value.as_bytes());
        }
    }
    match head.framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => push_number(out, "content-length", length),
        // A length of zero says more than none (RFC 9110 §8.6).
        Framing::None | Framing::UntilClose => {
            if head.known.has(Known::CONTENT_LENGTH) || anticipates_content(head) {
                out.extend_from_slice(b"content-length: 0\r\n");
            }
        }
    }
    let says_te = head.known.has(Known::TE) && (head.version == Version::Http2 || names_te(&head.headers));
    if says_te && takes_trailers(&head.headers) {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    if let Some(Upgrade::Protocol(token)) = exchange.tunnel {
        write_upgrade(out, exchange, token);
    }
    write_ours(out, exchange, now);
    out.extend_from_slice(b"\r\n");
}

/// HTTP/2 ends a request without content by a flag; servers of HTTP/1 may insist on a length (RFC 9110 §8.6).
fn anticipates_content(head: &RequestHead) -> bool {
    head.version == Version::Http2 && [Method::POST, Method::PUT, Method::PATCH].contains(&head.method)
}

/// RFC 9110 §10.1.4: `TE` is of this connection, and says so.
fn names_te(headers: &HeaderMap) -> bool {
    connection_tokens(headers).any(|token| token.eq_ignore_ascii_case(b"te"))
}

/// The wish for another protocol. HTTP/2 has none of HTTP/1's handshake for WebSocket (RFC 8441 §5), so we make it.
fn write_upgrade(out: &mut Vec<u8>, exchange: &Exchange<'_>, token: &str) {
    push_field(out, "connection", b"upgrade");
    push_field(out, "upgrade", token.as_bytes());
    if exchange.head.version == Version::Http2 && token == "websocket" {
        let nonce = exchange.worker.rng(|rng| rng.u128(..)).to_be_bytes();
        push_field(out, "sec-websocket-key", websocket::key(nonce).as_bytes());
    }
}

/// What we add to every request (DESIGN §6).
fn write_ours(out: &mut Vec<u8>, exchange: &Exchange<'_>, now: Instant) {
    let (headers, known) = (&exchange.head.headers, exchange.head.known);
    // RFC 9113 §8.2.3: HTTP/2 may send one cookie a field, HTTP/1 has one field for all.
    if known.has(Known::COOKIE) {
        out.extend_from_slice(b"cookie: ");
        push_joined(out, headers.get_all(COOKIE).iter(), b"; ");
        out.extend_from_slice(b"\r\n");
    }
    if known.has(Known::VIA) {
        for via in headers.get_all(http::header::VIA) {
            push_field(out, "via", via.as_bytes());
        }
    }
    out.extend_from_slice(exchange.snapshot.via(exchange.head.version).line.as_bytes());
    push_number(out, "x-request-attempt", u64::from(exchange.attempts));
    if let Some(left) = exchange.deadline.to_pass_on(now) {
        for word in exchange.told.words() {
            push_field(out, word.header().as_str(), word.write(left).as_bytes());
        }
    }
    if let Some((name, value)) = exchange.condition() {
        push_field(out, name.as_str(), value.as_bytes());
    }
    for (name, value) in exchange.ids.missing() {
        push_field(out, name.as_str(), value);
    }
    let inbound = exchange.listener.direction == Direction::Inbound;
    if inbound || known.has(Known::FORWARDED_FOR) {
        write_forwarded_for(out, exchange, inbound);
    }
}

/// The values of several field lines in one.
fn push_joined<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a HeaderValue>, between: &[u8]) {
    for (nth, value) in values.enumerate() {
        out.extend_from_slice(if nth == 0 { b"" } else { between });
        out.extend_from_slice(value.as_bytes());
    }
}

/// Who called, as far as the hops before us say, and whom we saw: the application sees only us.
fn write_forwarded_for(out: &mut Vec<u8>, exchange: &Exchange<'_>, inbound: bool) {
    out.extend_from_slice(b"x-forwarded-for: ");
    push_joined(out, exchange.head.headers.get_all("x-forwarded-for").iter(), b", ");
    if inbound {
        let comma = if exchange.head.known.has(Known::FORWARDED_FOR) { ", " } else { "" };
        let _ = write!(out, "{comma}{}", exchange.peer.ip());
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of an upstream's answer, as the downstream gets it; `framing` is ours towards the downstream.
pub fn write_response(out: &mut Vec<u8>, answer: &ResponseHead, framing: Framing, exchange: &Exchange<'_>) {
    write_status(out, answer.status);
    let nominated = nominated(&answer.headers, answer.known);
    for (name, value) in &answer.headers {
        let hop = Known::HOP.has(Known::of(name.as_str()));
        if !(hop || nominated && is_nominated(&answer.headers, name)) {
            push_field(out, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => push_number(out, "content-length", length),
        Framing::UntilClose => {}
        // A length that describes what a GET would bring (HEAD, 304) goes on; with 204 it is an error (RFC 9110 §8.6).
        Framing::None => {
            if answer.known.has(Known::CONTENT_LENGTH) && answer.status != StatusCode::NO_CONTENT {
                for length in answer.headers.get_all(CONTENT_LENGTH) {
                    push_field(out, "content-length", length.as_bytes());
                }
            } else if may_have_content(answer.status, &exchange.head.method) {
                // HTTP/2 may end a stream with its head; without a length, HTTP/1 would go on to the connection's end.
                push_number(out, "content-length", 0);
            }
        }
    }
    write_persistence(out, exchange.keep_alive, exchange.head.version);
}

/// The answer after which the connection is a tunnel (RFC 9110 §7.8, §9.3.6).
pub fn write_switch(out: &mut Vec<u8>, status: StatusCode, answer: &ResponseHead, exchange: &Exchange<'_>) {
    write_status(out, status);
    write_end_to_end(out, answer);
    for (name, value) in switch_fields(exchange, answer) {
        push_field(out, name, value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// An interim response, as it came (RFC 9110 §15.2).
pub fn write_interim(out: &mut Vec<u8>, answer: &ResponseHead) {
    write_status(out, answer.status);
    write_end_to_end(out, answer);
    out.extend_from_slice(b"\r\n");
}

/// The fields that are not of one connection (RFC 9110 §7.6.1).
fn write_end_to_end(out: &mut Vec<u8>, answer: &ResponseHead) {
    for (name, value) in &answer.headers {
        if !Known::HOP.has(Known::of(name.as_str())) {
            push_field(out, name.as_str(), value.as_bytes());
        }
    }
}

/// Whether the connection is kept, where the version's default says otherwise (RFC 9112 §9.3).
pub fn write_persistence(out: &mut Vec<u8>, keep_alive: bool, version: Version) {
    match (keep_alive, version) {
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (true, Version::Http11 | Version::Http2) => {}
    }
}

/// A status line (RFC 9112 §4).
pub fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A field whose value is a number.
pub fn push_number(out: &mut Vec<u8>, name: &str, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push_field(out, name, &digits[at..]);
}
