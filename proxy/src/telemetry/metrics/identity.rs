//! What is told of the certificates in use?

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::super::cells::WorkerId;
use super::scrape::Scrape;
use super::series::{Series, SeriesCap};

/// The result of files that are in use now.
const LOADED: &str = "loaded";

/// Until when we are believed, and how the renewals went. Written by the control thread only.
#[derive(Debug)]
pub struct IdentityMetrics {
    reloads: Series<&'static str>,
    in_sync: AtomicBool,
    /// Unix time in seconds: of the leaf, and of the roots in the order of their file.
    expiry: Mutex<Option<(i64, Vec<i64>)>>,
}

impl IdentityMetrics {
    pub(super) fn new() -> Self {
        Self {
            reloads: Series::new(0, &SeriesCap::new(usize::MAX)),
            in_sync: AtomicBool::new(true),
            expiry: Mutex::default(),
        }
    }

    /// Files were read as an identity; `loaded`, or in one word why not.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.inc(WorkerId::CONTROL, result);
        self.in_sync.store(result == LOADED, Relaxed);
    }

    /// Files were read, and say what is in use already.
    pub fn confirmed(&self) {
        self.in_sync.store(true, Relaxed);
    }

    /// These certificates are in use.
    pub fn in_use(&self, leaf: SystemTime, roots: impl Iterator<Item = SystemTime>) {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((seconds(leaf), roots.map(seconds).collect()));
    }

    /// None are any more.
    pub fn none(&self) {
        *self.expiry.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn families(&self, scrape: &mut Scrape) {
        let help = "When a certificate in use expires, in Unix time; roots are numbered as in `ca.crt`.";
        scrape.gauges("certificate_expiry_timestamp_seconds", help, |row| {
            if let Some((leaf, roots)) = &*self.expiry.lock().unwrap_or_else(PoisonError::into_inner) {
                row(&[("certificate", "leaf")], *leaf);
                for (nth, root) in (1..).zip(roots) {
                    row(&[("certificate", &format!("root-{nth}"))], *root);
                }
            }
        });
        let help = "Whether the identity in use is what its files say: 1 or 0.";
        scrape.gauges("identity_in_sync", help, |row| {
            if self.expiry.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                row(&[], self.in_sync.load(Relaxed).into());
            }
        });
        let help = "Identities read, by result; unless `loaded`, the one in use stays.";
        scrape.counters("identity_reloads_total", help, |row| {
            super::families::words(&self.reloads, |result, count| row(&[("result", result)], count));
        });
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}
