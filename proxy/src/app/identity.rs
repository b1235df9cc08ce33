//! Who are we, from the start and while the files change? Rotation without a restart (SE-2), and a warning in time (SE-3).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_config::model::Config;
use tokio::task::JoinHandle;

use crate::reload::DEFAULT_POLL;
use crate::reload::watch::{Changes, Trigger};
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::tls::{Credentials, Files, Identity, IdentityError, ServerSide};

/// How late a warning may be.
const LOOK: Duration = Duration::from_mins(1);

/// A directory that does not say who we are.
#[derive(Debug)]
pub struct KeyError {
    dir: PathBuf,
    error: IdentityError,
}

/// Our side of inbound handshakes: that of the `previous` snapshot if it has the same files, else what those say now.
pub(super) fn load(
    config: &Config,
    previous: Option<&Snapshot>,
) -> Result<Option<Arc<ServerSide>>, KeyError> {
    let Some(wanted) = &config.sidecar.identity else { return Ok(None) };
    let known = previous.filter(|previous| previous.config.sidecar.identity.as_ref() == Some(wanted));
    if let Some(tls) = known.and_then(|known| known.tls.as_ref()) {
        return Ok(Some(Arc::clone(tls)));
    }
    let dir = Path::new(&wanted.cert_dir);
    let identity = Identity::load(dir).map_err(|error| KeyError { dir: dir.to_owned(), error })?;
    Ok(Some(Arc::new(ServerSide::new(Credentials::new(identity)))))
}

/// Follows the files of the identity in use.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    of: Option<Arc<ServerSide>>,
    task: Option<JoinHandle<()>>,
}

impl Renewal {
    /// Those of this snapshot, and no others.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, metrics: &Arc<Metrics>) {
        if self.of.as_ref().map(Arc::as_ptr) == snapshot.tls.as_ref().map(Arc::as_ptr) {
            return;
        }
        self.stop();
        metrics.identity().none();
        self.of.clone_from(&snapshot.tls);
        if let (Some(tls), Some(files)) = (&self.of, &snapshot.config.sidecar.identity) {
            let holder = Holder {
                dir: PathBuf::from(&files.cert_dir),
                credentials: Arc::clone(tls.credentials()),
                metrics: Arc::clone(metrics),
            };
            holder.tell("identity in use");
            self.task = Some(tokio::spawn(holder.renew()));
        }
    }

    /// Whatever the files say from now on.
    pub(super) fn stop(&mut self) {
        self.of = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Credentials and where they come from.
#[derive(Debug)]
struct Holder {
    dir: PathBuf,
    credentials: Arc<Credentials>,
    metrics: Arc<Metrics>,
}

impl Holder {
    /// Has no end.
    async fn renew(self) {
        tokio::join!(self.follow(), warn_in_time(&self.credentials));
    }

    /// As the policy is followed ([`crate::reload`]): told again when the content differs, or the reason why it cannot be
    /// read, or somebody asks by hand.
    async fn follow(&self) {
        let mut changes = Changes::new(&self.dir, DEFAULT_POLL);
        let mut last = Ok(self.credentials.identity().fingerprint);
        let mut trigger = Trigger::Poll;
        loop {
            let dir = self.dir.clone();
            match tokio::task::spawn_blocking(move || Files::read(&dir)).await {
                Ok(found) => {
                    let seen = found.as_ref().map(Files::fingerprint).map_err(ToString::to_string);
                    if trigger == Trigger::Sighup || seen != last {
                        last = seen;
                        self.take(found.map_err(IdentityError::from));
                    }
                }
                Err(stopped) => tracing::error!(%stopped, "reading the identity ended early"),
            }
            trigger = changes.next().await;
        }
    }

    /// The files say this now. What is no identity leaves the one in use alone.
    fn take(&self, found: Result<Files, IdentityError>) {
        let running = self.credentials.identity();
        if found.as_ref().is_ok_and(|files| files.fingerprint() == running.fingerprint) {
            self.metrics.identity().confirmed();
            return tracing::info!("the files say who we are already");
        }
        match found.and_then(|files| Identity::new(&files, Some(&running), SystemTime::now())) {
            Ok(identity) => {
                self.credentials.replace(identity);
                self.metrics.identity().reloaded("loaded");
                self.tell("identity renewed");
            }
            Err(error) => {
                self.metrics.identity().reloaded(error.label());
                let error = KeyError { dir: self.dir.clone(), error };
                tracing::error!(%error, "identity rejected; the one in use stays");
            }
        }
    }

    fn tell(&self, event: &str) {
        let identity = self.credentials.identity();
        let left = identity.leaf.left(SystemTime::now());
        tracing::info!(name = %identity.name, valid_for = ?left, roots = identity.roots.len(), "{event}");
        if identity.key_is_exposed {
            let key = self.dir.join(Files::KEY);
            tracing::warn!(key = %key.display(), "the private key can be read by others; its mode should be 0600");
        }
        let roots = identity.roots.iter().map(|root| root.not_after);
        self.metrics.identity().in_use(identity.leaf.not_after, roots);
    }
}

/// Says once of each identity that it, or a root, should have been renewed. Has no end.
async fn warn_in_time(credentials: &Credentials) {
    let mut warned: Option<Arc<Identity>> = None;
    loop {
        let identity = credentials.identity();
        let now = SystemTime::now();
        if !warned.as_ref().is_some_and(|warned| Arc::ptr_eq(warned, &identity)) {
            let mut late = false;
            let roots = identity.roots.iter().map(|root| (Files::ROOTS, root));
            for (file, standing) in roots.chain([(Files::CHAIN, &identity.leaf)]) {
                if standing.is_late(now) {
                    let left = standing.left(now);
                    tracing::warn!(file, ?left, "a certificate has less than a third of its life left");
                    late = true;
                }
            }
            warned = late.then_some(identity).or(warned);
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            IdentityError::Unreadable(error) => error.fmt(f),
            error => write!(f, "{}: {error}", self.dir.display()),
        }
    }
}

impl std::error::Error for KeyError {}
