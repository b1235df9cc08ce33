//! Where does a connection go that nobody reads? By its route, by the listener that it came to, or by the name that its
//! TLS asks for.

use std::net::SocketAddr;
use std::sync::Arc;

use outrigger_config::model::{self, Accepts, Direction, Inbound, TcpRoute, TrafficPolicy, UpstreamId};

use super::build::{Builder, NONE};
use super::direct::Direct;
use super::{Arrival, Backend, ListenerId, Rule, Snapshot};
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
    /// What a connection is to be taken for.
    pub fn accepts(&self, arrival: &Arrival) -> Accepts {
        let declared = self.declared(arrival.listener);
        let port = self.destination(arrival).port();
        let listed = || self.config.sidecar.detection.opaque_ports.contains(&port);
        if declared == Accepts::Detect && listed() { Accepts::Opaque } else { declared }
    }

    /// The most specific rule for an opaque connection; `None`: nobody named where it goes.
    pub fn passage(&self, arrival: &Arrival, sni: Option<&str>) -> Option<&Rule> {
        let passage = &self.table(arrival.listener)?.passage;
        let connection = Connection { destination: self.destination(arrival), sni };
        if let Some(found) = passage.router.route(&connection) {
            return Some(&passage.routes[found.route][found.rule]);
        }
        let own = || passage.own.iter().find(|(addr, _)| *addr == arrival.listener.addr);
        let named = || sni.and_then(|name| passage.direct.named(name));
        let at = || arrival.meant.and_then(|meant| passage.direct.at(meant));
        own().map(|(_, rule)| rule).or_else(named).or_else(at).or(passage.otherwise.as_ref())
    }

    /// Whether the name that a connection's TLS asks for may decide where it goes.
    pub fn asks_for_names(&self, arrival: &Arrival) -> bool {
        let destination = self.destination(arrival);
        self.table(arrival.listener).is_some_and(|table| table.passage.router.asks_for_names(destination))
    }

    /// Where a connection was meant to go: what it was told that, else the port that callers know.
    pub fn destination(&self, arrival: &Arrival) -> SocketAddr {
        let known = |addr: SocketAddr| match self.port(arrival.listener) {
            Some(port) => SocketAddr::new(addr.ip(), port.port),
            None => addr,
        };
        arrival.meant.unwrap_or_else(|| known(arrival.listener.addr))
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
    pub(super) fn outbound_passage(&self, passthrough: Option<&(Arc<Upstream>, TrafficPolicy)>) -> Passage {
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
        let otherwise = passthrough.map(|(upstream, policy)| {
            self.leading_to(Direction::Outbound, upstream, policy.clone().of_connections())
        });
        let backends = |route: &str, rule: &model::TcpRule| {
            let backend = |backend: &model::Backend| {
                let UpstreamId(nth) = backend.upstream;
                self.passed(Direction::Outbound, route, &self.upstreams[nth], backend.policy.clone())
            };
            rule.backends.iter().map(backend).collect()
        };
        Passage { own: own.collect(), direct, otherwise, ..self.passage(Direction::Outbound, backends) }
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
