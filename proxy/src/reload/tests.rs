//! Is every kind of change noticed, on a real file system? REQUIREMENTS U8 has the matrix.
//!
//! Where events are tested the poll is set too long to help, and the other way round.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

const NEVER: Duration = Duration::from_hours(1);
const OFTEN: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(20);

/// What `apply` was given: texts joined by a bar, or the error.
type Applied = Result<String, String>;

struct Follower {
    applied: UnboundedReceiver<Applied>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Starts with an unknown content and waits until it was read, so that what comes next needs a trigger.
    async fn start(path: &Path, changes: Changes) -> Self {
        let (tx, applied) = unbounded_channel();
        let apply = move |found: Result<Vec<FileText>, ReadError>| {
            let texts = found.map(|files| files.into_iter().map(|f| f.text).collect::<Vec<_>>().join("|"));
            // The receiver is gone only when the test is over.
            let _ = tx.send(texts.map_err(|error| error.to_string()));
        };
        let task = tokio::spawn(run(path.to_owned(), changes, 0, || (Vec::new(), 0), apply));
        let mut follower = Self { applied, task };
        follower.until(Result::is_ok).await;
        follower
    }

    async fn by_events(path: &Path) -> Self {
        Self::start(path, Changes::new(path, NEVER)).await
    }

    async fn by_poll(path: &Path) -> Self {
        Self::start(path, Changes::poll_only(path, OFTEN)).await
    }

    /// Waits until `apply` was given what is asked for. Steps in between are fine: a write is not atomic, and
    /// the SIGHUP of another test reaches all.
    async fn until(&mut self, wanted: impl Fn(&Applied) -> bool) {
        let search = async {
            loop {
                let applied = self.applied.recv().await.expect("the follower has no end");
                if wanted(&applied) {
                    return;
                }
            }
        };
        timeout(DEADLINE, search).await.expect("the change was not noticed");
    }

    async fn until_text(&mut self, text: &str) {
        self.until(|applied| applied.as_deref() == Ok(text)).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn dir_with(name: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), text).unwrap();
    dir
}

/// The steps of the kubelet's atomic writer: new directory, new link, rename over, old directory away.
fn kubelet_writes(volume: &Path, revision: u32, text: &str) {
    let old = fs::read_link(volume.join("..data")).ok();
    let new = format!("..r{revision}");
    fs::create_dir(volume.join(&new)).unwrap();
    fs::write(volume.join(&new).join("policy.yaml"), text).unwrap();
    symlink(&new, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if !volume.join("policy.yaml").is_symlink() {
        symlink("..data/policy.yaml", volume.join("policy.yaml")).unwrap();
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

#[tokio::test]
async fn u8_edit_in_place() {
    let dir = dir_with("a.yaml", "one");
    let mut follower = Follower::by_events(dir.path()).await;
    fs::write(dir.path().join("a.yaml"), "two").unwrap();
    follower.until_text("two").await;
}

#[tokio::test]
async fn u8_rename_over_a_single_file_twice() {
    let dir = dir_with("a.yaml", "one");
    let file = dir.path().join("a.yaml");
    let mut follower = Follower::by_events(&file).await;
    for text in ["two", "three"] {
        fs::write(dir.path().join("a.tmp"), text).unwrap();
        fs::rename(dir.path().join("a.tmp"), &file).unwrap();
        follower.until_text(text).await;
    }
}

#[tokio::test]
async fn u8_data_link_swap_of_a_mounted_directory() {
    let volume = tempfile::tempdir().unwrap();
    kubelet_writes(volume.path(), 1, "one");
    let mut follower = Follower::by_events(volume.path()).await;
    for (revision, text) in [(2, "two"), (3, "three")] {
        kubelet_writes(volume.path(), revision, text);
        follower.until_text(text).await;
    }
}

#[tokio::test]
async fn u8_data_link_swap_below_a_single_file() {
    let volume = tempfile::tempdir().unwrap();
    kubelet_writes(volume.path(), 1, "one");
    let mut follower = Follower::by_events(&volume.path().join("policy.yaml")).await;
    for (revision, text) in [(2, "two"), (3, "three")] {
        kubelet_writes(volume.path(), revision, text);
        follower.until_text(text).await;
    }
}

#[tokio::test]
async fn u8_file_added_and_removed() {
    let dir = dir_with("a.yaml", "a");
    let mut follower = Follower::by_events(dir.path()).await;
    fs::write(dir.path().join("b.yaml"), "b").unwrap();
    follower.until_text("a|b").await;
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    follower.until_text("b").await;
}

#[tokio::test]
async fn u8_link_to_the_directory_is_pointed_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    for text in ["one", "two"] {
        fs::create_dir(root.path().join(text)).unwrap();
        fs::write(root.path().join(text).join("a.yaml"), text).unwrap();
    }
    symlink("one", root.path().join("current")).unwrap();
    let mut follower = Follower::by_events(&root.path().join("current")).await;
    symlink("two", root.path().join("next")).unwrap();
    fs::rename(root.path().join("next"), root.path().join("current")).unwrap();
    follower.until_text("two").await;
    // The watch moved with the link.
    fs::write(root.path().join("two/a.yaml"), "three").unwrap();
    follower.until_text("three").await;
}

#[tokio::test]
async fn u8_no_events_at_all() {
    let dir = dir_with("a.yaml", "one");
    let mut follower = Follower::by_poll(dir.path()).await;
    fs::write(dir.path().join("a.yaml"), "two").unwrap();
    follower.until_text("two").await;
}

#[tokio::test]
async fn u8_directory_made_anew_is_found() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("policy");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), "one").unwrap();
    let mut follower = Follower::start(&dir, Changes::new(&dir, OFTEN)).await;
    fs::remove_dir_all(&dir).unwrap();
    follower.until(Result::is_err).await;
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("a.yaml"), "two").unwrap();
    follower.until_text("two").await;
}

#[tokio::test]
async fn u8_directory_made_anew_is_watched_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("policy");
    fs::create_dir(&dir).unwrap();
    let mut changes = Changes::new(&dir, OFTEN);
    fs::remove_dir(&dir).unwrap();
    // Whatever is reported of the removal is over once a poll comes first.
    reached(&mut changes, Trigger::Event).await;
    reached(&mut changes, Trigger::Poll).await;
    fs::create_dir(&dir).unwrap();
    // The old watch is dead, so no event can come before this poll, and the poll sets the new one.
    reached(&mut changes, Trigger::Poll).await;
    fs::write(dir.join("a.yaml"), "two").unwrap();
    reached(&mut changes, Trigger::Event).await;
}

#[tokio::test]
async fn cf_7_an_unreadable_source_is_told_once_and_asked_for_ever() {
    let dir = dir_with("a.yaml", "one");
    let file = dir.path().join("a.yaml");
    let mut follower = Follower::by_poll(dir.path()).await;
    fs::remove_file(&file).unwrap();
    follower.until(|applied| matches!(applied, Err(reason) if reason.contains("no *.yaml"))).await;
    fs::write(dir.path().join("broken.yaml"), b"\xff").unwrap();
    follower.until(|applied| matches!(applied, Err(reason) if reason.contains("broken.yaml"))).await;
    fs::remove_file(dir.path().join("broken.yaml")).unwrap();
    // What ran all the time is told again: only now is the process in sync with its source.
    fs::write(&file, "one").unwrap();
    follower.until_text("one").await;
}

#[tokio::test]
async fn cf_3_a_change_before_the_watch_is_not_lost() {
    let dir = dir_with("a.yaml", "two");
    let changes = Changes::poll_only(dir.path(), NEVER);
    let loaded = files::fingerprint(&[FileText { name: "a.yaml".into(), text: "one".into() }]);
    let (tx, mut applied) = unbounded_channel();
    let task = tokio::spawn(run(
        dir.path().to_owned(),
        changes,
        loaded,
        || (Vec::new(), 0),
        move |found| {
            tx.send(found.is_ok()).expect("the test listens");
        },
    ));
    assert_eq!(timeout(DEADLINE, applied.recv()).await, Ok(Some(true)));
    task.abort();
}

#[tokio::test]
async fn cf_1_sighup_tries_again_without_a_change() {
    let dir = dir_with("a.yaml", "one");
    let mut follower = Follower::by_events(dir.path()).await;
    kill_process(getpid(), Signal::HUP).unwrap();
    follower.until_text("one").await;
}

#[tokio::test]
async fn fb_5_a_changed_file_that_the_policy_names_is_noticed_once() {
    let (dir, beside) = (dir_with("a.yaml", "one"), dir_with("stub.json", "old"));
    let stub = beside.path().join("stub.json");
    let (loaded, paths) = (files::read(dir.path()).unwrap(), vec![stub.clone()]);
    let (loaded, had) = (files::fingerprint(&loaded), digest(&paths));
    let (tx, mut applied) = unbounded_channel();
    let changes = Changes::poll_only(dir.path(), OFTEN);
    let named = move || (paths.clone(), had);
    let task = tokio::spawn(run(dir.path().to_owned(), changes, loaded, named, move |found| {
        tx.send(found.is_ok()).expect("the test listens");
    }));
    fs::write(&stub, "").unwrap();
    assert_eq!(timeout(DEADLINE, applied.recv()).await, Ok(Some(true)));
    fs::remove_file(&stub).unwrap();
    assert_eq!(timeout(DEADLINE, applied.recv()).await, Ok(Some(true)), "that it is gone is news too");
    assert!(timeout(5 * OFTEN, applied.recv()).await.is_err(), "what was told is not told again");
    task.abort();
}

#[test]
fn cf_3_only_news_is_applied() {
    let running = Seen::Content(1, 0);
    for trigger in [Trigger::Event, Trigger::Poll] {
        assert!(!Seen::Content(1, 0).is_news(&running, trigger));
        assert!(Seen::Content(2, 0).is_news(&running, trigger));
        assert!(Seen::Content(1, 1).is_news(&running, trigger));
        assert!(Seen::Failure("gone".into()).is_news(&running, trigger));
        assert!(!Seen::Failure("gone".into()).is_news(&Seen::Failure("gone".into()), trigger));
        assert!(Seen::Content(1, 0).is_news(&Seen::Failure("gone".into()), trigger));
    }
    assert!(Seen::Content(1, 0).is_news(&running, Trigger::Sighup));
}

async fn reached(changes: &mut Changes, wanted: Trigger) {
    timeout(DEADLINE, async { while changes.next().await != wanted {} }).await.expect("no such trigger");
}
