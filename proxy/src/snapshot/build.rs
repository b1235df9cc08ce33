//! How does a policy become what runs? Everything that can fail fails here; what did not change stays the same object.

mod experiments;
mod upstreams;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use outrigger_config::model::{
    self, Config, Direction, HttpRoute, Mode, Paths, SidecarLimits, TrafficPolicy, UpstreamId,
};

use super::authorizer::Authorizer;
use super::direct::Direct;
use super::fault::Fault;
use super::limiter::RateLimiter;
use super::stand_in::{self, BodyFileError, BodyFiles, Chain};
use super::{Backend, Rule, Snapshot, Table, Via, authorizer, limiter};
use crate::message::{HeadLimits, TrailerLimits};
use crate::policy::router::Router;
use crate::policy::weights::Weights;
use crate::telemetry::{AccessLog, LineSink, Metrics};
use crate::tls::ServerSide;
use crate::upstream::crowd::{Crowds, Of};
use crate::upstream::{Stand, Upstream};

/// Positions of what there is for each direction.
const INBOUND: usize = 0;
const OUTBOUND: usize = 1;

/// In the order of these positions.
const WAYS: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

/// Label of what has no name.
pub(super) const NONE: &str = "-";

/// Why a policy cannot run.
#[derive(Debug)]
pub enum BuildError {
    /// A file that a rule names cannot be had.
    BodyFile(BodyFileError),
    /// The roots that an upstream is to be trusted by cannot be had.
    Tls {
        /// Which.
        upstream: model::Name,
        /// Why, for people.
        reason: String,
    },
}

/// The next generation, with `tls` as our side of inbound handshakes. Upstreams that `previous` has unchanged keep their
/// state: budgets, load, connections.
pub fn build(
    config: Config,
    previous: Option<&Snapshot>,
    tls: Option<Arc<ServerSide>>,
    metrics: &Metrics,
    log: &LineSink,
    now: Instant,
) -> Result<Snapshot, BuildError> {
    // First: what changes while they are read is seen as a change.
    let body_files = BodyFiles::of(&config);
    stand_in::check(&config)?;
    let sides = upstreams::client_sides(&config, tls.as_deref())?;
    let mut crowds = previous.map(|previous| previous.crowds.living()).unwrap_or_default();
    let dialed = upstreams::dialed(&config, previous);
    let stand = Stand { near: config.sidecar.locality.clone(), dialed: dialed[OUTBOUND].clone() };
    let upstreams = upstreams::all(&config, (sides, &stand), previous, (metrics, &mut crowds), now);
    let caps = previous.map(|previous| Arc::clone(&previous.caps)).unwrap_or_default();
    caps.set(&config.sidecar.faults);
    let experiments = experiments::all(&config, previous, &caps, metrics, now);
    let authorizers = WAYS.map(|way| authorizer::build(&config.authorization, way, metrics));
    let known = previous.map_or(&[][..], |previous| &previous.limiters);
    let limiters =
        limiter::build(&config.rate_limits, &config.sidecar.name, known, (metrics, &mut crowds), now);
    let policies = Policies { authorizers: &authorizers, limiters: &limiters };
    let builder = Builder {
        config: &config,
        upstreams: &upstreams,
        experiments: &experiments,
        policies,
        metrics,
        stands: [Stand { near: None, dialed: dialed[INBOUND].clone() }, stand],
    };
    let outbound = builder.outbound(previous, &mut crowds, now)?;
    let inbound = builder.inbounds(previous, &mut crowds, now)?;
    experiments::end_missing(previous, &experiments);
    let limits = &config.sidecar.limits;
    Ok(Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        tls,
        head_limits: head_limits(limits),
        trailer_limits: TrailerLimits { bytes: limits.trailers, fields: limits.trailer_fields },
        unrouted: WAYS.map(|way| metrics.exchange(way, NONE, NONE)),
        unrouted_connections: WAYS.map(|way| metrics.connection(way, NONE, NONE)),
        access_log: AccessLog::new(
            &config.sidecar.access_log,
            log.clone(),
            metrics.access_log_dropped(),
            now,
        ),
        via: ["1.1", "2"].map(|version| via(version, config.sidecar.name.as_str())),
        limiters,
        authorizers,
        experiments,
        caps,
        crowds,
        sockets: super::sockets(&config),
        dialed,
        outbound,
        inbound,
        upstreams,
        config,
        body_files,
    })
}

fn head_limits(limits: &SidecarLimits) -> HeadLimits {
    HeadLimits { bytes: limits.request_head, fields: limits.request_fields, target: limits.request_target }
}

pub(super) struct Builder<'b> {
    pub(super) config: &'b Config,
    pub(super) upstreams: &'b [Arc<Upstream>],
    experiments: &'b [Arc<Fault>],
    policies: Policies<'b>,
    pub(super) metrics: &'b Metrics,
    stands: [Stand; 2],
}

/// What else may look at a request's path.
#[derive(Clone, Copy)]
struct Policies<'b> {
    authorizers: &'b [Box<[Authorizer]>; 2],
    limiters: &'b [Arc<RateLimiter>],
}

impl Policies<'_> {
    fn look_at_paths(&self, direction: Direction) -> bool {
        let authorizers = &self.authorizers[usize::from(direction == Direction::Outbound)];
        authorizers.iter().any(|policy| policy.acts && policy.looks_at_paths)
            || self.limiters.iter().any(|limiter| limiter.any_router(direction, Router::looks_at_paths))
    }
}

impl Builder<'_> {
    fn outbound(
        &self,
        previous: Option<&Snapshot>,
        crowds: &mut Crowds,
        now: Instant,
    ) -> Result<Table, BodyFileError> {
        let mut direct = Direct::default();
        for (upstream, running) in self.config.upstreams.iter().zip(self.upstreams) {
            direct
                .add(self.sole(Direction::Outbound, Arc::clone(running), upstream.policy.clone()), upstream);
        }
        let outbound = self.config.sidecar.outbound.as_ref();
        let passthrough = outbound.and_then(|outbound| {
            let wanted = outbound.passthrough()?;
            let old = previous.and_then(|previous| previous.outbound.application());
            let crowd = crowds.of(Of::Application, wanted.name.as_str());
            let running =
                upstreams::next(old, wanted, (None, &self.stands[OUTBOUND]), (self.metrics, crowd), now);
            Some(self.sole(Direction::Outbound, running, outbound.policy.clone()))
        });
        let backends = |route: &HttpRoute, rule: &model::Rule| {
            rule.backends
                .iter()
                .map(|backend| self.named(Direction::Outbound, &route.name, backend))
                .collect()
        };
        let router = Router::new(&self.config.routes, Direction::Outbound);
        Ok(Table {
            looks_at_paths: router.looks_at_paths() || self.policies.look_at_paths(Direction::Outbound),
            paths: outbound.map(|outbound| outbound.paths).unwrap_or_default(),
            router,
            routes: self.rules(Direction::Outbound, backends)?,
            passage: self.outbound_passage(passthrough.as_ref()),
            direct,
            otherwise: passthrough,
        })
    }

    /// What is let in at captured ports that nobody names: whatever it is, nobody reads it.
    fn let_in(
        &self,
        captured: &model::InboundCapture,
        previous: Option<&Snapshot>,
        crowds: &mut Crowds,
        now: Instant,
    ) -> Option<Table> {
        let wanted = captured.passthrough()?;
        let old = previous.and_then(|previous| {
            let (_, table) = previous.inbound.iter().find(|(listen, _)| *listen == captured.listen())?;
            table.passage.application()
        });
        let crowd = crowds.of(Of::Application, wanted.name.as_str());
        let running = upstreams::next(old, wanted, (None, &self.stands[INBOUND]), (self.metrics, crowd), now);
        Some(Table {
            passage: self.let_through(Direction::Inbound, &running, captured.policy.clone()),
            looks_at_paths: false,
            paths: Paths::default(),
            router: Router::new(&[], Direction::Inbound),
            routes: Vec::new(),
            direct: Direct::default(),
            otherwise: None,
        })
    }

    /// Each inbound port, and then what lets in whatever comes to others.
    fn inbounds(
        &self,
        previous: Option<&Snapshot>,
        crowds: &mut Crowds,
        now: Instant,
    ) -> Result<Vec<(SocketAddr, Table)>, BodyFileError> {
        let sidecar = &self.config.sidecar;
        let ports = sidecar.inbound.iter();
        let mut inbound = ports
            .map(|port| Ok((port.listen, self.inbound(port, previous, crowds, now)?)))
            .collect::<Result<Vec<_>, BodyFileError>>()?;
        if let Some(captured) = &sidecar.inbound_capture {
            let others = self.let_in(captured, previous, crowds, now);
            inbound.extend(others.map(|table| (captured.listen(), table)));
        }
        Ok(inbound)
    }

    /// One port leads to one application, whatever the route.
    fn inbound(
        &self,
        port: &model::Inbound,
        previous: Option<&Snapshot>,
        crowds: &mut Crowds,
        now: Instant,
    ) -> Result<Table, BodyFileError> {
        let wanted = port.application();
        let old = previous.and_then(|previous| {
            let (_, table) = previous.inbound.iter().find(|(listen, _)| *listen == port.listen)?;
            table.application()
        });
        let crowd = crowds.of(Of::Application, wanted.name.as_str());
        let application =
            upstreams::next(old, wanted, (None, &self.stands[INBOUND]), (self.metrics, crowd), now);
        let backends = |route: &HttpRoute, rule: &model::Rule| {
            vec![self.backend(Direction::Inbound, &route.name, &application, rule.policy.clone())]
        };
        let router = Router::new(&self.config.routes, Direction::Inbound);
        Ok(Table {
            passage: self.inbound_passage(port, &application),
            looks_at_paths: router.looks_at_paths() || self.policies.look_at_paths(Direction::Inbound),
            paths: port.paths,
            router,
            routes: self.rules(Direction::Inbound, backends)?,
            direct: Direct::default(),
            otherwise: Some(self.sole(Direction::Inbound, application, port.policy.clone())),
        })
    }

    /// The rules of all routes, by the positions that the router answers with.
    fn rules(
        &self,
        direction: Direction,
        backends: impl Fn(&HttpRoute, &model::Rule) -> Vec<Backend>,
    ) -> Result<Vec<Vec<Rule>>, BodyFileError> {
        let rule = |route: &HttpRoute, rule: &model::Rule| {
            let backends = backends(route, rule);
            Ok(Rule {
                route: route.name.shared(),
                name: rule.name.shared(),
                priority: rule.priority,
                fallback: self.fallback(direction, route, rule, &backends)?,
                fault: self.fault(route, rule),
                weights: Weights::new(rule.backends.iter().map(|backend| backend.weight)),
                backends,
            })
        };
        let routes = self.config.routes.iter();
        routes.map(|route| route.rules.iter().map(|inner| rule(route, inner)).collect()).collect()
    }

    fn fault(&self, route: &HttpRoute, rule: &model::Rule) -> Option<Arc<Fault>> {
        rule.fault.as_ref()?;
        let (route, rule) = (route.name.as_str(), rule.name.as_str());
        self.experiments.iter().find(|found| &*found.route == route && &*found.rule == rule).cloned()
    }

    fn fallback(
        &self,
        direction: Direction,
        route: &HttpRoute,
        rule: &model::Rule,
        backends: &[Backend],
    ) -> Result<Option<Chain>, BodyFileError> {
        let name = route.name.as_str();
        match &rule.fallback {
            Some(wanted) => {
                let other = |backend: &model::Backend| self.named(direction, &route.name, backend);
                stand_in::chain(name, wanted, self.metrics.route(name), other).map(Some)
            }
            None => Ok(self.unsaid(name, backends)),
        }
    }

    /// What stands in where no rule says it.
    fn unsaid(&self, route: &str, backends: &[Backend]) -> Option<Chain> {
        let keeps = |backend: &Backend| {
            backend.upstream.cache.as_ref().is_some_and(|cache| cache.mode == Mode::Enforce)
        };
        backends.iter().any(keeps).then(|| stand_in::stale(self.metrics.route(route)))
    }

    /// An upstream that a rule names.
    fn named(&self, direction: Direction, route: &model::Name, backend: &model::Backend) -> Backend {
        let UpstreamId(nth) = backend.upstream;
        self.backend(direction, route, &self.upstreams[nth], backend.policy.clone())
    }

    fn backend(
        &self,
        direction: Direction,
        route: &model::Name,
        upstream: &Arc<Upstream>,
        policy: TrafficPolicy,
    ) -> Backend {
        let metrics = self.metrics.exchange(direction, route.as_str(), upstream.config.name.as_str());
        Backend { upstream: Arc::clone(upstream), policy, metrics, connections: None }
    }

    /// The rule of what no route names.
    fn sole(&self, direction: Direction, upstream: Arc<Upstream>, policy: TrafficPolicy) -> Rule {
        let metrics = self.metrics.exchange(direction, NONE, upstream.config.name.as_str());
        let backends = vec![Backend { upstream, policy, metrics, connections: None }];
        let fallback = self.unsaid(NONE, &backends);
        Rule {
            route: NONE.into(),
            name: NONE.into(),
            priority: None,
            fallback,
            fault: None,
            weights: Weights::new([1]),
            backends,
        }
    }
}

impl From<BodyFileError> for BuildError {
    fn from(error: BodyFileError) -> Self {
        Self::BodyFile(error)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyFile(error) => error.fmt(f),
            Self::Tls { upstream, reason } => write!(f, "upstream {upstream}: {reason}"),
        }
    }
}

impl std::error::Error for BuildError {}

fn via(version: &str, name: &str) -> Via {
    let value =
        HeaderValue::try_from(format!("{version} {name}")).expect("the letters of a name are a field value");
    Via { line: format!("via: {version} {name}\r\n"), value }
}

#[cfg(test)]
mod tests;
