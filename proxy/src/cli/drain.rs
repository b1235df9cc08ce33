//! How do callers leave before the process ends? As hooks say that run ahead of the signal.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use outrigger_config::defaults;
use outrigger_config::model::AdminAddress;
use outrigger_config::scalars::Scalar;
use serde_json::Value;

use super::Failure;
use super::beside::{self, PATIENCE};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Begin the drain of a running sidecar, and wait until no caller is left or `shutdown.drain` is over
///
/// Readiness fails, inbound callers are told to go and served until they have gone, the service's own calls go on. The process
/// stays until SIGTERM ends it, which then finds the first step done. That is what a `preStop` hook wants in Kubernetes, where
/// hooks run when the pod begins to end and SIGTERM reaches a native sidecar only after the application has gone:
///
///   preStop: {exec: {command: [outrigger, drain, --no-wait]}}
///
/// It goes on from where it is: a second `drain` waits for the first. There is no way back but a restart.
#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The policy, for its `admin.listen`
    #[arg(long, value_name = "PATH", conflicts_with = "at")]
    config: Option<PathBuf>,
    /// Where operators ask, a port or `unix:FILE` [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS", value_parser = AdminAddress::parse)]
    at: Option<AdminAddress>,
    /// Begin, and leave it to itself
    #[arg(long)]
    no_wait: bool,
}

/// Begins, and waits if it is to.
pub(super) fn run(asked: &Drain) -> Result<(), Failure> {
    let at = beside::find(
        asked.at.as_ref(),
        asked.config.as_deref(),
        |admin| admin.listen,
        defaults::ADMIN_LISTEN,
    )?;
    let mut method = "POST";
    loop {
        let (status, said) = match beside::ask(&at, method, "/drain", PATIENCE) {
            // It has ended meanwhile, and callers with it.
            Err(_) if method == "GET" => return Ok(()),
            answer => {
                answer.map_err(|error| Failure::because(format_args!("cannot drain at {at}: {error}")))?
            }
        };
        if status != 200 {
            return Err(Failure::because(format_args!("cannot drain at {at}: {status} {said}")));
        }
        if asked.no_wait || phase(&said).as_deref() == Some("drained") {
            return Ok(());
        }
        method = "GET";
        thread::sleep(PAUSE);
    }
}

fn phase(said: &str) -> Option<String> {
    let said: Value = serde_json::from_str(said).ok()?;
    Some(said.get("phase")?.as_str()?.to_owned())
}
