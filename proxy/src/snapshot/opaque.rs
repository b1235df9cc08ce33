//! Where does a connection go that nobody reads? By its route, by the listener that it came to, or by the name that its
//! TLS asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_config::model::{self, Accepts, Direction, Inbound, TcpRoute, TrafficPolicy, UpstreamId};

use super::build::{Builder, NONE};
use super::direct::Direct;
use super::{Backend, ListenerId, Rule, Snapshot};
use crate::policy::tcp_router::{Connection, TcpRouter};
use crate::policy::weights::Weights;
use crate::upstream::Upstream;

/// What one listener does with opaque connections.
#[derive(Debug, Default)]
pub(super) struct Passage {
    pub(super) router: TcpRouter,
    pub(super) routes: Vec<Vec<Rule>>,
    /// Where a listener of its own leads.
    pub(super) own: Vec<(SocketAddr, Rule)>,
    /// Upstreams by the names that TLS may ask for, and by their addresses.
    pub(super) direct: Direct,
    /// Where everything else goes: the application, or wherever it was meant to go.
    pub(super) otherwise: Option<Rule>,
}

impl Passage {
    /// Who gets everything else.
    pub(super) fn application(&self) -> Option<&Arc<Upstream>> {
        Some(&self.otherwise.as_ref()?.backends.first()?.upstream)
    }
}

impl Snapshot {
    /// What a connection is to be taken for that came in so, and was `meant` for there.
    pub fn accepts(&self, listener: ListenerId, meant: Option<SocketAddr>) -> Accepts {
        let declared = self.declared(listener);
        let port = self.destination(listener, meant).port();
        let listed = || self.config.sidecar.detection.opaque_ports.contains(&port);
        if declared == Accepts::Detect && listed() { Accepts::Opaque } else { declared }
    }

    /// The most specific rule for an opaque connection; `None`: nobody named where it goes.
    pub fn passage(
        &self,
        listener: ListenerId,
        meant: Option<SocketAddr>,
        sni: Option<&str>,
    ) -> Option<&Rule> {
        let passage = &self.table(listener)?.passage;
        let connection = Connection { destination: self.destination(listener, meant), sni };
        if let Some(found) = passage.router.route(&connection) {
            return Some(&passage.routes[found.route][found.rule]);
        }
        let own = passage.own.iter().find(|(addr, _)| *addr == listener.addr).map(|(_, rule)| rule);
        let named = || sni.and_then(|name| passage.direct.named(name));
        let there = || meant.and_then(|meant| passage.direct.at(meant));
        own.or_else(named).or_else(there).or(passage.otherwise.as_ref())
    }

    /// Whether the name that a connection's TLS asks for may decide where it goes. On a port of which it is known that the
    /// server speaks first, a rule that takes every port is no reason to wait for the client (REQUIREMENTS U19).
    pub fn asks_for_names(&self, listener: ListenerId, meant: Option<SocketAddr>) -> bool {
        let destination = self.destination(listener, meant);
        let Some(passage) = self.table(listener).map(|table| &table.passage) else { return false };
        let leads_on = meant.is_some()
            || listener.direction == Direction::Inbound
            || passage.own.iter().any(|(addr, _)| *addr == listener.addr);
        passage.router.asks_for_names(destination, leads_on)
    }

    /// Where a connection was meant to go; where nobody redirected it, the port that callers know.
    pub fn destination(&self, listener: ListenerId, meant: Option<SocketAddr>) -> SocketAddr {
        let mut known = listener.addr;
        if let Some(port) = self.port(listener) {
            known.set_port(port.port);
        }
        meant.unwrap_or(known)
    }

    fn declared(&self, listener: ListenerId) -> Accepts {
        match (listener.direction, &self.config.sidecar.outbound) {
            // Of a port that nobody names nothing is known.
            (Direction::Inbound, _) => self.port(listener).map_or(Accepts::Opaque, |port| port.accepts),
            (Direction::Outbound, Some(outbound)) if outbound.listen == listener.addr => outbound.accepts,
            (Direction::Outbound, Some(_)) => Accepts::Opaque,
            (Direction::Outbound, None) => Accepts::Http,
        }
    }
}

impl Builder<'_> {
    /// Where opaque connections of the service may go; nowhere, where all are taken for HTTP.
    pub(super) fn outbound_passage(&self, passthrough: Option<&Rule>) -> Passage {
        let Some(outbound) = &self.config.sidecar.outbound else { return Passage::default() };
        if outbound.accepts == Accepts::Http && outbound.tcp.is_empty() {
            return Passage::default();
        }
        let leading_to = |UpstreamId(nth): UpstreamId| {
            let policy = self.config.upstreams[nth].policy.clone().of_connections();
            self.leading_to(Direction::Outbound, &self.upstreams[nth], policy)
        };
        let own = outbound.tcp.iter().filter_map(|tcp| Some((tcp.listen, leading_to(tcp.upstream?))));
        let mut direct = Direct::default();
        for (nth, upstream) in self.config.upstreams.iter().enumerate() {
            direct.add(leading_to(UpstreamId(nth)), upstream);
        }
        let let_through = |rule: &Rule| {
            let backend = rule.backends.first()?;
            let policy = backend.policy.clone().of_connections();
            Some(self.leading_to(Direction::Outbound, &backend.upstream, policy))
        };
        let backends = |route: &str, rule: &model::TcpRule| {
            let backend = |backend: &model::Backend| {
                let UpstreamId(nth) = backend.upstream;
                self.passed(Direction::Outbound, route, &self.upstreams[nth], backend.policy.clone())
            };
            rule.backends.iter().map(backend).collect()
        };
        Passage {
            own: own.collect(),
            direct,
            otherwise: passthrough.and_then(let_through),
            ..self.passage(Direction::Outbound, backends)
        }
    }

    /// All of it goes to one upstream.
    pub(super) fn let_through(
        &self,
        direction: Direction,
        upstream: &Arc<Upstream>,
        policy: TrafficPolicy,
    ) -> Passage {
        let otherwise = Some(self.leading_to(direction, upstream, policy.of_connections()));
        Passage { otherwise, ..Passage::default() }
    }

    /// What becomes of opaque connections to the application behind a port; nothing, where all are taken for HTTP.
    pub(super) fn inbound_passage(&self, port: &Inbound, application: &Arc<Upstream>) -> Passage {
        if port.accepts == Accepts::Http {
            return Passage::default();
        }
        let policy = port.policy.clone().of_connections();
        let backends = |route: &str, rule: &model::TcpRule| {
            vec![self.passed(Direction::Inbound, route, application, rule.policy.clone())]
        };
        Passage {
            otherwise: Some(self.leading_to(Direction::Inbound, application, policy)),
            ..self.passage(Direction::Inbound, backends)
        }
    }

    /// The rules of all routes of opaque connections, by the positions that their router answers with.
    fn passage(
        &self,
        direction: Direction,
        backends: impl Fn(&str, &model::TcpRule) -> Vec<Backend>,
    ) -> Passage {
        let rule = |route: &TcpRoute, rule: &model::TcpRule| Rule {
            route: route.name.shared(),
            name: rule.name.shared(),
            priority: rule.priority,
            fallback: None,
            fault: None,
            weights: Weights::new(rule.backends.iter().map(|backend| backend.weight)),
            backends: backends(route.name.as_str(), rule),
        };
        let routes = &self.config.tcp_routes;
        Passage {
            router: TcpRouter::new(routes, direction),
            routes: routes.iter().map(|r| r.rules.iter().map(|inner| rule(r, inner)).collect()).collect(),
            ..Passage::default()
        }
    }

    /// The rule of what no route names.
    fn leading_to(&self, direction: Direction, upstream: &Arc<Upstream>, policy: TrafficPolicy) -> Rule {
        Rule {
            route: NONE.into(),
            name: NONE.into(),
            priority: None,
            fallback: None,
            fault: None,
            weights: Weights::new([1]),
            backends: vec![self.passed(direction, NONE, upstream, policy)],
        }
    }

    /// An upstream of connections that nobody reads: no exchange is ever counted there.
    fn passed(
        &self,
        direction: Direction,
        route: &str,
        upstream: &Arc<Upstream>,
        policy: TrafficPolicy,
    ) -> Backend {
        let connections = self.metrics.connection(direction, route, upstream.config.name.as_str());
        let metrics = self.metrics.exchange(direction, NONE, NONE);
        Backend { upstream: Arc::clone(upstream), policy, metrics, connections: Some(connections) }
    }
}
