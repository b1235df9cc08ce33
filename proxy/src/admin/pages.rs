//! What runs now? The policy in force, and what is known of each upstream.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use outrigger_config::model::{Direction, Discovery, Mode};
use serde_json::{Value, json};

use super::server::{Page, Wish};
use super::standing::Standing;
use crate::clock::now;
use crate::policy::breaker::Phase;
use crate::policy::fault::Why;
use crate::snapshot::Snapshot;
use crate::snapshot::fault::Fault;
use crate::upstream::Upstream;
use crate::upstream::discovery::Update;
use crate::upstream::endpoint::Endpoint;
use crate::worker::{self, Shared};

/// What an endpoint that closed no connection of ours is taken to keep one for.
const NOTHING_LEARNED: Duration = Duration::from_millis(u64::MAX);

/// The page at a path, or what became of a wish.
pub(super) fn page(shared: &Shared, standing: &Standing, wish: Wish, path: &str) -> Option<Page> {
    let snapshot = shared.snapshot.load_full();
    match path {
        "/faults/end" if wish == Wish::Act => {
            snapshot.experiments.iter().for_each(|fault| fault.end());
            tracing::warn!(experiments = snapshot.experiments.len(), "injected faults ended by an operator");
            Some(Page::json(&faults(&snapshot, now())))
        }
        "/drain" if wish == Wish::Act => {
            shared.life.advance(worker::Phase::Draining);
            Some(drain(shared))
        }
        _ if wish == Wish::Act => None,
        "/drain" => Some(drain(shared)),
        "/faults" => Some(Page::json(&faults(&snapshot, now()))),
        "/" => Some(Page::text(StatusCode::OK, index(&snapshot))),
        "/config" => Some(Page::json(&config(&snapshot, standing))),
        "/upstreams" => Some(Page::json(&upstreams(&snapshot, now()))),
        _ => None,
    }
}

fn index(snapshot: &Snapshot) -> String {
    let sidecar = &snapshot.config.sidecar;
    format!(
        "outrigger {} beside {}, generation {}\n\n\
         /config     the policy in force, each value with its origin, and whether the files say the same\n\
         /upstreams  endpoints with their load, DNS answers, retry budgets\n\
         /faults     faults injected on purpose; POST /faults/end ends all of them\n\
         /drain      starting, serving, draining or drained; POST sends callers elsewhere, and the process stays\n\n\
         /metrics, /livez, /startupz and /readyz: on {}",
        env!("CARGO_PKG_VERSION"),
        sidecar.name,
        snapshot.generation,
        sidecar.admin.metrics,
    )
}

/// How far it is with sending callers elsewhere.
fn drain(shared: &Shared) -> Page {
    Page::json(&json!({ "phase": shared.life.phase().label() }))
}

fn config(snapshot: &Snapshot, standing: &Standing) -> Value {
    let mut described = standing.describe();
    described["generation"] = json!(snapshot.generation);
    described["config"] = outrigger_config::describe(&snapshot.config);
    described
}

fn upstreams(snapshot: &Snapshot, now: Instant) -> Value {
    let outbound = snapshot.upstreams.iter().map(|upstream| (Direction::Outbound, upstream));
    let inbound = snapshot.applications().map(|upstream| (Direction::Inbound, upstream));
    outbound.chain(inbound).map(|(direction, found)| upstream(direction, found, now)).collect()
}

/// Experiments, and whether they run.
fn faults(snapshot: &Snapshot, now: Instant) -> Value {
    let one = |fault: &Arc<Fault>| {
        let (active, ended) = fault.standing(now);
        json!({
            "route": &*fault.route,
            "rule": &*fault.rule,
            "mode": match fault.mode() {
                Mode::Enforce => "enforce",
                Mode::DryRun => "dryRun",
            },
            "active": active,
            "ended": ended.map(|why| match why {
                Why::Time => "its time is over",
                Why::Switch => "by an operator or a new policy",
            }),
        })
    };
    snapshot.experiments.iter().map(one).collect()
}

/// Times in milliseconds, the pace in requests a second.
fn upstream(direction: Direction, upstream: &Upstream, now: Instant) -> Value {
    let roster = upstream.roster();
    json!({
        "name": upstream.config.name.as_str(),
        "direction": match direction {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        },
        "discovery": discovery(upstream, now),
        "breaker": upstream.breaker().map(Phase::label),
        "endpoints": roster.endpoints.iter().map(|found| endpoint(found, now)).collect::<Vec<_>>(),
        "pending": upstream.pending(),
        "pace": upstream.pacing.as_ref().and_then(|pacing| pacing.show(now)).map(|pace| (pace * 10.0).round() / 10.0),
        "retry_budget_balance": upstream.balance(now),
    })
}

fn discovery(upstream: &Upstream, now: Instant) -> Value {
    let (name, port) = match &upstream.config.discovery {
        Discovery::Dns { name, port, .. } => (name, port),
        Discovery::Static(_) => return json!({ "kind": "static" }),
        Discovery::Original => return json!({ "kind": "original" }),
    };
    let update = upstream.discovered.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let answered = update.as_ref().and_then(|update| update.answered_at);
    json!({
        "kind": "dns",
        "name": name,
        "port": port,
        "answer_age_ms": answered.map(|at| millis(now.saturating_duration_since(at))),
        "ttl_ms": answered.and(update.as_ref()).map(|update: &Update| millis(update.ttl)),
        "stale": update.as_ref().is_some_and(Update::is_stale),
        "error": update.and_then(|update| update.error),
    })
}

fn endpoint(endpoint: &Endpoint, now: Instant) -> Value {
    let load = endpoint.load();
    let kept = endpoint.kept_for(now);
    json!({
        "address": endpoint.addr.to_string(),
        "health": endpoint.condition.vitality().label(),
        "ejected": endpoint.condition.is_ejected(),
        "breaker": endpoint.condition.circuit().map(|circuit| circuit.phase().label()),
        "in_flight": load.in_flight,
        "expected_latency_ms": (load.latency.at(endpoint.stamp(now)) / 1e3).round() / 1e3,
        "learned_idle_limit_ms": (kept < NOTHING_LEARNED).then(|| millis(kept)),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
