//! What went wrong so far? The collector that every step from text to model reports to.

use std::collections::HashSet;
use std::sync::Arc;

use crate::Source;
use crate::error::{Diagnostic, Errors};
use crate::model::Location;

/// Faults that are kept; more are only counted. Bounds the work on a file that is not a policy at all.
const KEPT: usize = 1000;

/// Characters of a line that a diagnostic shows.
const EXCERPT: usize = 160;

/// Characters of a message.
const MESSAGE: usize = 400;

/// A stretch of one line of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Position in the list of sources.
    pub(crate) file: usize,
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In characters, at least 1.
    pub(crate) width: usize,
}

impl Span {
    /// The first character of a file.
    pub(crate) fn start_of(file: usize) -> Self {
        Self { file, line: 1, column: 1, width: 1 }
    }
}

/// Collects faults of all files.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    files: Vec<(Arc<str>, Vec<&'a str>)>,
    found: Vec<(Span, Diagnostic)>,
    seen: HashSet<(Span, String)>,
    omitted: usize,
    /// A document could not be identified, so what is missing may be in it.
    pub(crate) incomplete: bool,
}

impl<'a> Faults<'a> {
    /// No faults yet.
    pub(crate) fn new(sources: &'a [Source]) -> Self {
        let files =
            sources.iter().map(|file| (file.name.as_str().into(), file.text.lines().collect())).collect();
        Self { files, found: Vec::new(), seen: HashSet::new(), omitted: 0, incomplete: false }
    }

    /// Reports a fault. The same one in the same place (an aliased value, a shared default) counts once.
    pub(crate) fn at(&mut self, span: Span, message: impl Into<String>) {
        self.report(span, &message.into(), None);
    }

    /// Reports a fault with what to write instead.
    pub(crate) fn at_with(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(span, &message.into(), Some(&help.into()));
    }

    /// The place as people name it.
    pub(crate) fn locate(&self, span: Span) -> Location {
        let file = self.files.get(span.file).map_or_else(|| "(no file)".into(), |(name, _)| Arc::clone(name));
        Location { file, line: narrow(span.line), column: narrow(span.column) }
    }

    /// Nothing was wrong, or all that was.
    pub(crate) fn into_result<T>(mut self, value: Option<T>) -> Result<T, Errors> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => {
                debug_assert!(!self.found.is_empty(), "no value and no reason");
                self.found.sort_by_key(|(span, _)| *span);
                let diagnostics = self.found.into_iter().map(|(_, diagnostic)| diagnostic).collect();
                Err(Errors { diagnostics, omitted: self.omitted })
            }
        }
    }

    /// Reports a fault, perhaps with what to write instead.
    pub(crate) fn report(&mut self, span: Span, message: &str, help: Option<&str>) {
        let (message, help) = (printable(message), help.map(printable));
        if self.found.len() == KEPT {
            self.omitted += 1;
            return;
        }
        if !self.seen.insert((span, message.clone())) {
            return;
        }
        let line =
            self.files.get(span.file).and_then(|(_, lines)| lines.get(span.line - 1)).copied().unwrap_or("");
        let (line_text, indent) = excerpt(line, span.column - 1);
        let width = span.width.min(line_text.chars().count().saturating_sub(indent)).max(1);
        let location = self.locate(span);
        self.found.push((span, Diagnostic { location, message, help, line_text, indent, width }));
    }
}

/// What a message may quote: a policy file must neither drive the terminal that shows its faults nor flood it.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(MESSAGE).map(visible).collect();
    if text.chars().nth(MESSAGE).is_some() {
        shown.push('…');
    }
    shown
}

fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The part of a line around a column, and the column in that part.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let start = if column < EXCERPT * 3 / 4 { 0 } else { column - EXCERPT / 2 };
    let text: String = line.chars().skip(start).take(EXCERPT).map(visible).collect();
    (text.trim_end().to_owned(), column - start)
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_shown_around_its_fault_without_control_characters() {
        let line = format!("{}\u{1b}[31mbad{}", "x".repeat(500), "y".repeat(500));
        let (text, indent) = excerpt(&line, 505);
        assert_eq!(text.chars().count(), EXCERPT);
        assert_eq!(text.chars().skip(indent).take(3).collect::<String>(), "bad");
        assert!(!text.contains('\u{1b}'));
    }
}
