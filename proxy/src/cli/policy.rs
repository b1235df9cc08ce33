//! What does PATH say? Files read and parsed, or every reason why not.

use std::fmt;
use std::path::Path;

use outrigger_config::model::Config;
use outrigger_config::{Diagnostic, Errors, Source};

use crate::reload::files::{self, FileText, ReadError};

/// A policy, and the fingerprint of the files that say it.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) config: Config,
    pub(super) hash: u64,
}

/// Why there is no policy.
#[derive(Debug)]
pub(super) enum PolicyError {
    Unreadable(ReadError),
    Invalid(Errors),
}

impl Policy {
    /// What stands at `path`, a file or a directory.
    pub(super) fn load(path: &Path) -> Result<Self, PolicyError> {
        Self::parse(files::read(path).map_err(PolicyError::Unreadable)?)
    }

    /// What these files say together.
    pub(super) fn parse(files: Vec<FileText>) -> Result<Self, PolicyError> {
        let hash = files::fingerprint(&files);
        let source = |file: FileText| Source { name: file.name, text: file.text };
        let sources: Vec<_> = files.into_iter().map(source).collect();
        let config = outrigger_config::parse(&sources).map_err(PolicyError::Invalid)?;
        Ok(Self { config, hash })
    }
}

impl PolicyError {
    /// One line for each fault, with its place: for logs.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Unreadable(error) => vec![error.to_string()],
            Self::Invalid(errors) => errors.iter().map(line).collect(),
        }
    }
}

fn line(fault: &Diagnostic) -> String {
    let help = fault.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{}: {}{help}", fault.location, fault.message)
}

/// All faults at length: for a person at a terminal.
impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "error: {error}"),
            Self::Invalid(errors) => errors.fmt(f),
        }
    }
}
