//! Which requests does a rule take? Paths, header fields and query parameters, ready to compare.

use http::Method;
use regex::{Regex, RegexBuilder};

use super::{paths, unique};
use crate::faults::{Faults, Span};
use crate::model::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, TextMatch};
use crate::raw::{self, PathKind, Spanned, TextKind, items, or};

/// Bytes of a compiled expression: a few hundred alternatives fit, a bomb does not.
const REGEX_BYTES: usize = 256 << 10;

/// Any of these that can be told, each with its place; every request when nothing is written.
pub(super) fn any(
    written: Option<&Spanned<raw::List<raw::Match>>>,
    otherwise: Span,
    faults: &mut Faults<'_>,
) -> Vec<(RouteMatch, Span)> {
    let Some(list) = written else {
        let path = PathMatch::Prefix(String::new());
        return vec![(RouteMatch { path, method: None, headers: Vec::new(), query: Vec::new() }, otherwise)];
    };
    list.value.iter().filter_map(|found| Some((resolve(&found.value, faults)?, found.span))).collect()
}

/// One of a rule's matches.
pub(super) fn resolve(written: &raw::Match, faults: &mut Faults<'_>) -> Option<RouteMatch> {
    let path = match &written.path {
        Some(written) => path(&written.value, faults),
        None => Some(PathMatch::Prefix(String::new())),
    };
    let headers = headers(written.headers.as_ref(), faults);
    let query =
        items(written.query.as_ref()).filter_map(|written| parameter(&written.value, faults)).collect();
    parameters_once(written, faults);
    tunnel(written, faults);
    Some(RouteMatch {
        path: path?,
        method: written.method.as_ref().map(|method| method.value.clone()),
        headers,
        query,
    })
}

/// A path to compare with.
pub(super) fn path(written: &raw::PathMatch, faults: &mut Faults<'_>) -> Option<PathMatch> {
    let Spanned { value: text, span } = written.value.as_ref()?;
    let kind = or(written.kind, PathKind::Prefix);
    if !matches!(kind, PathKind::Regex) {
        if !text.0.starts_with('/') {
            faults.at_with(
                *span,
                format!("the path `{}` does not start with `/`", text.0),
                format!("did you mean `/{}`?", text.0),
            );
            return None;
        }
        if !paths::check(&text.0, *span, faults) {
            return None;
        }
    }
    match kind {
        PathKind::Exact => Some(PathMatch::Exact(text.0.clone())),
        PathKind::Prefix => Some(PathMatch::Prefix(text.0.trim_end_matches('/').to_owned())),
        PathKind::Regex => regex(&text.0, *span, faults).map(PathMatch::Regex),
    }
}

/// Header fields that must be there.
pub(super) fn headers(
    written: Option<&Spanned<raw::List<raw::HeaderMatch>>>,
    faults: &mut Faults<'_>,
) -> Vec<HeaderMatch> {
    let names = items(written).filter_map(|header| header.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "header match", faults);
    items(written).filter_map(|written| header(&written.value, faults)).collect()
}

fn header(written: &raw::HeaderMatch, faults: &mut Faults<'_>) -> Option<HeaderMatch> {
    let value = text_match(written.kind, written.value.as_ref(), faults)?;
    Some(HeaderMatch { name: written.name.as_ref()?.value.clone(), value })
}

fn parameter(written: &raw::QueryMatch, faults: &mut Faults<'_>) -> Option<QueryMatch> {
    let value = text_match(written.kind, written.value.as_ref(), faults)?;
    Some(QueryMatch { name: written.name.as_ref()?.value.0.clone(), value })
}

fn text_match(
    kind: Option<Spanned<TextKind>>,
    value: Option<&Spanned<raw::Text>>,
    faults: &mut Faults<'_>,
) -> Option<TextMatch> {
    let Spanned { value: text, span } = value?;
    match or(kind, TextKind::Exact) {
        TextKind::Exact => Some(TextMatch::Exact(text.0.clone())),
        TextKind::Regex => regex(&text.0, *span, faults).map(TextMatch::Regex),
    }
}

/// Compiles an expression that must take the whole value.
///
/// It is compiled by itself first: `a)|(b` would become valid between the anchors and mean something else.
fn regex(text: &str, span: Span, faults: &mut Faults<'_>) -> Option<Regex> {
    let compile = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    match compile(text).and_then(|_| compile(&format!("^(?:{text})$"))) {
        Ok(regex) => Some(regex),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .trim_end_matches('.')
                .to_owned();
            faults.at(span, format!("not a regular expression: {reason}"));
            None
        }
    }
}

/// The target of CONNECT is an authority alone (RFC 9112 §3.2.3).
fn tunnel(written: &raw::Match, faults: &mut Faults<'_>) {
    if written.method.as_ref().is_none_or(|method| method.value != Method::CONNECT) {
        return;
    }
    let parts = [
        ("path", written.path.as_ref().map(|path| path.span)),
        ("query", written.query.as_ref().map(|query| query.span)),
    ];
    for (part, span) in parts.into_iter().filter_map(|(part, span)| Some((part, span?))) {
        let help = "its target is an authority, which `hosts` match";
        faults.at_with(span, format!("`CONNECT` has no {part}"), help);
    }
}

/// A name that is matched twice would have to have two values.
fn parameters_once(written: &raw::Match, faults: &mut Faults<'_>) {
    let query = items(written.query.as_ref()).filter_map(|parameter| parameter.value.name.as_ref());
    unique(query.map(|name| (name.value.0.as_str(), name.span)), "query match", faults);
}
