//! How does a policy become what runs? Everything that can fail fails here; what did not change stays the same object.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;
use outrigger_config::model::{
    self, Config, Direction, HttpRoute, Locality, Mode, TrafficPolicy, UpstreamId,
};

use super::fault::{Caps, Fault};
use super::stand_in::{self, BodyFileError, BodyFiles, Chain};
use super::{Backend, Rule, Snapshot, Table, Via, limiter};
use crate::message::{HeadLimits, TrailerLimits};
use crate::policy::router::Router;
use crate::policy::weights::Weights;
use crate::telemetry::{AccessLog, LineSink, Metrics};
use crate::upstream::Upstream;
use crate::upstream::crowd::{Crowd, Crowds, Of};

/// Label of what has no name.
const NONE: &str = "-";

/// The next generation. Upstreams that `previous` has unchanged keep their state: budgets, load, connections.
pub fn build(
    config: Config,
    previous: Option<&Snapshot>,
    metrics: &Metrics,
    log: &LineSink,
    now: Instant,
) -> Result<Snapshot, BodyFileError> {
    // First: what changes while they are read is seen as a change.
    let body_files = BodyFiles::of(&config);
    stand_in::check(&config)?;
    let mut crowds = previous.map(|previous| previous.crowds.living()).unwrap_or_default();
    let upstreams: Vec<_> = config
        .upstreams
        .iter()
        .map(|wanted| {
            let mut known = previous.iter().flat_map(|previous| &previous.upstreams);
            let old = known.find(|old| old.config.name == wanted.name);
            let crowd = crowds.of(Of::Upstream, wanted.name.as_str());
            next(old, wanted.clone(), config.sidecar.locality.as_ref(), (metrics, crowd), now)
        })
        .collect();
    let caps = previous.map(|previous| Arc::clone(&previous.caps)).unwrap_or_default();
    caps.set(&config.sidecar.faults);
    let experiments = experiments(&config, previous, &caps, metrics, now);
    let builder = Builder { config: &config, upstreams: &upstreams, experiments: &experiments, metrics };
    let outbound = builder.outbound()?;
    let inbound = config
        .sidecar
        .inbound
        .iter()
        .map(|port| Ok((port.listen, builder.inbound(port, previous, &mut crowds, now)?)))
        .collect::<Result<_, _>>()?;
    for old in previous.iter().flat_map(|previous| &previous.experiments) {
        if !experiments.iter().any(|new| Arc::ptr_eq(old, new)) {
            old.end();
        }
    }
    let known = previous.map_or(&[][..], |previous| &previous.limiters);
    let limiters =
        limiter::build(&config.rate_limits, &config.sidecar.name, known, (metrics, &mut crowds), now);
    let limits = &config.sidecar.limits;
    Ok(Snapshot {
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
        via: ["1.1", "2"].map(|version| via(version, config.sidecar.name.as_str())),
        limiters,
        experiments,
        caps,
        crowds,
        outbound,
        inbound,
        upstreams,
        config,
        body_files,
    })
}

/// The upstream of the last generation if it is the same, else a new one with what the old has learned.
fn next(
    old: Option<&Arc<Upstream>>,
    wanted: model::Upstream,
    near: Option<&Locality>,
    (metrics, crowd): (&Metrics, Arc<Crowd>),
    now: Instant,
) -> Arc<Upstream> {
    if let Some(old) = old.filter(|old| same(&old.config, &wanted) && old.is_near(near)) {
        return Arc::clone(old);
    }
    let counters = metrics.upstream(wanted.name.as_str());
    Upstream::new(wanted, near, counters, crowd, old.map(|old| &**old), now)
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

/// The experiment of each rule that has one. An unchanged one goes on, a changed one begins anew.
fn experiments(
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

struct Builder<'b> {
    config: &'b Config,
    upstreams: &'b [Arc<Upstream>],
    experiments: &'b [Arc<Fault>],
    metrics: &'b Metrics,
}

impl Builder<'_> {
    fn outbound(&self) -> Result<Table, BodyFileError> {
        let mut named = HashMap::default();
        for (upstream, running) in self.config.upstreams.iter().zip(self.upstreams) {
            let name = upstream.name.as_str().to_owned();
            for host in upstream.hosts.iter().cloned().chain([name]) {
                let rule = self.sole(Direction::Outbound, Arc::clone(running), upstream.policy.clone());
                named.entry(host).or_insert(rule);
            }
        }
        let backends = |route: &HttpRoute, rule: &model::Rule| {
            rule.backends
                .iter()
                .map(|backend| self.named(Direction::Outbound, &route.name, backend))
                .collect()
        };
        Ok(Table {
            router: Router::new(&self.config.routes, Direction::Outbound),
            routes: self.rules(Direction::Outbound, backends)?,
            named,
            otherwise: None,
        })
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
            Some(&table.otherwise.as_ref()?.backends.first()?.upstream)
        });
        let crowd = crowds.of(Of::Application, wanted.name.as_str());
        let application = next(old, wanted, None, (self.metrics, crowd), now);
        let backends = |route: &HttpRoute, rule: &model::Rule| {
            vec![self.backend(Direction::Inbound, &route.name, &application, rule.policy.clone())]
        };
        Ok(Table {
            router: Router::new(&self.config.routes, Direction::Inbound),
            routes: self.rules(Direction::Inbound, backends)?,
            named: HashMap::default(),
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
        Backend { upstream: Arc::clone(upstream), policy, metrics }
    }

    /// The rule of what no route names.
    fn sole(&self, direction: Direction, upstream: Arc<Upstream>, policy: TrafficPolicy) -> Rule {
        let metrics = self.metrics.exchange(direction, NONE, upstream.config.name.as_str());
        let backends = vec![Backend { upstream, policy, metrics }];
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

fn via(version: &str, name: &str) -> Via {
    let value =
        HeaderValue::try_from(format!("{version} {name}")).expect("the letters of a name are a field value");
    Via { line: format!("via: {version} {name}\r\n"), value }
}

#[cfg(test)]
mod tests {
    use std::io;

    use outrigger_config::Source;

    use super::*;
    use crate::clock::now;

    const POLICY: &str = "
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
outbound: {}
---
{apiVersion: outrigger/v1, kind: Upstream, name: asked, discovery: {dns: asked.internal, port: 80}}
---
{apiVersion: outrigger/v1, kind: Upstream, name: written, discovery: {static: [10.0.0.1:80, 10.0.0.2:80]}}
";

    fn config(text: &str) -> Config {
        outrigger_config::parse(&[Source { name: "a.yaml".to_owned(), text: text.to_owned() }]).unwrap()
    }

    /// Two generations, the second with every occurrence of a text replaced; what happens to the first in between.
    fn generations(from: &str, to: &str, meanwhile: impl FnOnce(&Snapshot)) -> [Snapshot; 2] {
        let metrics = Metrics::new(1, 1000);
        let (log, _) = LineSink::spawn(Box::new(io::sink()), metrics.access_log_dropped()).unwrap();
        let first = build(config(POLICY), None, &metrics, &log, now()).unwrap();
        meanwhile(&first);
        let second = build(config(&POLICY.replace(from, to)), Some(&first), &metrics, &log, now()).unwrap();
        [first, second]
    }

    /// The endpoints' ids of each upstream of both.
    fn ids(from: &str, to: &str) -> [Vec<Vec<u64>>; 2] {
        let answered =
            |first: &Snapshot| first.upstreams[0].publish(&["10.0.1.1:80".parse().unwrap()], now());
        let ids =
            |upstream: &Arc<Upstream>| upstream.roster().endpoints.iter().map(|found| found.id).collect();
        generations(from, to, answered).map(|snapshot| snapshot.upstreams.iter().map(ids).collect())
    }

    #[test]
    fn a_changed_policy_of_an_upstream_keeps_its_endpoints() {
        let [old, new] = ids("discovery:", "retryBudget: {percent: 10%}, discovery:");
        assert_eq!(old, new);
    }

    #[test]
    fn lb_11_patience_with_a_resolver_may_change_while_it_fails() {
        let [old, new] = ids("port: 80}", "port: 80, staleFor: 1m}");
        assert_eq!((old[0].len(), &old), (1, &new));
    }

    #[test]
    fn a_changed_list_keeps_the_endpoints_that_stay() {
        let [old, new] = ids("10.0.0.1:80", "10.0.0.3:80");
        assert_eq!(old[0], new[0]);
        assert_ne!(old[1][0], new[1][0]);
        assert_eq!(old[1][1], new[1][1]);
    }

    #[test]
    fn rt_5_a_budget_begins_anew_only_where_it_is_changed_itself() {
        let earned = |first: &Snapshot| first.upstreams[1].deposit(100, now());
        for (settings, stays) in [("limits: {maxPending: 7}", true), ("retryBudget: {percent: 25%}", false)] {
            let [old, new] = generations("discovery:", &format!("{settings}, discovery:"), earned);
            assert_eq!(new.upstreams[1].balance(now()) >= 20, stays, "{settings}");
            old.upstreams[1].deposit(100, now());
            assert_eq!(
                new.upstreams[1].balance(now()) >= 40,
                stays,
                "who is under way still earns: {settings}"
            );
        }
    }

    #[test]
    fn another_name_has_other_endpoints() {
        let [_, new] = ids("asked.internal", "other.internal");
        assert!(new[0].is_empty(), "nobody has been asked yet");
    }
}
