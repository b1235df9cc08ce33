//! Which fields go on? Heads are made anew for each side, so that what stays here never leaves; the request's own head
//! is not touched and serves the next attempt as it is.

pub mod client_cert;
pub mod http1;
pub mod http2;
pub mod quota;

use std::time::Duration;

use http::header::TE;
use http::{HeaderMap, HeaderName};

use crate::message::head::connection_tokens;
use crate::message::{Known, ResponseHead};

/// Says why an answer is not the application's, and by `attempts=` that retries are done with (RT-10).
pub const REASON: HeaderName = HeaderName::from_static("x-outrigger-reason");

/// `Connection` may name further fields of this connection (RFC 9110 §7.6.1).
pub fn nominated(headers: &HeaderMap, known: Known) -> bool {
    known.has(Known::CONNECTION)
        && connection_tokens(headers)
            .any(|token| !(token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive")))
}

/// Whether it names this one.
pub fn is_nominated(headers: &HeaderMap, name: &HeaderName) -> bool {
    connection_tokens(headers).any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Trailers are the one thing in `TE` that we pass on, since we can (RFC 9110 §10.1.4, RFC 9113 §8.2.2).
fn takes_trailers(headers: &HeaderMap) -> bool {
    let options = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|&octet| octet == b','));
    options.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether an answer bears the mark of a hop that has done what retries can do (RT-10).
pub fn is_settled(headers: &HeaderMap) -> bool {
    headers.get_all(REASON).iter().any(|reason| {
        reason.to_str().is_ok_and(|reason| reason.split("; ").any(|part| part.starts_with("attempts=")))
    })
}

/// How long an idle connection is kept, as its server says, less a second for the way (REQUIREMENTS U5).
pub fn kept_for(head: &ResponseHead) -> Option<Duration> {
    if !head.known.has(Known::KEEP_ALIVE) {
        return None;
    }
    let said = head.headers.get("keep-alive")?.to_str().ok()?;
    let seconds = said.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?.parse().ok()?;
    let kept = Duration::from_secs(seconds);
    Some(kept.saturating_sub(Duration::from_secs(1)).max(kept / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::parse_response;
    use crate::message::{HeadLimits, Scratch};

    #[test]
    fn u_5_any_keep_alive_timeout_can_be_told() {
        let table = [("0", 0), ("1", 500), ("2", 1000), ("60", 59_000), ("18446744073709551615", u64::MAX)];
        for (said, millis) in table {
            let head = format!("HTTP/1.1 200 OK\r\nkeep-alive: max=5, timeout={said}\r\n\r\n");
            let limits = HeadLimits { bytes: 1000, fields: 10, target: 0 };
            let head = parse_response(head.as_bytes(), &limits, &Scratch::default(), &http::Method::GET);
            let kept = kept_for(&head.unwrap().unwrap().0).unwrap();
            assert_eq!(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX), millis, "{said}");
        }
    }
}
