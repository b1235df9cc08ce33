//! When did the policy change, and what does it say now?
//!
//! ```text
//! Changes::next ──▶ files::read ──▶ seen before? ──▶ nothing
//!  event, poll,      all or none        no │
//!  SIGHUP                                  ▼
//!                                     apply(files or error): parse, build, swap
//! ```
//!
//! [`watch`] says *perhaps now*, [`files`] says *this is what stands there*, and [`run`] compares contents,
//! never times of modification. The files that a running policy names (`bodyFile`) are compared with it; they may lie
//! anywhere, so they wait for the poll or SIGHUP where no event of the policy's own directory comes first. What cannot be read or applied leaves the running snapshot alone (CF-1,
//! CF-7): the source is only asked again, and asking has no end.

use std::path::PathBuf;
use std::time::Duration;

use self::files::{FileText, ReadError, digest};
use self::watch::{Changes, Trigger};

pub mod files;
pub mod watch;

#[cfg(test)]
mod tests;

/// How often the content is compared though no event came. Events are lost on network and overlay file
/// systems (REQUIREMENTS U8), so this bounds how late a change may be noticed.
pub const DEFAULT_POLL: Duration = Duration::from_secs(10);

/// Follows the policy at `path` for ever, and calls `apply` with each new content.
///
/// `changes` is made before the process is ready, since from then on SIGHUP must not end it.
/// `running` is the [`files::fingerprint`] of what the process started with, and `named` tells which files the policy in
/// force names, with the [`digest`] of what it has of them. The source is read once at the
/// start, so a change between the first load and this call is not lost. Then `apply` is called
/// - with `Ok` when the content, or that of a named file, differs from the last that was passed on, or is readable again after it was
///   not, so that "in sync" can be told anew;
/// - with `Err` when it cannot be read, once for each distinct reason;
/// - in any case on SIGHUP: who asks by hand wants an answer.
///
/// Must run on a tokio runtime with IO and time; ends only by being dropped.
pub async fn run(
    path: PathBuf,
    mut changes: Changes,
    running: u64,
    named: impl Fn() -> (Vec<PathBuf>, u64),
    mut apply: impl FnMut(Result<Vec<FileText>, ReadError>),
) {
    let mut last = Seen::Content(running, named().1);
    let mut trigger = Trigger::Poll;
    loop {
        let (paths, _) = named();
        let (found, beside) = read(path.clone(), paths.clone()).await;
        let seen = Seen::of(&found, beside);
        if seen.is_news(&last, trigger) {
            tracing::debug!(?trigger, path = %path.display(), "the policy changed");
            last = seen;
            apply(found);
            let (others, beside) = named();
            if let Seen::Content(_, seen) = &mut last
                && others != paths
            {
                *seen = beside;
            }
        }
        trigger = changes.next().await;
    }
}

/// A mount that hangs must not hang the runtime: DNS and health checks live there too.
async fn read(path: PathBuf, named: Vec<PathBuf>) -> (Result<Vec<FileText>, ReadError>, u64) {
    let reader = tokio::task::spawn_blocking(move || (files::read(&path), digest(&named)));
    reader.await.unwrap_or_else(|stopped| (Err(ReadError::Stopped(stopped.to_string())), 0))
}

/// What the source looked like.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Readable, with this fingerprint, and this one of what it names.
    Content(u64, u64),
    /// Not readable, for this reason.
    Failure(String),
}

impl Seen {
    fn of(found: &Result<Vec<FileText>, ReadError>, named: u64) -> Self {
        match found {
            Ok(files) => Self::Content(files::fingerprint(files), named),
            Err(error) => Self::Failure(error.to_string()),
        }
    }

    fn is_news(&self, last: &Self, trigger: Trigger) -> bool {
        trigger == Trigger::Sighup || self != last
    }
}
