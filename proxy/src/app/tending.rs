//! What is done beside the requests? Names are looked up, endpoints are asked how they are, stores are asked for shares,
//! and breakers are woken where nobody calls. All on the control runtime, so that no request waits for it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use outrigger_config::model::Discovery;
use tokio::task::JoinHandle;

use crate::clock::now;
use crate::snapshot::Snapshot;
use crate::store::Lenders;
use crate::telemetry::WorkerId;
use crate::upstream::discovery::{self, Resolver, Update};
use crate::upstream::{Upstream, health};
use crate::worker::Shared;

/// How late a gauge may tell of a penalty served where no request asks.
const WAKING: Duration = Duration::from_secs(1);

/// The tasks of a running sidecar.
#[derive(Debug)]
pub(super) struct Tending {
    resolver: Resolver,
    tasks: HashMap<*const Upstream, Vec<JoinHandle<()>>>,
    lenders: Lenders,
    waking: JoinHandle<()>,
}

impl Tending {
    /// Of nobody yet.
    pub(super) fn new(resolver: Resolver, shared: &Arc<Shared>) -> Self {
        let waking = tokio::spawn(wake(Arc::downgrade(shared)));
        Self { resolver, tasks: HashMap::new(), lenders: Lenders::default(), waking }
    }

    /// Tends the upstreams and the shared limits of this snapshot, and no others.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        self.tasks.retain(|tended, tasks| {
            let stays = snapshot.everyone().any(|upstream| Arc::as_ptr(upstream) == *tended);
            if !stays {
                tasks.iter().for_each(JoinHandle::abort);
            }
            stays
        });
        for upstream in snapshot.everyone() {
            self.tasks.entry(Arc::as_ptr(upstream)).or_insert_with(|| tend(upstream, &self.resolver));
        }
        self.lenders
            .serve(snapshot.limiters.iter().filter_map(|limiter| Some(&limiter.shared.as_ref()?.purse)));
    }

    /// Ends all of it.
    pub(super) fn stop(self) {
        self.waking.abort();
        self.tasks.into_values().flatten().for_each(|task| task.abort());
    }
}

fn tend(upstream: &Arc<Upstream>, resolver: &Resolver) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let Discovery::Dns { name, port, stale_for } = &upstream.config.discovery {
        let target = Arc::downgrade(upstream);
        let known = upstream.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let publish = move |update| take(&target, update);
        tasks.push(tokio::spawn(discovery::watch(
            resolver.clone(),
            name.clone(),
            *port,
            *stale_for,
            known,
            publish,
        )));
    }
    if let Some(check) = upstream.config.health_check.as_ref() {
        tasks.push(tokio::spawn(health::watch(Arc::downgrade(upstream), check.policy.clone())));
    }
    tasks
}

/// An answer of discovery becomes the upstream's endpoints.
fn take(upstream: &Weak<Upstream>, update: Update) {
    let Some(upstream) = upstream.upgrade() else { return };
    let result = if update.error.is_some() { "failure" } else { "success" };
    upstream.metrics.dns_refresh(WorkerId::CONTROL, result);
    if let Some(error) = &update.error {
        tracing::warn!(upstream = %upstream.config.name, error, stale = update.is_stale(), "name resolution failed");
    }
    upstream.publish(&update.endpoints, now());
    *upstream.discovered.lock().unwrap_or_else(PoisonError::into_inner) = Some(update);
}

/// Penalties end by time, and so does a pace of which nothing is heard; requests see to it themselves, the gauges are told here.
async fn wake(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(WAKING).await;
        let Some(shared) = shared.upgrade() else { return };
        for upstream in shared.snapshot.load().everyone() {
            upstream.wake(now());
            if let Some(pacing) = &upstream.pacing {
                pacing.show(now());
            }
        }
    }
}
