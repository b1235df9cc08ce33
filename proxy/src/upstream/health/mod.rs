//! Are the endpoints alive, and do they want work? Asked by us, beside the requests that they get (LB-3, LB-4, LB-7).
//!
//! What a check means is decided by [`Health`](crate::policy::health::Health); here is who is asked when, and what for a
//! word comes back. A check is a connection of its own: it must not find a path that real requests would not.

mod grpc;
mod http;
mod http2;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use outrigger_config::model::{ActiveCheck, Probe, Protocol};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::Upstream;
use super::connect::{Stage, connect};
use super::endpoint::Endpoint;
use crate::clock::now;
use crate::policy::health::{Change, Check};
use crate::telemetry::WorkerId;
use crate::tls::{Alpn, Stream};

/// How long a new endpoint may go without being noticed.
const LOOK: Duration = Duration::from_millis(250);

/// Whom a check goes to, and how.
#[derive(Debug, Clone)]
struct Target {
    upstream: Arc<Upstream>,
    addr: SocketAddr,
    timeout: Duration,
}

impl Target {
    /// What the request says in `host`.
    fn name(&self) -> &str {
        self.upstream.config.name.as_str()
    }

    /// A connection as requests have it.
    async fn connect(&self, alpn: Alpn) -> Option<Stream> {
        let stage = Stage::default();
        connect(&self.upstream, self.addr, alpn, (WorkerId::CONTROL, &stage)).await.ok()
    }
}

/// Checks the endpoints of an upstream for as long as it lives. Ends only with it, or by being dropped.
pub async fn watch(upstream: Weak<Upstream>, check: ActiveCheck) {
    let mut running = JoinSet::new();
    let mut asked = HashSet::new();
    loop {
        let mut next = now() + LOOK;
        {
            let Some(upstream) = upstream.upgrade() else { return };
            for endpoint in &upstream.roster().endpoints {
                let now = now();
                let due = endpoint.condition.next_check(&check.thresholds, now);
                if due > now {
                    next = next.min(due);
                } else if asked.insert(endpoint.id) {
                    let target = Target {
                        upstream: Arc::clone(&upstream),
                        addr: endpoint.addr,
                        timeout: check.timeout,
                    };
                    let (endpoint, probe) = (Arc::clone(endpoint), check.probe.clone());
                    running.spawn(async move { (endpoint, ask(&target, &probe).await) });
                }
            }
        }
        tokio::select! {
            () = sleep_until(next.into()) => {}
            Some(ended) = running.join_next() => {
                let Some(upstream) = upstream.upgrade() else { return };
                // Of a check that panicked it is not known whose it was; to ask somebody twice does no harm.
                let Ok((endpoint, found)) = ended else { asked.clear(); continue };
                asked.remove(&endpoint.id);
                upstream.checked(&endpoint, found);
            }
        }
    }
}

impl Upstream {
    /// A check ended.
    fn checked(&self, endpoint: &Endpoint, found: Check) {
        self.metrics.guards.checked(match found {
            Check::Ready => "ready",
            Check::NotReady => "not-ready",
            Check::Failed => "failed",
        });
        let now = now();
        let Some(change) = endpoint.condition.on_check(found, now) else { return };
        let change = match change {
            Change::Died => "died",
            Change::BecameUnready => "became-unready",
            Change::Recovered => "recovered",
            Change::LivesUnready => "lives-unready",
        };
        tracing::warn!(upstream = %self.config.name, endpoint = %endpoint.addr, change, "an endpoint's health changed");
        self.remake(now);
    }
}

/// Asks once. Readiness has its own time: who lets us wait for it lives.
async fn ask(target: &Target, probe: &Probe) -> Check {
    let (alive, readiness) = match probe {
        Probe::Http { path, readiness } => (is_well(target, path).await, readiness),
        Probe::Tcp { readiness } => {
            let connected = timeout(target.timeout, target.connect(Alpn::Http1)).await;
            // It is not cut off, but takes its leave.
            let connected = connected.ok().flatten().map(|mut stream| stream.rest());
            (connected.is_some(), readiness)
        }
        Probe::Grpc { service } => {
            return timeout(target.timeout, grpc::check(target, service)).await.unwrap_or(Check::Failed);
        }
    };
    match readiness {
        _ if !alive => Check::Failed,
        Some(path) if !is_well(target, path).await => Check::NotReady,
        _ => Check::Ready,
    }
}

/// Whether a GET is answered 2xx in time, in the version that the endpoint speaks.
async fn is_well(target: &Target, path: &str) -> bool {
    let status = async {
        match target.upstream.config.protocol {
            Protocol::Http2 => http2::get(target, path).await,
            Protocol::Http1 | Protocol::Auto | Protocol::Tcp => http::get(target, path).await,
        }
    };
    timeout(target.timeout, status).await.ok().flatten().is_some_and(|status| status.is_success())
}
