//! Whom does a generation call? The upstreams of the last one where nothing changed, else new ones with what the old have
//! learned.

use std::sync::Arc;
use std::time::Instant;

use outrigger_config::model::{self, Capture, Config};

use super::{BuildError, INBOUND, OUTBOUND};
use crate::snapshot::Snapshot;
use crate::telemetry::Metrics;
use crate::tls::{ClientSide, ServerSide};
use crate::upstream::crowd::{Crowd, Crowds, Of};
use crate::upstream::dialed::{Dialed, TO_APPLICATION};
use crate::upstream::{Stand, Upstream};

/// All upstreams, each spoken with from its side.
pub(super) fn all(
    config: &Config,
    (sides, stand): (Vec<Option<ClientSide>>, &Stand),
    previous: Option<&Snapshot>,
    (metrics, crowds): (&Metrics, &mut Crowds),
    now: Instant,
) -> Vec<Arc<Upstream>> {
    let upstream = |(wanted, side): (&model::Upstream, Option<ClientSide>)| {
        let old = previous.and_then(|previous| previous.upstream(&wanted.name));
        let crowd = crowds.of(Of::Upstream, wanted.name.as_str());
        next(old, wanted.clone(), (side, stand), (metrics, crowd), now)
    };
    config.upstreams.iter().zip(sides).map(upstream).collect()
}

/// The upstream of the last generation if it is the same, else a new one with what the old has learned.
pub(super) fn next(
    old: Option<&Arc<Upstream>>,
    wanted: model::Upstream,
    (tls, stand): (Option<ClientSide>, &Stand),
    (metrics, crowd): (&Metrics, Arc<Crowd>),
    now: Instant,
) -> Arc<Upstream> {
    let same = |old: &&Arc<Upstream>| {
        same(&old.config, &wanted) && old.speaks(&wanted.tls, tls.as_ref()) && old.has_stand(stand)
    };
    if let Some(old) = old.filter(same) {
        return Arc::clone(old);
    }
    let counters = metrics.upstream(wanted.name.as_str());
    Upstream::new(wanted, tls, stand, counters, crowd, old.map(|old| &**old), now)
}

/// What is opened in each direction where connections are captured.
pub(super) fn dialed(config: &Config, previous: Option<&Snapshot>) -> [Option<Arc<Dialed>>; 2] {
    let sidecar = &config.sidecar;
    let outbound = sidecar.outbound.as_ref();
    let captured = [
        sidecar.inbound_capture.is_some().then_some(Some(TO_APPLICATION)),
        outbound.is_some_and(|outbound| outbound.capture == Capture::Redirect).then_some(None),
    ];
    [INBOUND, OUTBOUND].map(|way| {
        let priority = captured[way]?;
        let known = previous.and_then(|previous| previous.dialed[way].clone());
        Some(known.unwrap_or_else(|| Arc::new(Dialed::new(priority))))
    })
}

/// How each upstream is spoken with.
pub(super) fn client_sides(
    config: &Config,
    tls: Option<&ServerSide>,
) -> Result<Vec<Option<ClientSide>>, BuildError> {
    let credentials = tls.map(ServerSide::credentials);
    let side = |upstream: &model::Upstream| {
        let named = |reason| BuildError::Tls { upstream: upstream.name.clone(), reason };
        ClientSide::new(&upstream.tls, credentials).map_err(named)
    };
    config.upstreams.iter().map(side).collect()
}

/// Nothing that an upstream's state depends on has changed. (What a request is treated by is the snapshot's.)
fn same(old: &model::Upstream, new: &model::Upstream) -> bool {
    old.name == new.name
        && old.discovery == new.discovery
        && old.protocol == new.protocol
        && old.load_balancer == new.load_balancer
        && old.balancing == new.balancing
        && old.health_check.value == new.health_check.value
        && old.outlier_detection.value == new.outlier_detection.value
        && old.circuit_breaker.value == new.circuit_breaker.value
        && old.pacing.value == new.pacing.value
        && old.retry_budget == new.retry_budget
        && old.limits == new.limits
        && *old.cache == *new.cache
}
