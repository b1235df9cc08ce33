//! What is wrong, and where? Diagnostics as rustc prints them, all of a generation together.

use std::fmt;

use serde_json::{Value, json};

use crate::model::Location;

/// Everything that is wrong with a generation, in the order of files and lines. Never empty.
///
/// `Display` prints all of it, with the offending lines and a count at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Faults beyond the bound on those that are kept.
    pub(crate) omitted: usize,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is.
    pub location: Location,
    /// What it is; lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// The line, or the part of a long line that is around the fault; printable characters only.
    pub line_text: String,
    /// Characters of `line_text` before the fault.
    pub(crate) indent: usize,
    /// Characters of `line_text` that are at fault.
    pub(crate) width: usize,
}

impl Errors {
    /// How many faults there are.
    pub fn count(&self) -> usize {
        self.diagnostics.len() + self.omitted
    }

    /// The faults in the order of files and lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.diagnostics.iter()
    }

    /// For machines: `{"count": 1, "errors": [{"file", "line", "column", "message", "help", "lineText"}]}`.
    pub fn to_json(&self) -> Value {
        json!({ "count": self.count(), "errors": self.iter().map(Diagnostic::to_json).collect::<Vec<_>>() })
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self {
            writeln!(f, "{diagnostic}\n")?;
        }
        match self.count() {
            1 => f.write_str("1 error"),
            count if self.omitted == 0 => write!(f, "{count} errors"),
            count => write!(f, "{count} errors, {} of them not shown", self.omitted),
        }
    }
}

impl std::error::Error for Errors {}

impl Diagnostic {
    fn to_json(&self) -> Value {
        json!({
            "file": &*self.location.file,
            "line": self.location.line,
            "column": self.location.column,
            "message": self.message,
            "help": self.help,
            "lineText": self.line_text,
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.location.line.to_string();
        let gutter = number.len();
        writeln!(f, "error: {}", self.message)?;
        writeln!(f, "{:gutter$}--> {}", "", self.location)?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{number} | {}", self.line_text)?;
        write!(
            f,
            "{:gutter$} | {:indent$}{:^<width$}",
            "",
            "",
            "",
            indent = self.indent,
            width = self.width
        )?;
        match &self.help {
            Some(help) => write!(f, " {help}"),
            None => Ok(()),
        }
    }
}
