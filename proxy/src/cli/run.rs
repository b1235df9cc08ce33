//! How does a sidecar live? It starts with a valid policy, follows the files, drains when told to end.
//!
//! The control runtime is the main thread: reload, DNS and signals. Workers have threads of their own, and so have the
//! probes, so that neither a large policy nor a busy data path makes the process look dead.

mod follow;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::follow::Follower;
use super::Failure;
use super::policy::Policy;
use crate::admin::{Ports, Standing};
use crate::app::App;
use crate::reload::watch::Changes;
use crate::reload::{self, DEFAULT_POLL};

/// Run the sidecar
///
/// It logs to standard error (`RUST_LOG` sets the level) and writes the access log to standard output. SIGHUP rereads the
/// policy, SIGTERM and SIGINT drain, a second one ends at once.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// A policy file, or a directory of `*.yaml`; followed while running
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
}

/// Runs until a signal ends it.
pub(super) fn run(asked: &Run) -> Result<(), Failure> {
    let policy = Policy::load(&asked.config).map_err(|error| Failure::Because(error.to_string()))?;
    log_to_stderr();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let lived = runtime.block_on(live(asked, policy));
    // A read of the policy that hangs must not keep the process.
    runtime.shutdown_background();
    lived
}

async fn live(asked: &Run, policy: Policy) -> Result<(), Failure> {
    let mut endings = Endings::new()?;
    let changes = Changes::new(&asked.config, DEFAULT_POLL);
    let ports = Ports::bind(&policy.config.sidecar.admin)?;
    let [admin, metrics] = ports.addrs()?;
    let app = App::start(policy.config, Box::new(io::stdout()))?;
    let standing = Arc::new(Standing::new(policy.hash, SystemTime::now()));
    let server = ports.serve(Arc::clone(&app.shared), Arc::clone(&standing))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %admin, %metrics, "ready");

    let shared = Arc::clone(&app.shared);
    let named = || {
        let files = &shared.snapshot.load().body_files;
        (files.paths.clone(), files.digest)
    };
    let mut follower = Follower { app, standing };
    let following =
        reload::run(asked.config.clone(), changes, policy.hash, named, |found| follower.take(found));
    let told = tokio::select! {
        () = following => unreachable!("following has no end"),
        told = endings.next() => told,
    };
    tracing::info!(signal = told, "draining");
    tokio::select! {
        () = follower.app.drain() => tracing::info!("drained"),
        told = endings.next() => tracing::warn!(signal = told, "ending at once"),
    }
    server.stop();
    follower.app.stop();
    Ok(())
}

/// The signals that end the process.
struct Endings {
    terminate: Signal,
    interrupt: Signal,
}

impl Endings {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().compact().with_env_filter(filter).with_writer(io::stderr).init();
}
