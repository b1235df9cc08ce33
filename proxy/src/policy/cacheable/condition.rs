//! Does the one who asks have it already? Conditions of requests, those that a cache answers and those that it sets.

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::date;
use super::directives::split_unquoted;

/// Whether the request has a condition that is the origin's to judge (RFC 9110 §13.1.1, §13.1.4), or asks for a part: a
/// whole response is no answer to that unless it is cut, and we cut nothing.
pub fn is_for_origin(asked: &HeaderMap) -> bool {
    [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE].iter().any(|name| asked.contains_key(name))
}

/// Whether the request is one that may end in 304.
pub fn is_conditional(asked: &HeaderMap) -> bool {
    asked.contains_key(IF_NONE_MATCH) || asked.contains_key(IF_MODIFIED_SINCE)
}

/// Whether what a 200 with such fields brings is what the caller has (RFC 9111 §4.3.2).
pub fn is_unmodified(asked: &HeaderMap, said: &HeaderMap) -> bool {
    if asked.contains_key(IF_NONE_MATCH) {
        // RFC 9110 §13.1.3: then the date is ignored. §13.1.2: the weak comparison.
        let own = said.get(ETAG).map(opaque);
        let mut listed = asked.get_all(IF_NONE_MATCH).iter().flat_map(|line| split_unquoted(line.as_bytes()));
        return listed.any(|tag| tag == b"*" || own == Some(tag.strip_prefix(b"W/").unwrap_or(tag)));
    }
    // What has no such field was last modified, at the latest, when it was sent.
    let modified = date(said, LAST_MODIFIED).or_else(|| date(said, DATE));
    let since: Option<Duration> = date(asked, IF_MODIFIED_SINCE);
    modified.zip(since).is_some_and(|(modified, since)| modified <= since)
}

/// The condition under which such a response is still good (RFC 9111 §4.3.1); `None`: nothing tells.
pub fn of(said: &HeaderMap) -> Option<(HeaderName, &HeaderValue)> {
    let tag = said.get(ETAG).map(|tag| (IF_NONE_MATCH, tag));
    tag.or_else(|| {
        Some((IF_MODIFIED_SINCE, said.get(LAST_MODIFIED).filter(|_| date(said, LAST_MODIFIED).is_some())?))
    })
}

/// Whether a 304 that a caller's own condition brought is about this response (RFC 9111 §4.3.4): by a strong tag only.
pub fn is_about(unmodified: &HeaderMap, said: &HeaderMap) -> bool {
    let strong =
        |headers: &HeaderMap| headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
    strong(unmodified).is_some_and(|tag| strong(said) == Some(tag))
}

/// Whether a 304 bears such a field (RFC 9110 §15.4.5); the rest describes content that is not sent.
pub fn is_told(name: &HeaderName) -> bool {
    [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY].contains(name)
}

fn opaque(tag: &HeaderValue) -> &[u8] {
    tag.as_bytes().strip_prefix(b"W/").unwrap_or(tag.as_bytes())
}
