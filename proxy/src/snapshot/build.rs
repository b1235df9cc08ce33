//! How does a policy become what runs? Everything that can fail fails here; what did not change stays the same object.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use outrigger_config::model::{self, Config, Direction, HttpRoute, TrafficPolicy, UpstreamId};

use super::{Backend, Rule, Snapshot, Table};
use crate::http1::{HeadLimits, TrailerLimits};
use crate::policy::router::Router;
use crate::policy::weights::Weights;
use crate::telemetry::{AccessLog, LineSink, Metrics};
use crate::upstream::Upstream;

/// Label of what has no name.
const NONE: &str = "-";

/// The next generation. Upstreams that `previous` has unchanged keep their state: budgets, load, connections.
pub fn build(
    config: Config,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
    log: &LineSink,
    now: Instant,
) -> Snapshot {
    let upstreams: Vec<_> = config
        .upstreams
        .iter()
        .map(|wanted| {
            let old =
                previous.and_then(|previous| previous.upstreams.iter().find(|old| same(&old.config, wanted)));
            old.cloned()
                .unwrap_or_else(|| Upstream::new(wanted.clone(), metrics.upstream(wanted.name.as_str()), now))
        })
        .collect();
    let builder = Builder { config: &config, upstreams: &upstreams, metrics };
    let outbound = builder.outbound();
    let inbound = config
        .sidecar
        .inbound
        .iter()
        .map(|port| (port.listen, builder.inbound(port, previous, now)))
        .collect();
    let limits = &config.sidecar.limits;
    Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        head_limits: HeadLimits {
            bytes: limits.request_head,
            fields: limits.request_fields,
            target: limits.request_target,
        },
        trailer_limits: TrailerLimits { bytes: limits.trailers, fields: limits.trailer_fields },
        unrouted: [Direction::Inbound, Direction::Outbound]
            .map(|direction| metrics.exchange(direction, NONE, NONE)),
        access_log: AccessLog::new(
            &config.sidecar.access_log,
            log.clone(),
            metrics.access_log_dropped(),
            now,
        ),
        via: format!("via: 1.1 {}\r\n", config.sidecar.name),
        outbound,
        inbound,
        upstreams,
        config,
    }
}

/// Nothing that an upstream's state depends on has changed. (What a request is treated by is the snapshot's.)
fn same(old: &model::Upstream, new: &model::Upstream) -> bool {
    old.name == new.name
        && old.discovery == new.discovery
        && old.load_balancer == new.load_balancer
        && old.retry_budget == new.retry_budget
        && old.limits == new.limits
}

struct Builder<'b> {
    config: &'b Config,
    upstreams: &'b [Arc<Upstream>],
    metrics: &'b Metrics,
}

impl Builder<'_> {
    fn outbound(&self) -> Table {
        let mut named = HashMap::default();
        for (upstream, running) in self.config.upstreams.iter().zip(self.upstreams) {
            let name = upstream.name.as_str().to_owned();
            for host in upstream.hosts.iter().cloned().chain([name]) {
                let rule = self.sole(Direction::Outbound, Arc::clone(running), upstream.policy.clone());
                named.entry(host).or_insert(rule);
            }
        }
        Table {
            router: Router::new(&self.config.routes, Direction::Outbound),
            routes: self.rules(|route, rule| {
                let backend = |backend: &model::Backend| {
                    let UpstreamId(nth) = backend.upstream;
                    self.backend(
                        Direction::Outbound,
                        &route.name,
                        &self.upstreams[nth],
                        backend.policy.clone(),
                    )
                };
                rule.backends.iter().map(backend).collect()
            }),
            named,
            otherwise: None,
        }
    }

    /// One port leads to one application, whatever the route.
    fn inbound(&self, port: &model::Inbound, previous: Option<&Snapshot>, now: Instant) -> Table {
        let wanted = port.application();
        let old = previous.and_then(|previous| {
            let (_, table) = previous.inbound.iter().find(|(listen, _)| *listen == port.listen)?;
            let old = &table.otherwise.as_ref()?.backends.first()?.upstream;
            same(&old.config, &wanted).then(|| Arc::clone(old))
        });
        let application = old.unwrap_or_else(|| {
            let metrics = self.metrics.upstream(wanted.name.as_str());
            Upstream::new(wanted, metrics, now)
        });
        Table {
            router: Router::new(&self.config.routes, Direction::Inbound),
            routes: self.rules(|route, rule| {
                vec![self.backend(Direction::Inbound, &route.name, &application, rule.policy.clone())]
            }),
            named: HashMap::default(),
            otherwise: Some(self.sole(Direction::Inbound, application, port.policy.clone())),
        }
    }

    /// The rules of all routes, by the positions that the router answers with.
    fn rules(&self, backends: impl Fn(&HttpRoute, &model::Rule) -> Vec<Backend>) -> Vec<Vec<Rule>> {
        let rule = |route: &HttpRoute, rule: &model::Rule| Rule {
            route: route.name.shared(),
            name: rule.name.shared(),
            weights: Weights::new(rule.backends.iter().map(|backend| backend.weight)),
            backends: backends(route, rule),
        };
        self.config
            .routes
            .iter()
            .map(|route| route.rules.iter().map(|inner| rule(route, inner)).collect())
            .collect()
    }

    fn backend(
        &self,
        direction: Direction,
        route: &model::Name,
        upstream: &Arc<Upstream>,
        policy: TrafficPolicy,
    ) -> Backend {
        let metrics = self.metrics.exchange(direction, route.as_str(), upstream.config.name.as_str());
        Backend { upstream: Arc::clone(upstream), policy, metrics }
    }

    /// The rule of what no route names.
    fn sole(&self, direction: Direction, upstream: Arc<Upstream>, policy: TrafficPolicy) -> Rule {
        let metrics = self.metrics.exchange(direction, NONE, upstream.config.name.as_str());
        let backends = vec![Backend { upstream, policy, metrics }];
        Rule { route: NONE.into(), name: NONE.into(), weights: Weights::new([1]), backends }
    }
}
