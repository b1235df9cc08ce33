//! When is it worth to look at the policy again?
//!
//! Three sources, none trusted alone: events of the file system, a poll, SIGHUP. Directories are watched, not
//! files: a watch on a file sticks to its inode and is silent for ever once the file was replaced by rename,
//! which is what the kubelet and most editors do (REQUIREMENTS U8). An event is a hint to compare contents;
//! whether anything changed is not decided here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

/// Silence that ends a burst of events: an editor or the kubelet needs several steps for one change.
const QUIET: Duration = Duration::from_millis(75);

/// The longest wait for silence; a directory that never rests is read in between.
const QUIET_MAX: Duration = Duration::from_secs(1);

/// Why to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The file system reported a change.
    Event,
    /// The poll interval is over.
    Poll,
    /// The user asked.
    Sighup,
}

/// A stream of reasons to look at a path.
pub struct Changes {
    path: PathBuf,
    events: Arc<Notify>,
    /// `None` where the kernel gave no watcher (limits of inotify): polling goes on.
    watcher: Option<RecommendedWatcher>,
    poll: Interval,
    hangup: Option<Signal>,
}

impl Changes {
    /// Watches `path`, a file or a directory, which need not exist yet. From here on SIGHUP no longer ends
    /// the process.
    ///
    /// A watcher or handler that cannot be had is a warning. Must be called on a tokio runtime with IO and
    /// time.
    pub fn new(path: &Path, poll: Duration) -> Self {
        let mut changes = Self::poll_only(path, poll);
        changes.watcher = watcher(Arc::clone(&changes.events));
        changes.hangup = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "no handler for SIGHUP"))
            .ok();
        changes.watch_directories();
        changes
    }

    /// As on a file system without events, and without signals.
    pub(super) fn poll_only(path: &Path, poll: Duration) -> Self {
        let mut poll = interval_at(Instant::now() + poll, poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { path: path.to_owned(), events: Arc::new(Notify::new()), watcher: None, poll, hangup: None }
    }

    /// Waits for the next reason to look. Events of one burst are one reason.
    pub async fn next(&mut self) -> Trigger {
        let trigger = tokio::select! {
            () = self.events.notified() => Trigger::Event,
            _ = self.poll.tick() => Trigger::Poll,
            () = received(self.hangup.as_mut()) => Trigger::Sighup,
        };
        if trigger == Trigger::Event {
            self.settle().await;
        }
        // The burst may have moved a link, or made a directory anew: the watch belongs to the old inode.
        self.watch_directories();
        trigger
    }

    async fn settle(&self) {
        let give_up = Instant::now() + QUIET_MAX;
        while Instant::now() < give_up && timeout(QUIET, self.events.notified()).await.is_ok() {}
    }

    /// Watches again what may be another directory by now. Adding a watch twice is free; a directory that
    /// does not exist is left to the poll.
    fn watch_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for dir in directories(&self.path) {
            if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
                tracing::debug!(dir = %dir.display(), %error, "no watch: the poll will notice changes");
            }
        }
    }
}

/// Where a change of `path` can show: the directory itself, or that of the file, and behind links the real
/// one too.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    for place in [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten() {
        if !place.is_dir() || place.is_symlink() {
            dirs.insert(parent(&place));
        }
        if place.is_dir() {
            dirs.insert(place);
        }
    }
    dirs
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn watcher(events: Arc<Notify>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<Event>| {
        if event.map_or(true, |event| is_change(event.kind)) {
            events.notify_one();
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(|error| tracing::warn!(%error, "no file events: changes are found by polling only"))
        .ok()
}

/// Our own reading opens and closes files; answering that would never end.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

async fn received(signal: Option<&mut Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn reading_is_no_change_and_a_finished_write_is() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(EventKind::Other), "an overflow of the queue may hide anything");
    }

    #[test]
    fn u8_the_directories_of_a_path_are_watched_on_both_sides_of_a_link() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (real, file, link) = (root.join("real"), root.join("real/a.yaml"), root.join("link"));
        fs::create_dir(&real).unwrap();
        fs::write(&file, "").unwrap();
        symlink("real", &link).unwrap();
        let set = |dirs: &[&PathBuf]| dirs.iter().copied().cloned().collect::<BTreeSet<_>>();
        assert_eq!(directories(&real), set(&[&real]));
        assert_eq!(directories(&file), set(&[&real]));
        assert_eq!(directories(&link), set(&[&root, &link, &real]));
        assert_eq!(directories(&link.join("a.yaml")), set(&[&link, &real]));
        assert_eq!(directories(Path::new("none.yaml")), set(&[&PathBuf::from(".")]));
    }
}
