//! Which fields does a head have on HTTP/2? A map that the codec takes as it is.

use std::fmt::Write;
use std::time::Instant;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use outrigger_config::model::Direction;

use super::super::exchange::Exchange;
use super::{nominated, takes_trailers};
use crate::message::head::connection_tokens;
use crate::message::{Known, ResponseHead};
use crate::policy::deadline::Vocabulary;

const ATTEMPT: HeaderName = HeaderName::from_static("x-request-attempt");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields of one connection (RFC 9113 §8.2.2), by what says that they are there.
const HOP: [(Known, HeaderName); 8] = [
    (Known::CONNECTION, CONNECTION),
    (Known::KEEP_ALIVE, KEEP_ALIVE),
    (Known::TE, TE),
    (Known::TRANSFER_ENCODING, TRANSFER_ENCODING),
    (Known::UPGRADE, UPGRADE),
    (Known::OTHER_HOP, PROXY_CONNECTION),
    (Known::OTHER_HOP, PROXY_AUTHORIZATION),
    (Known::HOST, HOST),
];

/// The fields of the next attempt, which begins `now`.
pub fn request(exchange: &Exchange<'_>, now: Instant) -> HeaderMap {
    let head = &exchange.head;
    let mut fields = head.headers.clone();
    let trailers = head.known.has(Known::TE) && takes_trailers(&fields);
    strip(&mut fields, head.known);
    if trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if head.known.has(Known::DEADLINE) {
        for word in Vocabulary::ALL {
            fields.remove(word.header());
        }
    }
    add_ours(&mut fields, exchange, now);
    fields
}

/// What we add to every request (DESIGN §6).
fn add_ours(fields: &mut HeaderMap, exchange: &Exchange<'_>, now: Instant) {
    fields.append(VIA, exchange.snapshot.via(exchange.head.version).value.clone());
    fields.insert(ATTEMPT, HeaderValue::from(exchange.attempts));
    if let Some(left) = exchange.deadline.to_pass_on(now) {
        for word in exchange.told.words() {
            fields.insert(word.header(), word.write(left));
        }
    }
    if let Some((name, value)) = exchange.condition() {
        fields.insert(name, value.clone());
    }
    for (name, value) in exchange.ids.missing() {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            fields.insert(name, value);
        }
    }
    if exchange.listener.direction == Direction::Inbound {
        let mut chain = String::new();
        for said in fields.get_all(&FORWARDED_FOR).iter().filter_map(|said| said.to_str().ok()) {
            chain.push_str(said);
            chain.push_str(", ");
        }
        let _ = write!(chain, "{}", exchange.peer.ip());
        if let Ok(chain) = HeaderValue::from_str(&chain) {
            fields.insert(FORWARDED_FOR, chain);
        }
    }
}

/// The fields of an upstream's answer, as the downstream gets them.
pub fn response(head: &mut ResponseHead) -> HeaderMap {
    let mut fields = std::mem::take(&mut head.headers);
    strip(&mut fields, head.known);
    // With 204 a length is an error (RFC 9110 §8.6).
    if head.status == http::StatusCode::NO_CONTENT {
        fields.remove(CONTENT_LENGTH);
    }
    fields
}

/// An interim response's fields.
pub fn interim(head: &ResponseHead) -> HeaderMap {
    let mut fields = head.headers.clone();
    strip(&mut fields, head.known);
    fields.remove(CONTENT_LENGTH);
    fields
}

fn strip(fields: &mut HeaderMap, known: Known) {
    if nominated(fields, known) {
        let names: Vec<_> =
            connection_tokens(fields).filter_map(|t| HeaderName::from_bytes(t).ok()).collect();
        for name in names {
            fields.remove(name);
        }
    }
    for (_, name) in HOP.iter().filter(|(present, _)| known.has(*present)) {
        fields.remove(name);
    }
}
