//! Does a request meet what a match asks of it beside the path? Method, header fields, query parameters.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue, Method};
use outrigger_config::model::{HeaderMatch, QueryMatch, RouteMatch, TextMatch};

use super::{Request, RuleId, Step};

/// What keeps a request from a match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Obstacle<'r> {
    /// Its path is another.
    Path,
    /// Its method is not this one.
    Method(&'r Method),
    /// No line of this header field has the value.
    Header(&'r HeaderMatch),
    /// The first parameter of this name has not the value.
    Query(&'r QueryMatch),
}

/// A rule that takes a request whose path fits, if all these conditions hold.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) rule: RuleId,
    /// Position in the rule's `matches`.
    nth: usize,
    method: Option<Method>,
    headers: Box<[HeaderMatch]>,
    query: Box<[QueryMatch]>,
}

impl Candidate {
    pub(super) fn new(wanted: &RouteMatch, rule: RuleId, nth: usize) -> Self {
        Self {
            rule,
            nth,
            method: wanted.method.clone(),
            headers: wanted.headers.as_slice().into(),
            query: wanted.query.as_slice().into(),
        }
    }

    /// Sorts the more specific first; equals stay in the order of writing.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        Reverse((self.method.is_some(), self.headers.len(), self.query.len()))
    }

    pub(super) fn takes(&self, request: &Request<'_>) -> bool {
        self.obstacle(request).is_none()
    }

    /// For a request whose path fits if `path_fits`.
    pub(super) fn step(&self, request: &Request<'_>, path_fits: bool) -> Step<'_> {
        let obstacle = if path_fits { self.obstacle(request) } else { Some(Obstacle::Path) };
        Step { rule: self.rule, nth: self.nth, obstacle }
    }

    fn obstacle(&self, request: &Request<'_>) -> Option<Obstacle<'_>> {
        let method = || self.method.as_ref().filter(|method| *method != request.method).map(Obstacle::Method);
        let header = || self.headers.iter().find(|wanted| !has_header(request.headers, wanted));
        let query = || self.query.iter().find(|wanted| !has_parameter(request.query, wanted));
        method().or_else(|| header().map(Obstacle::Header)).or_else(|| query().map(Obstacle::Query))
    }
}

/// Any one of several lines of that name.
fn has_header(headers: &HeaderMap, wanted: &HeaderMatch) -> bool {
    headers.get_all(&wanted.name).iter().any(|value| says(value, wanted))
}

/// All lines of that name have the value.
pub fn is_agreed(headers: &HeaderMap, wanted: &HeaderMatch) -> bool {
    headers.get_all(&wanted.name).iter().all(|value| says(value, wanted))
}

fn says(value: &HeaderValue, wanted: &HeaderMatch) -> bool {
    match &wanted.value {
        TextMatch::Exact(text) => value.as_bytes() == text.as_bytes(),
        TextMatch::Regex(regex) => std::str::from_utf8(value.as_bytes()).is_ok_and(|v| regex.is_match(v)),
    }
}

/// The first parameter of that name decides (Gateway API). `+` is not a space: that is a convention of HTML forms,
/// not of URIs (RFC 3986 §2.2).
fn has_parameter(query: Option<&str>, wanted: &QueryMatch) -> bool {
    let mut pairs =
        query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let first = pairs.find(|(name, _)| decoded(name).eq(wanted.name.bytes()));
    first.is_some_and(|(_, value)| match &wanted.value {
        TextMatch::Exact(text) => decoded(value).eq(text.bytes()),
        TextMatch::Regex(regex) => as_text(value).is_some_and(|value| regex.is_match(&value)),
    })
}

/// A value to run a regex on; `None` when it decodes to no UTF-8.
fn as_text(value: &str) -> Option<Cow<'_, str>> {
    if value.contains('%') {
        String::from_utf8(decoded(value).collect()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(value))
    }
}

/// Percent-decoding (RFC 3986 §2.1), octet by octet. A `%` without two hexadecimal digits stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (octet, tail) = match rest {
            [b'%', high, low, tail @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => (b'%', &rest[1..]),
            },
            [octet, tail @ ..] => (*octet, tail),
            [] => return None,
        };
        rest = tail;
        Some(octet)
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn query(name: &str, value: TextMatch) -> QueryMatch {
        QueryMatch { name: name.to_owned(), value }
    }

    proptest! {
        #[test]
        fn whatever_was_encoded_is_found(name in "\\PC{1,6}", value in "\\PC{0,6}", other in "[a-z]{2,6}") {
            let encode = |text: &str| text.bytes().fold(String::new(), |all, b| all + &format!("%{b:02X}"));
            let written = format!("{other}-=1&{}={}&{}=2", encode(&name), encode(&value), encode(&name));
            prop_assert!(has_parameter(Some(&written), &query(&name, TextMatch::Exact(value.clone()))));
            let regex = Regex::new(&format!("^(?:{})$", regex::escape(&value))).unwrap();
            prop_assert!(has_parameter(Some(&written), &query(&name, TextMatch::Regex(regex))));
        }

        #[test]
        fn no_query_upsets_it(written in "[%&=a-f0-9é+]{0,30}", name in "[a-f%=]{0,3}", value in "[a-f%]{0,3}") {
            has_parameter(Some(&written), &query(&name, TextMatch::Exact(value)));
        }
    }

    #[test]
    fn the_first_of_a_name_counts_and_bad_escapes_stand_for_themselves() {
        let exact = |written, name, value: &str| {
            has_parameter(written, &query(name, TextMatch::Exact(value.to_owned())))
        };
        assert!(exact(Some("a=1&b=2"), "b", "2"));
        assert!(exact(Some("b=1&b=2"), "b", "1") && !exact(Some("b=1&b=2"), "b", "2"));
        assert!(exact(Some("flag"), "flag", "") && exact(Some("x=a=b"), "x", "a=b"));
        assert!(exact(Some("a=b+c%20d"), "a", "b+c d"));
        assert!(exact(Some("a=%zz%4"), "a", "%zz%4"));
        assert!(!exact(None, "a", "") && !exact(Some("ab=1"), "a", "1"));
    }
}
