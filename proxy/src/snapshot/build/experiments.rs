//! Which experiments run? Those of the last generation go on where nobody changed them.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::model::{self, Config};

use crate::snapshot::Snapshot;
use crate::snapshot::fault::{Caps, Fault};
use crate::telemetry::Metrics;

/// The experiment of each rule that has one. An unchanged one goes on, a changed one begins anew.
pub(super) fn all(
    config: &Config,
    previous: Option<&Snapshot>,
    caps: &Arc<Caps>,
    metrics: &Metrics,
    now: Instant,
) -> Vec<Arc<Fault>> {
    let rules = config.routes.iter().flat_map(|route| route.rules.iter().map(move |rule| (route, rule)));
    let wanted = rules.filter_map(|(route, rule)| Some((&route.name, &rule.name, rule.fault.as_ref()?)));
    let running = |route: &model::Name, rule: &model::Name, wanted| {
        let mut known = previous.iter().flat_map(|previous| &previous.experiments);
        known.find(|old| old.is(route.as_str(), rule.as_str(), wanted)).cloned()
    };
    wanted
        .map(|(route, rule, wanted)| {
            running(route, rule, wanted).unwrap_or_else(|| {
                let (names, metrics) = ((route.shared(), rule.shared()), metrics.route(route.as_str()));
                Fault::new(names, wanted.clone(), Arc::clone(caps), metrics, now)
            })
        })
        .collect()
}

/// Ends those of the last generation that this one has no more.
pub(super) fn end_missing(previous: Option<&Snapshot>, new: &[Arc<Fault>]) {
    for old in previous.iter().flat_map(|previous| &previous.experiments) {
        if !new.iter().any(|new| Arc::ptr_eq(old, new)) {
            old.end();
        }
    }
}
