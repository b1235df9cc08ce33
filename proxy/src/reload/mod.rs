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
//! never times of modification. What cannot be read or applied leaves the running snapshot alone (CF-1,
//! CF-7): the source is only asked again, and asking has no end.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use self::files::{FileText, ReadError};
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
/// `running` is the [`files::fingerprint`] of what the process started with. The source is read once at the
/// start, so a change between the first load and this call is not lost. Then `apply` is called
/// - with `Ok` when the content differs from the last that was passed on, or is readable again after it was
///   not, so that "in sync" can be told anew;
/// - with `Err` when it cannot be read, once for each distinct reason;
/// - in any case on SIGHUP: who asks by hand wants an answer.
///
/// Must run on a tokio runtime with IO and time; ends only by being dropped.
pub async fn run(
    path: PathBuf,
    changes: Changes,
    running: u64,
    apply: impl FnMut(Result<Vec<FileText>, ReadError>),
) {
    follow(move || files::read(&path), |files| files::fingerprint(files), changes, running, apply).await;
}

/// The same for whatever else is read as a whole and has a fingerprint.
pub async fn follow<T, E>(
    read: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    fingerprint: impl Fn(&T) -> u64,
    mut changes: Changes,
    running: u64,
    mut apply: impl FnMut(Result<T, E>),
) where
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    let mut last = Seen::Content(running);
    let mut trigger = Trigger::Poll;
    loop {
        // A mount that hangs must not hang the runtime: DNS and health checks live there too.
        match tokio::task::spawn_blocking(read.clone()).await {
            Ok(found) => {
                let seen = Seen::of(&found, &fingerprint);
                if seen.is_news(&last, trigger) {
                    tracing::debug!(?trigger, "what is followed changed");
                    last = seen;
                    apply(found);
                }
            }
            Err(stopped) => tracing::error!(%stopped, "reading ended early"),
        }
        trigger = changes.next().await;
    }
}

/// What the source looked like.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Readable, with this fingerprint.
    Content(u64),
    /// Not readable, for this reason.
    Failure(String),
}

impl Seen {
    fn of<T>(found: &Result<T, impl fmt::Display>, fingerprint: impl Fn(&T) -> u64) -> Self {
        match found {
            Ok(content) => Self::Content(fingerprint(content)),
            Err(error) => Self::Failure(error.to_string()),
        }
    }

    fn is_news(&self, last: &Self, trigger: Trigger) -> bool {
        trigger == Trigger::Sighup || self != last
    }
}
