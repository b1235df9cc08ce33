//! Who may do what now? An `AuthorizationPolicy` as it runs.

use std::sync::Arc;

use outrigger_config::model::{AuthorizationPolicy, Direction, Mode};

use crate::policy::authz::Policy;
use crate::telemetry::{AuthorizationMetrics, Metrics};

/// A policy with its counters.
#[derive(Debug)]
pub struct Authorizer {
    /// Its name.
    pub name: Arc<str>,
    /// It acts, and does not only report.
    pub acts: bool,
    /// What it decides.
    pub policy: Policy,
    /// What it decided.
    pub metrics: Arc<AuthorizationMetrics>,
    /// A rule of it names a path.
    pub looks_at_paths: bool,
}

/// Those of one direction, in the order of the policy.
pub(super) fn build(
    policies: &[AuthorizationPolicy],
    direction: Direction,
    metrics: &Metrics,
) -> Box<[Authorizer]> {
    let one = |wanted: &AuthorizationPolicy| {
        let policy = Policy::new(wanted);
        Authorizer {
            name: wanted.name.shared(),
            acts: wanted.mode == Mode::Enforce,
            looks_at_paths: policy.looks_at_paths(),
            policy,
            metrics: metrics.authorization(wanted.name.as_str(), wanted.mode),
        }
    };
    policies.iter().filter(|policy| policy.direction == direction).map(one).collect()
}
