//! What does `Cache-Control` say? Its directives, of a request or a response (RFC 9111 §5.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// RFC 9111 §1.2.2: what is too great to hold counts as so many seconds.
const MOST: u64 = 1 << 31;

/// The directives that decide something here. Unknown ones are ignored (RFC 9111 §5.2.3).
#[expect(clippy::struct_excessive_bools, reason = "each is a directive of its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    /// Not to be stored.
    pub no_store: bool,
    /// Not to be used without asking the origin.
    pub no_cache: bool,
    /// Not for a shared cache.
    pub private: bool,
    /// For any cache.
    pub public: bool,
    /// `must-revalidate`, or `proxy-revalidate`, which is the same to a shared cache: never to be used stale.
    pub must_revalidate: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`.
    pub s_maxage: Option<Duration>,
    /// `min-fresh`, of a request.
    pub min_fresh: Option<Duration>,
    /// `only-if-cached`, of a request.
    pub only_if_cached: bool,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl Directives {
    /// Reads all `Cache-Control` lines; without any, `Pragma: no-cache` counts, as it did up to RFC 7234 §5.4.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut found = false;
        for line in headers.get_all(CACHE_CONTROL) {
            found = true;
            split_unquoted(line.as_bytes()).for_each(|item| directives.add(item));
        }
        let pragma = || headers.get_all(PRAGMA).iter().flat_map(|line| split_unquoted(line.as_bytes()));
        if !found && pragma().any(|item| item.eq_ignore_ascii_case(b"no-cache")) {
            directives.no_cache = true;
        }
        directives
    }

    fn add(&mut self, item: &[u8]) {
        let (name, argument) = match item.iter().position(|byte| *byte == b'=') {
            Some(at) => (item[..at].trim_ascii(), Some(item[at + 1..].trim_ascii())),
            None => (item, None),
        };
        match name.to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            // Field names as an argument narrow these two; taken whole they are stricter, which is allowed (§5.2.2.4).
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => shorter(&mut self.max_age, argument),
            b"s-maxage" => shorter(&mut self.s_maxage, argument),
            b"min-fresh" => self.min_fresh = argument.and_then(seconds),
            b"stale-if-error" => shorter(&mut self.stale_if_error, argument),
            _ => {}
        }
    }
}

/// Of a directive that occurs twice the shorter counts; what is no number counts as 0 (RFC 9111 §4.2.1: stale).
fn shorter(value: &mut Option<Duration>, argument: Option<&[u8]>) {
    let new = argument.and_then(seconds).unwrap_or(Duration::ZERO);
    *value = Some(value.map_or(new, |old| old.min(new)));
}

/// Delta-seconds, quoted or not (RFC 9111 §5.2).
pub(super) fn seconds(argument: &[u8]) -> Option<Duration> {
    let unquoted = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(argument);
    if unquoted.is_empty() || !unquoted.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: u64, byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Some(Duration::from_secs(unquoted.iter().fold(0, digit).min(MOST)))
}

/// The members of a list, trimmed; commas inside quotes do not part them.
pub(super) fn split_unquoted(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let parts = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        parts
    })
    .map(<[u8]>::trim_ascii)
    .filter(|item| !item.is_empty())
}
