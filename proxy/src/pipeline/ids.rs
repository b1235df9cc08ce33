//! By which ids is a request known? Those that it brought, or those that it gets from us, the same on every attempt.

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};

use crate::message::Known;
use crate::telemetry::access_log::trace_id;

/// Correlates the log lines of a request over all hops.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names a request's trace and the span that it is part of (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Ids of our own making, where the downstream gave none.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    request: Option<[u8; 32]>,
    trace: Option<[u8; 55]>,
}

impl Ids {
    /// For a request with these fields.
    pub fn complete(known: Known, rng: &mut fastrand::Rng) -> Self {
        let mut id = || hex(rng.u128(1..));
        let request = (!known.has(Known::REQUEST_ID)).then(&mut id);
        let trace = (!known.has(Known::TRACEPARENT)).then(|| traceparent(&id(), &id()));
        Self { request, trace }
    }

    /// What a request must be given.
    pub fn missing(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        let request = self.request.iter().map(|id| (REQUEST_ID, &id[..]));
        request.chain(self.trace.iter().map(|trace| (TRACEPARENT, &trace[..])))
    }

    /// The request's id.
    pub fn request<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        self.request.as_ref().map(|id| &id[..]).or_else(|| headers.get(REQUEST_ID).map(HeaderValue::as_bytes))
    }

    /// The id of its trace.
    pub fn trace<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a str> {
        let said = || headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
        self.trace.as_ref().map(|trace| &trace[..]).or_else(said).and_then(trace_id)
    }
}

/// Not sampled: nobody has decided to record this trace.
fn traceparent(trace: &[u8; 32], span: &[u8; 32]) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    text[3..35].copy_from_slice(trace);
    text[36..52].copy_from_slice(&span[..16]);
    // All zeros would be no span.
    text[51] = if text[51] == b'0' { b'1' } else { text[51] };
    text
}

fn hex(id: u128) -> [u8; 32] {
    let mut text = [0; 32];
    for (byte, digits) in id.to_be_bytes().into_iter().zip(text.chunks_exact_mut(2)) {
        digits.copy_from_slice(&[
            b"0123456789abcdef"[usize::from(byte >> 4)],
            b"0123456789abcdef"[usize::from(byte & 15)],
        ]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_kept() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut headers = HeaderMap::new();
        let ids = Ids::complete(Known::NONE, &mut rng);
        let made: HeaderMap =
            ids.missing().map(|(name, value)| (name, HeaderValue::from_bytes(value).unwrap())).collect();
        assert_eq!(made[REQUEST_ID].as_bytes(), ids.request(&headers).unwrap());
        assert_eq!(trace_id(made[TRACEPARENT].as_bytes()), ids.trace(&headers));
        assert!(ids.trace(&headers).is_some());

        headers.insert(REQUEST_ID, HeaderValue::from_static("theirs"));
        let ids = Ids::complete(Known::REQUEST_ID.and(Known::TRACEPARENT), &mut rng);
        assert_eq!(ids.missing().count(), 0);
        assert_eq!(ids.request(&headers), Some(&b"theirs"[..]));
    }

    #[test]
    fn hex_digits_are_in_order() {
        assert_eq!(&hex(0x0123_4567_89ab_cdef), b"00000000000000000123456789abcdef");
    }
}
