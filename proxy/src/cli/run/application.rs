//! Who is the application, and how did it end? A child with our standard streams and nothing else of ours.
//!
//! Every descriptor of ours is closed in it (`O_CLOEXEC`), its signal mask is empty (the standard library sees to that), and
//! its limit of descriptors is the one that we were started with.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus, getrlimit, kill_process, kill_process_group,
    setrlimit, wait,
};

use super::super::{Failure, not_started};

/// The application while it runs.
#[derive(Debug)]
pub(super) struct Application {
    pid: Pid,
    /// It leads a process group of its own.
    leads: bool,
}

/// Why none can run beside this policy; rules know ours by the user, which it would have too.
pub(super) const CAPTURED: &str = "the policy captures (`capture: redirect`), and the rules leave all of the sidecar's user \
    alone, so an application that it starts would go around it; start it as another user, with `outrigger wait -- APP`, \
    beside a sidecar that is started without one";

/// Reaps all who have ended: the application, and in process 1 those whose parents are gone. The exit code of the
/// application, if it is one of them.
pub(super) fn reap(application: Option<&Application>) -> Option<u8> {
    let mut code = None;
    // An error says that there are no children.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if application.is_some_and(|application| application.pid == pid) {
            code = Some(exit_code(status));
        }
    }
    code
}

impl Application {
    /// Starts `program`, its first word the name; `None`: there is none. It leads a process group, so that what is said to ours
    /// reaches it through us, in order; but not where it may read a terminal, which stops all groups but one
    /// (POSIX.1-2024 §11.1.4). `descriptors`: the limit that it is to have.
    pub(super) fn start(program: &[OsString], descriptors: Rlimit) -> Result<Option<Self>, Failure> {
        let Some((name, arguments)) = program.split_first() else { return Ok(None) };
        let raised = getrlimit(Resource::Nofile);
        // Where it can be raised it can be lowered; and whoever has it lower already is no worse off.
        let _ = setrlimit(Resource::Nofile, descriptors);
        let leads = !io::stdin().is_terminal();
        let mut command = Command::new(name);
        command.args(arguments);
        if leads {
            command.process_group(0);
        }
        let child = command.spawn();
        let _ = setrlimit(Resource::Nofile, raised);
        let child = child.map_err(|error| not_started(name, &error))?;
        tracing::info!(pid = child.id(), name = %name.display(), "the application starts");
        Ok(Some(Self { pid: Pid::from_child(&child), leads }))
    }

    /// Tells it.
    pub(super) fn tell(&self, signal: Signal) {
        // It may have ended, which is told elsewhere.
        let _ = kill_process(self.pid, signal);
    }

    /// Kills it, wherever it has moved, and all whom it has started and kept.
    pub(super) fn kill(&self) {
        // Whoever cannot be killed, as one of another user, is not waited for.
        let _ = kill_process(self.pid, Signal::KILL);
        // Without a group of its own it shares ours.
        if self.leads {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

/// As a shell tells it.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
