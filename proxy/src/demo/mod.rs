//! What does a sidecar change? The main job on one machine, with nothing else installed.
//!
//! `holdings` calls `market-data`, which has three replicas: one is healthy, one slow, and one fails a third of its
//! calls. Two callers ask `holdings` at the same steady rate and at the same time, one without sidecars, one through
//! them. What each saw is measured, and printed side by side. The sidecars are real ones, the [`App`](crate::app::App)
//! that `outrigger run` starts, with the policies of `config/examples/demo`; they speak mutual TLS with each other, and
//! those who have no right identity try to call one in vain. In a second act replicas die and hang, and
//! somebody floods `holdings`: what the sidecar did about it stands beside what the callers saw.

mod certs;
mod deeds;
mod http;
mod load;
mod progress;
mod report;
mod scenes;
mod services;
mod sidecar;
mod stage;
mod trials;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use outrigger_config::Errors;
use tokio::signal::unix::{SignalKind, signal};

use self::report::Calls;
use self::stage::Stage;
use crate::admin::BindError;
use crate::app::AppError;

pub use self::deeds::Deeds;
pub use self::load::Summary;
pub use self::report::{Report, Retries};
pub use self::scenes::{Played, Scene};
pub use self::trials::{Trial, Who};

/// A hundred requests a second from each caller: enough for a p99 within seconds, little for any machine.
const PERIOD: Duration = Duration::from_millis(10);

/// Why there is no demo.
#[derive(Debug)]
pub enum DemoError {
    /// No folder for logs.
    Folder(io::Error),
    /// No free port.
    Port(io::Error),
    /// The policy is not valid.
    Policy(Errors),
    /// A sidecar's operators' port was taken by another just now.
    Admin(BindError),
    /// A sidecar cannot start.
    Sidecar(AppError),
    /// A thread cannot be had.
    Thread(io::Error),
    /// It could not be told to end.
    Signals(io::Error),
    /// There are no certificates, or they do not serve.
    Certs(String),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(error) => write!(f, "cannot write to a temporary folder: {error}"),
            Self::Port(error) => write!(f, "no free port: {error}"),
            Self::Policy(errors) => errors.fmt(f),
            Self::Admin(error) => error.fmt(f),
            Self::Sidecar(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::Signals(error) => write!(f, "cannot wait for signals: {error}"),
            Self::Certs(error) => write!(f, "no certificates to show: {error}"),
        }
    }
}

impl std::error::Error for DemoError {}

/// Runs for as long as `duration`, or until Ctrl-C, and says what was measured. Tells on standard error how it goes.
/// Whatever ends it, short of SIGKILL, it takes its keys along.
pub async fn run(duration: Duration) -> Result<Report, DemoError> {
    let mut told_to_end = pin!(told_to_end().map_err(DemoError::Signals)?);
    let stage = Stage::set(stage::folder()?).await?;
    progress::introduce(&stage, duration);
    let interrupted = tokio::select! {
        () = load::send(&stage.callers, PERIOD, duration / 2) => false,
        () = progress::show(&stage.callers) => false,
        () = &mut told_to_end => true,
    };
    let mut report = measured(&stage);
    let second_act = async {
        report.trials = trials::hold(&stage).await?;
        scenes::play(&stage, duration / 2, &mut report.scenes).await;
        Ok(())
    };
    let ended = tokio::select! {
        ended = second_act, if !interrupted => ended,
        () = &mut told_to_end, if !interrupted => Ok(()),
        else => Ok(()),
    };
    progress::conclude(&stage.strike());
    ended.map(|()| report)
}

/// Ends with the first of these signals since this was called.
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    let [mut interrupt, mut terminate, mut hangup] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    Ok(poll_fn(move |context| {
        let told = [&mut interrupt, &mut terminate, &mut hangup].map(|signal| signal.poll_recv(context));
        if told.iter().any(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }))
}

fn measured(stage: &Stage) -> Report {
    let [without, with] = stage.callers.each_ref().map(|caller| caller.summary());
    let replicas = stage.replicas.iter().map(|replica| Calls::of(replica)).collect();
    let retries = Retries::scraped(&stage.sidecar.scrape());
    Report { without, with, replicas, retries, trials: Vec::new(), scenes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn callers_are_better_off_with_sidecars() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path().to_owned()).await.unwrap();
        load::send(&stage.callers, PERIOD, Duration::from_secs(3)).await;
        let report = measured(&stage);
        stage.strike();
        assert!(report.with.success_rate > report.without.success_rate, "{report}");
        for seen in [&report.without, &report.with] {
            assert_eq!(seen.requests, 300, "{report}");
            assert!(seen.p50_ms > Some(0.0) && seen.p99_ms >= seen.p50_ms, "{report}");
        }
        assert!(report.retries.allowed > 0, "{report}");
        assert!(report.replicas.iter().all(|calls| calls.without == 100), "{report}");
        assert!(report.replicas[0].with > report.replicas[1].with, "{report}");
    }

    #[tokio::test]
    async fn when_all_prices_are_gone_callers_with_sidecars_still_get_what_was_known() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path().to_owned()).await.unwrap();
        load::send(&stage.callers, PERIOD, Duration::from_secs(1)).await;
        let mut played = Vec::new();
        scenes::play(&stage, Duration::from_secs(6), &mut played).await;
        stage.strike();
        let [_, _, flood, gone] = &played[..] else { panic!("{played:?}") };
        assert!(flood.deeds.denied > 0, "{played:?}");
        assert!(gone.deeds.stale > 0, "{played:?}");
        assert!(gone.with > gone.without && gone.without == Some(0.0), "{played:?}");
    }

    #[tokio::test]
    async fn nobody_calls_a_sidecar_of_market_data_without_the_identity_to_do_so() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path().to_owned()).await.unwrap();
        let key = std::fs::metadata(stage.certs.of("holdings").join("tls.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let trials = trials::hold(&stage).await.unwrap();
        let asked = stage.replicas[0].calls().iter().sum::<u64>();
        stage.strike();
        let told: Vec<_> = trials.iter().map(|trial| (trial.who, trial.refused.as_deref())).collect();
        let expected = [
            (Who::Holdings, None),
            (Who::Stranger, Some("denied by callers")),
            (Who::Forger, Some("unknown-ca")),
            (Who::Nobody, Some("no-certificate")),
            (Who::Plaintext, Some("plaintext-refused")),
        ];
        assert_eq!(told, expected);
        assert_eq!(asked, 1, "who is refused does not reach the service");
        assert!(!folder.path().join("certs").exists(), "keys outlive the demo");
    }

    #[tokio::test]
    async fn what_it_leaves_behind_is_a_policy_to_copy_and_a_log_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::set(folder.path().to_owned()).await.unwrap();
        load::send(&stage.callers, PERIOD, Duration::from_millis(100)).await;
        assert_eq!(stage.callers[1].summary().requests, 10);
        stage.strike();
        for name in ["holdings.yaml", "market-data.yaml"] {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(
                outrigger_config::parse(&[outrigger_config::Source { name: name.to_owned(), text }]).is_ok()
            );
        }
        assert!(
            folder.path().join("holdings.log").exists() && folder.path().join("market-data-c.log").exists()
        );
    }
}
