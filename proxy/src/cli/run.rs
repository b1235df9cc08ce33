//! How does a sidecar live? It starts with a valid policy, starts the application if it has one, follows the files, and ends
//! in the order of [`course`].
//!
//! The control runtime is the main thread: reload, DNS and signals. Workers have threads of their own, and so have the
//! probes, so that neither a large policy nor a busy data path makes the process look dead.

mod application;
mod course;
mod follow;
mod signals;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::application::{Application, CAPTURED};
use self::course::{Course, End};
use self::follow::Follower;
use self::signals::Signals;
use super::Failure;
use super::policy::Policy;
use crate::admin::{Ports, Standing};
use crate::app::App;
use crate::reload::watch::Changes;
use crate::reload::{self, DEFAULT_POLL};
use crate::worker::Phase;

/// Run the sidecar, and the application beside it if one is given
///
/// It logs to standard error (`RUST_LOG` sets the level) and writes the access log to standard output. SIGHUP rereads the
/// policy. SIGTERM and SIGINT drain within `shutdown.drain`: readiness fails, callers are told to go and served until they
/// have gone, the service's own calls are served to the end; a second one ends at once.
///
/// With `-- APP`, the application starts once its calls would find their way, with our standard streams (the access log goes
/// to standard error instead) and a process group of its own. SIGTERM and SIGINT reach it when no caller is left, or after
/// half of `shutdown.drain`; its own calls are served until it has exited, and near the end of `shutdown.drain` it is killed.
/// A second signal reaches it at once, a third kills it, a fourth ends us without waiting for that. SIGQUIT, SIGUSR1, SIGUSR2
/// and SIGWINCH are passed on; SIGHUP is not, since it would end an application that does not expect it. Where standard input
/// is a terminal it stays in our process group, to be able to read it, and hears itself what is typed there (Ctrl-C). The exit
/// code is the application's: 128 and the signal's number if a signal ended it, 127 if there is no such program, 126 if it
/// cannot be started. A wrong policy is 1, and starts nothing. So is one that captures: its rules know the sidecar by its user,
/// and would leave the application's calls alone too.
///
/// As process 1 of a container it also reaps what others leave behind.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// A policy file, or a directory of `*.yaml`; followed while running
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
    /// The application and its arguments
    #[arg(last = true, value_name = "APP")]
    app: Vec<OsString>,
}

/// Runs until a signal or the application ends it; the exit code.
pub(super) fn run(asked: &Run) -> Result<u8, Failure> {
    let policy = Policy::load(&asked.config).map_err(|error| Failure::Because(error.to_string()))?;
    if !asked.app.is_empty() && policy.config.captures() {
        return Err(Failure::because(CAPTURED));
    }
    log_to_stderr();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let lived = runtime.block_on(live(asked, policy));
    // A read of the policy that hangs must not keep the process.
    runtime.shutdown_background();
    lived
}

async fn live(asked: &Run, policy: Policy) -> Result<u8, Failure> {
    let signals = Signals::new(!asked.app.is_empty())?;
    let descriptors = getrlimit(Resource::Nofile);
    let changes = Changes::new(&asked.config, DEFAULT_POLL);
    let ports = Ports::bind(&policy.config.sidecar.admin)?;
    let [admin, metrics] = ports.addrs()?;
    let app = App::start(policy.config, access_log(asked))?;
    let standing = Arc::new(Standing::new(policy.hash, SystemTime::now()));
    let server = ports.serve(Arc::clone(&app.shared), Arc::clone(&standing))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %admin, %metrics, "listening");

    let shared = Arc::clone(&app.shared);
    let named = || {
        let files = &shared.snapshot.load().body_files;
        (files.paths.clone(), files.digest)
    };
    let (warm, calls_nobody) = (app.warm(), app.calls_nobody());
    let follower = RefCell::new(Follower { app, standing, beside_us: !asked.app.is_empty() });
    let following = reload::run(asked.config.clone(), changes, policy.hash, named, |found| {
        follower.borrow_mut().take(found);
    });
    let draining = async {
        shared.life.reaches(Phase::Draining).await;
        let callers_gone = follower.borrow().app.drain();
        callers_gone.await;
        tracing::info!("no callers are left, or their time is up");
        std::future::pending::<()>().await;
    };
    let serving = async {
        let mut course = Course { signals, application: None, shared: &shared };
        if let Some(told) = course.starts(warm).await {
            // An application that never ran has done nothing of what it should.
            return Ok(End::AtOnce(if asked.app.is_empty() { 0 } else { signals::code(told) }));
        }
        tracing::info!("ready");
        course.application = Application::start(&asked.app, descriptors)?;
        Ok(course.run(calls_nobody).await)
    };
    let ended = tokio::select! {
        () = following => unreachable!("following has no end"),
        () = draining => unreachable!("it waits for the others"),
        ended = serving => ended,
    };
    let Follower { mut app, .. } = follower.into_inner();
    if let Ok(End::InOrder(_)) = ended {
        app.close().await;
    }
    server.stop();
    drop(shared);
    app.stop();
    ended.map(End::code)
}

/// Standard output is the application's, if there is one.
fn access_log(asked: &Run) -> Box<dyn io::Write + Send> {
    if asked.app.is_empty() { Box::new(io::stdout()) } else { Box::new(io::stderr()) }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().compact().with_env_filter(filter).with_writer(io::stderr).init();
}
