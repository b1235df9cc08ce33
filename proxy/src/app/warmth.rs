//! When is it worth calling? Once it is known where the upstreams are, and which endpoints live.

use std::sync::PoisonError;
use std::time::Duration;

use outrigger_config::model::Discovery;

use super::until;
use crate::clock::now;
use crate::upstream::Upstream;
use crate::worker::Shared;

/// Whoever has said nothing until then is not waited for: a dependency that hangs must not keep the service from starting.
const PATIENCE: Duration = Duration::from_secs(3);

/// Until something is known of everybody whom the service may call.
pub(super) async fn wait(shared: &Shared) {
    let known = || shared.snapshot.load().upstreams.iter().all(|upstream| is_known(upstream));
    until(now() + PATIENCE, known).await;
    if !known() {
        tracing::warn!(waited = ?PATIENCE, "starting though some upstreams have not been found or checked yet");
    }
}

/// Its name has been asked for, and each endpoint has been checked where endpoints are checked.
fn is_known(upstream: &Upstream) -> bool {
    let asked = match upstream.config.discovery {
        Discovery::Dns { .. } => upstream.discovered.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
        Discovery::Static(_) | Discovery::Original => true,
    };
    let checked = upstream.config.health_check.is_none()
        || upstream.roster().endpoints.iter().all(|endpoint| endpoint.condition.is_checked());
    asked && checked
}
