//! What makes a sidecar? The composition root: builds every room, starts, follows the policy, drains, ends.

mod identity;
mod tending;
mod warmth;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outrigger_config::model::{Config, Direction, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::identity::KeyError;
use self::tending::Tending;
use crate::clock::now;
use crate::downstream::fleet::{BindError, Fleet};
use crate::snapshot::{self, BuildError};
use crate::telemetry::{LineSink, Metrics, SinkEnd};
use crate::upstream::discovery::Resolver;
use crate::worker::{Phase, Shared};

/// Series that the metrics may have; what is over is counted under `overflow` (OB-11).
const SERIES_CAP: usize = 20_000;
/// The part of a drain in which idle inbound connections are closed, one after the other.
const IDLE_SPREAD: u32 = 3;
/// The most that a tenth of the grace is taken to be.
const TENTH: Duration = Duration::from_secs(1);
/// How long the last lines of the access log may take.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How often an end looks whether it has come.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A running sidecar, held by its control runtime.
#[derive(Debug)]
pub struct App {
    /// What all threads share.
    pub shared: Arc<Shared>,
    fleet: Fleet,
    log: LineSink,
    log_end: SinkEnd,
    tending: Tending,
}

/// Why a sidecar cannot start, or a generation cannot run.
#[derive(Debug)]
pub enum AppError {
    /// A port cannot be had.
    Bind(BindError),
    /// A thread cannot be had.
    Thread(io::Error),
    /// The policy cannot run.
    Build(BuildError),
    /// The files do not say who we are.
    Identity(KeyError),
    /// The name server's address is none.
    Resolver(String),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Build(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::Resolver(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for AppError {}

impl App {
    /// Starts all that `config` asks for; call it on the control runtime. The access log goes to `log`.
    pub fn start(config: Config, log: Box<dyn io::Write + Send>) -> Result<Self, AppError> {
        let workers = worker_count(config.sidecar.workers);
        Self::with(config, log, workers, |shared, descriptors| Fleet::start(shared, workers, descriptors))
    }

    /// The same with one worker that shares this thread and its `LocalRuntime`: several sidecars, their callers and their
    /// applications can then live by one clock.
    pub fn start_here(config: Config, log: Box<dyn io::Write + Send>) -> Result<Self, AppError> {
        Self::with(config, log, 1, |shared, descriptors| Ok(Fleet::here(shared, descriptors)))
    }

    fn with(
        config: Config,
        log: Box<dyn io::Write + Send>,
        workers: usize,
        fleet: impl FnOnce(&Arc<Shared>, u64) -> io::Result<Fleet>,
    ) -> Result<Self, AppError> {
        let descriptors = raise_descriptor_limit();
        let metrics = Metrics::new(workers, SERIES_CAP);
        let (log, log_end) = LineSink::spawn(log, metrics.access_log_dropped()).map_err(AppError::Thread)?;
        let tls = identity::load(&config, None).map_err(AppError::Identity)?;
        let snapshot = snapshot::build(config, None, tls, &metrics, &log, now()).map_err(AppError::Build)?;
        let resolver = Resolver::from_environment().map_err(|error| AppError::Resolver(error.to_string()))?;
        let wanted = snapshot.sockets().to_vec();
        let backlog = snapshot.limits().backlog;
        let shared = Shared::new(snapshot, metrics);
        let mut fleet = fleet(&shared, descriptors).map_err(AppError::Thread)?;
        let bound = match fleet.bind(&wanted, backlog) {
            Ok(bound) => bound,
            Err(error) => {
                fleet.stop();
                return Err(AppError::Bind(error));
            }
        };
        fleet.serve(bound, &wanted);
        let mut tending = Tending::new(resolver, &shared);
        tending.follow(&shared.snapshot.load());
        let app = Self { shared, fleet, log, log_end, tending };
        app.shared.metrics.config().loaded(1, SystemTime::now());
        Ok(app)
    }

    /// Makes `config` the next generation, whole or not at all.
    pub fn apply(&mut self, config: Config) -> Result<u64, AppError> {
        let wanted = snapshot::sockets(&config);
        // Before anything is built: what is built sets gauges, which must not tell of a generation that never runs.
        let bound = self.fleet.bind(&wanted, config.sidecar.limits.backlog).map_err(AppError::Bind)?;
        let current = self.shared.snapshot.load_full();
        let tls = identity::load(&config, Some(&current)).map_err(AppError::Identity)?;
        let next = snapshot::build(config, Some(&current), tls, &self.shared.metrics, &self.log, now())
            .map_err(AppError::Build)?;
        let generation = next.generation;
        self.shared.snapshot.store(Arc::new(next));
        self.fleet.serve(bound, &wanted);
        self.tending.follow(&self.shared.snapshot.load());
        self.shared.metrics.config().loaded(generation, SystemTime::now());
        Ok(generation)
    }

    /// Until requests would find their way: names are looked up, endpoints checked once. Who takes too long for that is
    /// not waited for.
    pub fn warm(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            warmth::wait(&shared).await;
            shared.life.advance(Phase::Serving);
        }
    }

    /// Lets callers go elsewhere; ends when none is left or time is up. What the service itself calls is served as ever
    /// (REQUIREMENTS U2).
    ///
    /// Nobody is refused: who comes late is served and told to go.
    pub fn drain(&self) -> impl Future<Output = ()> + use<> {
        let (shared, open) = (Arc::clone(&self.shared), self.fleet.open());
        shared.life.advance(Phase::Draining);
        let sidecar = &shared.snapshot.load().config.sidecar;
        let (drain, called) = (sidecar.shutdown.drain, !sidecar.inbound.is_empty());
        self.fleet.drain(drain / IDLE_SPREAD);
        async move {
            let began = now();
            let noticed = if called { began + tenth(drain) } else { began };
            until(began + drain, || open.count(Direction::Inbound) == 0 && now() >= noticed).await;
            shared.life.advance(Phase::Drained);
        }
    }

    /// Whether the service calls nobody any more: an outbound connection, even an idle one, says that it lives and may.
    pub fn calls_nobody(&self) -> impl Fn() -> bool + use<> {
        let open = self.fleet.open();
        move || open.count(Direction::Outbound) == 0
    }

    /// Lets nobody in any more, and ends with the exchanges under way or when their time is up.
    pub async fn close(&mut self) {
        let drain = self.shared.snapshot.load().config.sidecar.shutdown.drain;
        let (open, end) = (self.fleet.open(), now() + tenth(drain));
        self.fleet.close();
        until(end, || open.is_closed()).await;
        // Only now: who is sent away comes back at once, and is to find our successor, if there is one, and not us.
        self.fleet.dismiss();
        until(end, || open.count(Direction::Inbound) + open.count(Direction::Outbound) == 0).await;
    }

    /// Ends at once; what was logged is written. Whoever else holds [`Self::shared`] lets go of it before.
    pub fn stop(self) {
        self.tending.stop();
        self.fleet.stop();
        drop((self.shared, self.log));
        if !self.log_end.wait(LAST_LINES) {
            tracing::warn!("the end of the access log is lost: its reader is too slow");
        }
    }
}

/// A part of the grace that is kept for two things. At the beginning, callers must see that readiness failed: until then
/// they still come, and nobody open now says nothing of them. At the end, what is under way when its time is up gets a last
/// chance to be finished in order.
pub fn tenth(grace: Duration) -> Duration {
    (grace / 10).min(TENTH)
}

/// Until it `is_so`, and no longer than to `end`.
pub async fn until(end: Instant, is_so: impl Fn() -> bool) {
    while now() < end && !is_so() {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// As many threads as the policy says, or as the cgroup grants.
fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::Fixed(count) => count.get(),
        Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Takes all the file descriptors that the process may have; answers how many.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    now.current.unwrap_or(u64::MAX)
}
