//! Do the files say what runs? What became of the last look at them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::telemetry::access_log::rfc3339;

/// How the files and the running policy stand to each other. Written by whoever reloads, read by the admin pages.
#[derive(Debug)]
pub struct Standing(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Fingerprint of the files that said what runs.
    hash: u64,
    loaded_at: SystemTime,
    rejected: Option<Rejected>,
}

#[derive(Debug)]
struct Rejected {
    at: SystemTime,
    reasons: Vec<String>,
}

impl Standing {
    /// The first generation runs.
    pub fn new(hash: u64, now: SystemTime) -> Self {
        Self(Mutex::new(State { hash, loaded_at: now, rejected: None }))
    }

    /// Files with this fingerprint became the running generation.
    pub fn loaded(&self, hash: u64, now: SystemTime) {
        *self.state() = State { hash, loaded_at: now, rejected: None };
    }

    /// Files with this fingerprint say what runs already.
    pub fn unchanged(&self, hash: u64) {
        let mut state = self.state();
        (state.hash, state.rejected) = (hash, None);
    }

    /// The files say what cannot run.
    pub fn rejected(&self, reasons: Vec<String>, now: SystemTime) {
        self.state().rejected = Some(Rejected { at: now, reasons });
    }

    /// `hash`, `loaded_at`, `in_sync`, `last_error`: null, or when and why the files were rejected.
    pub(super) fn describe(&self) -> Value {
        let state = self.state();
        json!({
            "hash": format!("{:016x}", state.hash),
            "loaded_at": rfc3339(state.loaded_at),
            "in_sync": state.rejected.is_none(),
            "last_error": state.rejected.as_ref().map(|rejected| {
                json!({ "at": rfc3339(rejected.at), "reasons": rejected.reasons })
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
