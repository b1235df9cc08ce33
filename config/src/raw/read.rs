//! How is a node read? One trait, and what its implementations share.
//!
//! Reading never stops at a fault: a field that cannot be read is reported and left out, and the rest is read.

use schemars::{Schema, SchemaGenerator};

use super::similar;
use super::tree::{Entry, Node, ScalarKind, Value};
use super::unsupported;
use crate::faults::{Faults, Span};
use crate::scalars::{Malformed, Scalar};

/// A value and where it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// What can be read from a node.
pub(crate) trait Read: Sized {
    /// The value, or `None` after what is wrong with it was reported.
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self>;

    /// What an editor should accept.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

impl<T> Spanned<T> {
    /// Another value in the same place.
    pub(crate) fn map<U>(self, value: impl Fn(T) -> U) -> Spanned<U> {
        Spanned { value: value(self.value), span: self.span }
    }
}

/// What is written, or the default.
pub(crate) fn or<W: Into<T>, T>(written: Option<Spanned<W>>, default: T) -> T {
    written.map_or(default, |written| written.value.into())
}

/// A word that [`Scalar`] reads.
pub(crate) fn scalar<T: Scalar>(node: &Node, faults: &mut Faults<'_>) -> Option<T> {
    if let Value::Scalar { text: number, kind: ScalarKind::Number } = &node.value
        && let Some(help) = T::with_unit(number)
    {
        faults.at_with(node.span, format!("`{number}` has no unit"), help);
        return None;
    }
    match T::parse(text(node, T::WHAT, faults)?) {
        Ok(value) => Some(value),
        Err(Malformed { message, help }) => {
            faults.report(node.span, &message, help.as_deref());
            None
        }
    }
}

/// The text of a node that is text.
pub(crate) fn text<'n>(node: &'n Node, what: &str, faults: &mut Faults<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text, kind: ScalarKind::Text } => return Some(text),
        Value::Scalar { text, kind: ScalarKind::Bool | ScalarKind::Number } => {
            let help = format!("quote it: `\"{text}\"`");
            faults.at_with(node.span, format!("expected {what}, found {}", node.describe()), help);
        }
        _ => faults.at(node.span, format!("expected {what}, found {}", node.describe())),
    }
    None
}

/// The entries of a mapping while they are read.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    /// Every key so far was known and its value could be read: what is not there was not written.
    pub(crate) whole: bool,
}

impl<'n> Fields<'n> {
    /// Checks the keys against the known ones, each with whether it must be there.
    pub(crate) fn of(
        node: &'n Node,
        known: &[(&'static str, bool)],
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let help = node.is_null().then_some("write `{}` for the defaults");
            faults.report(node.span, &format!("expected a mapping, found {}", node.describe()), help);
            return None;
        };
        let unknown = |entry: &&Entry| known.iter().all(|(name, _)| *name != entry.key);
        let mut whole = true;
        for Entry { key, key_span, .. } in entries.iter().filter(unknown) {
            whole = false;
            unknown_key(key, *key_span, known, faults);
        }
        for (name, _) in known.iter().filter(|(_, required)| *required) {
            let misspelt = |entry: &Entry| similar::to(&entry.key, std::iter::once(*name)).is_some();
            if entries.iter().all(|entry| entry.key != *name && !(unknown(&entry) && misspelt(entry))) {
                faults.at(node.span, format!("missing `{name}`"));
            }
        }
        Some(Self { entries, whole })
    }

    /// One field; `None` if it is not there or was reported.
    pub(crate) fn take<T: Read>(&mut self, key: &str, faults: &mut Faults<'_>) -> Option<Spanned<T>> {
        let node = &self.entries.iter().find(|entry| entry.key == key)?.node;
        let value = T::read(node, faults).map(|value| Spanned { value, span: node.span });
        self.whole &= value.is_some();
        value
    }
}

/// One of a closed set of words.
pub(crate) fn word<T: Copy>(node: &Node, words: &[(&'static str, T)], faults: &mut Faults<'_>) -> Option<T> {
    let names = || words.iter().map(|(word, _)| *word);
    let what = similar::one_of(names());
    let found = text(node, &what, faults)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
        return Some(*value);
    }
    if unsupported::WORDS.contains(&found) {
        faults.at_with(node.span, unsupported::message(found), format!("expected {what}"));
        return None;
    }
    let help = similar::to(found, names()).unwrap_or_else(|| format!("expected {what}"));
    faults.at_with(node.span, format!("unknown value `{found}`"), help);
    None
}

fn unknown_key(key: &str, span: Span, known: &[(&'static str, bool)], faults: &mut Faults<'_>) {
    let names = || known.iter().map(|(name, _)| *name);
    if unsupported::KEYS.contains(&key) {
        return faults.at(span, unsupported::message(key));
    }
    let help = similar::to(key, names()).unwrap_or_else(|| format!("known here: {}", similar::list(names())));
    faults.at_with(span, format!("unknown field `{key}`"), help);
}
