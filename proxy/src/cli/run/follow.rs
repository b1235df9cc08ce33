//! What becomes of changed files? The next generation, or a reason why the old one stays (CF-1).

use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_config::model::Sidecar;

use super::super::policy::{Policy, PolicyError};
use super::application::CAPTURED;
use crate::admin::Standing;
use crate::app::App;
use crate::reload::files::{FileText, ReadError};
use crate::snapshot::stand_in::BodyFiles;

/// The running sidecar as the files lead it.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) app: App,
    pub(super) standing: Arc<Standing>,
    /// An application is of our user.
    pub(super) beside_us: bool,
}

impl Follower {
    /// The files say this now.
    pub(super) fn take(&mut self, found: Result<Vec<FileText>, ReadError>) {
        let policy = found.map_err(PolicyError::Unreadable).and_then(Policy::parse);
        if let Err(reasons) = policy.map_err(|error| error.lines()).and_then(|policy| self.adopt(policy)) {
            let generation = self.app.shared.snapshot.load().generation;
            for reason in &reasons {
                tracing::error!("{reason}");
            }
            tracing::error!(errors = reasons.len(), generation, "policy rejected; the running one stays");
            self.app.shared.metrics.config().rejected();
            self.standing.rejected(reasons, SystemTime::now());
        }
    }

    /// Makes a policy the running one, or says why not.
    fn adopt(&mut self, Policy { config, hash }: Policy) -> Result<(), Vec<String>> {
        let running = self.app.shared.snapshot.load_full();
        if running.config == config && running.body_files == BodyFiles::of(&config) {
            self.app.shared.metrics.config().unchanged();
            self.standing.unchanged(hash);
            tracing::info!(generation = running.generation, "the policy says what runs already");
            return Ok(());
        }
        let fixed = fixed(&running.config.sidecar, &config.sidecar);
        if !fixed.is_empty() {
            return Err(fixed);
        }
        if self.beside_us && config.captures() {
            return Err(vec![CAPTURED.to_owned()]);
        }
        let generation = self.app.apply(config).map_err(|error| vec![error.to_string()])?;
        self.standing.loaded(hash, SystemTime::now());
        tracing::info!(generation, "policy loaded");
        Ok(())
    }
}

/// What a running process cannot change: it would say one thing and do another.
fn fixed(running: &Sidecar, wanted: &Sidecar) -> Vec<String> {
    let differs = |field: &str, old: &dyn Display, new: &dyn Display| {
        format!("`{field}` cannot change from {old} to {new} while running; restart for it")
    };
    let mut faults = Vec::new();
    if running.admin.listen != wanted.admin.listen {
        faults.push(differs("admin.listen", &running.admin.listen, &wanted.admin.listen));
    }
    if running.admin.metrics != wanted.admin.metrics {
        faults.push(differs("admin.metrics", &running.admin.metrics, &wanted.admin.metrics));
    }
    if running.workers != wanted.workers {
        faults.push("`workers` cannot change while running; restart for it".to_owned());
    }
    faults
}
