//! May the application start, and is the sidecar well? Asked from outside, by hooks, probes and whoever starts things.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;
use outrigger_config::defaults;
use outrigger_config::model::AdminAddress;
use outrigger_config::scalars::{NonZeroDuration, Scalar};

use super::beside::{self, PATIENCE};
use super::{Failure, not_started};
use crate::clock::now;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Wait until a sidecar has started: until calls of the application find their way; exit 0 then, 1 if it takes too long
///
/// With `-- APP`, this process then becomes the application. As a `postStart` hook of the sidecar, or before the command of a
/// container that has no other way to come second; with `--timeout 1s` as a health check.
///
/// What is asked is `/startupz`, which knows nothing of the application, so both can wait for one another. `--ready` asks
/// `/readyz`: whether others should call. That is no while the application is not up, where the policy checks it.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The policy, for its `admin.metrics`
    #[arg(long, value_name = "PATH", conflicts_with = "at")]
    config: Option<PathBuf>,
    /// Where metrics and probes are [default: 127.0.0.1:15020]
    #[arg(long, value_name = "ADDRESS", value_parser = AdminAddress::parse)]
    at: Option<AdminAddress>,
    /// Until it is ready to be called
    #[arg(long)]
    ready: bool,
    /// How long
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = NonZeroDuration::parse)]
    timeout: NonZeroDuration,
    /// What to become, and its arguments
    #[arg(last = true, value_name = "APP")]
    app: Vec<OsString>,
}

/// Waits; returns only if there is nothing to become.
pub(super) fn run(asked: &Wait) -> Result<(), Failure> {
    let metrics = |admin: outrigger_config::model::Admin| AdminAddress::Port(admin.metrics);
    let at = beside::find(asked.at.as_ref(), asked.config.as_deref(), metrics, defaults::METRICS_LISTEN)?;
    let path = if asked.ready { "/readyz" } else { "/startupz" };
    let patience = Duration::from(asked.timeout);
    let until = now() + patience;
    loop {
        let left = until.saturating_duration_since(now());
        let said = match beside::ask(&at, "GET", path, left.clamp(PAUSE, PATIENCE)) {
            Ok((200, _)) => break,
            Ok((_, said)) => said,
            Err(error) => error.to_string(),
        };
        if now() + PAUSE >= until {
            let waited = asked.timeout;
            return Err(Failure::because(format_args!("waited {waited} in vain for {at}{path}: {said}")));
        }
        thread::sleep(PAUSE);
    }
    match asked.app.split_first() {
        None => Ok(()),
        Some((name, arguments)) => Err(not_started(name, &Command::new(name).args(arguments).exec())),
    }
}
