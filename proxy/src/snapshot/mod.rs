//! What is in force? The running configuration: immutable, numbered, swapped whole.

pub mod authorizer;
mod build;
mod direct;
pub mod fault;
pub mod limiter;
mod listeners;
mod opaque;
mod paths;
pub mod stand_in;

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use outrigger_config::model::priority::Class;
use outrigger_config::model::{
    Config, Direction, Inbound, InboundTls, Name, Paths, SidecarLimits, TrafficPolicy,
};

use crate::message::{HeadLimits, RequestHead, TrailerLimits, Version};
use crate::policy::router::{Request, Router, Step, lower_case};
use crate::policy::weights::Weights;
use crate::telemetry::{AccessLog, ConnectionMetrics, ExchangeMetrics};
use crate::tls::ServerSide;
use crate::upstream::Upstream;
use crate::upstream::crowd::Crowds;
use crate::upstream::dialed::Dialed;

use self::authorizer::Authorizer;
use self::direct::Direct;
use self::fault::{Caps, Fault};
use self::opaque::Passage;
use self::stand_in::{BodyFiles, Chain};
pub use build::{BuildError, build};
use limiter::RateLimiter;
pub use listeners::{ListenerId, sockets};

/// One generation. A request holds it to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// From 1, by one with each change.
    pub generation: u64,
    /// What it was built from.
    pub config: Config,
    /// What of it stands in other files.
    pub body_files: BodyFiles,
    /// Our side of inbound handshakes; `None`: we are nobody.
    pub tls: Option<Arc<ServerSide>>,
    /// Bounds on what downstreams may send.
    pub head_limits: HeadLimits,
    /// Bounds on trailers of both sides.
    pub trailer_limits: TrailerLimits,
    /// All upstreams, in the order of the policy.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Counts what reaches no route.
    pub unrouted: [Arc<ExchangeMetrics>; 2],
    /// The same of connections that nobody reads.
    pub unrouted_connections: [Arc<ConnectionMetrics>; 2],
    /// Experiments that inject faults.
    pub experiments: Vec<Arc<Fault>>,
    caps: Arc<Caps>,
    crowds: Crowds,
    via: [Via; 2],
    /// What is written of exchanges.
    pub access_log: AccessLog,
    /// Limits on requests of both directions, in the order of the policy.
    pub limiters: Vec<Arc<RateLimiter>>,
    /// Who may do what, by direction.
    authorizers: [Box<[Authorizer]>; 2],
    sockets: Vec<ListenerId>,
    /// What is opened in each direction where connections are captured.
    dialed: [Option<Arc<Dialed>>; 2],
    outbound: Table,
    inbound: Vec<(SocketAddr, Table)>,
}

/// What a request's `via` says of us (RFC 9110 §7.6.3), by the version that it came in.
#[derive(Debug)]
pub struct Via {
    /// As a field line of HTTP/1.
    pub line: String,
    /// As a value.
    pub value: HeaderValue,
}

/// What one listener does with requests.
#[derive(Debug)]
struct Table {
    router: Router,
    routes: Vec<Vec<Rule>>,
    /// What becomes of odd paths.
    paths: Paths,
    /// Some rule that acts looks at paths.
    looks_at_paths: bool,
    /// Upstreams for requests without a route.
    direct: Direct,
    /// Where everything else goes: the application, or wherever it was meant to go.
    otherwise: Option<Rule>,
    /// What becomes of connections that nobody reads.
    passage: Passage,
}

/// Where matching requests go.
#[derive(Debug)]
pub struct Rule {
    /// The route's name; `-` without one.
    pub route: Arc<str>,
    /// The rule's name; `-` without one.
    pub name: Arc<str>,
    /// What its requests are worth; `None`: what a rate limit policy says.
    pub priority: Option<Class>,
    /// What is tried when they fail; `None`: nothing.
    pub fallback: Option<Chain>,
    /// What goes wrong with them on purpose.
    pub fault: Option<Arc<Fault>>,
    weights: Weights,
    backends: Vec<Backend>,
}

/// One upstream of a rule, and how exchanges with it are treated.
#[derive(Debug)]
pub struct Backend {
    /// Whom to call.
    pub upstream: Arc<Upstream>,
    /// How.
    pub policy: TrafficPolicy,
    /// What is counted.
    pub metrics: Arc<ExchangeMetrics>,
    /// The same, where it takes connections that nobody reads.
    pub connections: Option<Arc<ConnectionMetrics>>,
}

impl Snapshot {
    /// What we say of ourselves to an upstream of a request that came so.
    pub fn via(&self, version: Version) -> &Via {
        &self.via[usize::from(version == Version::Http2)]
    }

    /// The most specific rule for a request; `None`: nobody named its authority, nor where its connection was `meant` to go.
    pub fn route(
        &self,
        listener: ListenerId,
        host: &str,
        head: &RequestHead,
        meant: Option<SocketAddr>,
    ) -> Option<&Rule> {
        let table = self.table(listener)?;
        if let Some(found) = table.router.route(&request(host, head)) {
            return Some(&table.routes[found.route][found.rule]);
        }
        table.direct.named(&lower_case(host)).or_else(|| table.beyond(meant))
    }

    /// Where a captured connection goes that shows no authority; `None`: nobody named where it was `meant` to go.
    pub fn at(&self, listener: ListenerId, meant: SocketAddr) -> Option<&Rule> {
        self.table(listener)?.beyond(Some(meant))
    }

    /// Who may do what this way.
    pub fn authorizers(&self, direction: Direction) -> &[Authorizer] {
        &self.authorizers[usize::from(direction == Direction::Outbound)]
    }

    /// Our side of handshakes on a listener; `None`: it takes plaintext only.
    pub fn server_side(&self, listener: ListenerId) -> Option<&Arc<ServerSide>> {
        self.tls.as_ref().filter(|_| *self.inbound_tls(listener) != InboundTls::Off)
    }

    /// What a listener asks of those who call.
    pub fn inbound_tls(&self, listener: ListenerId) -> &InboundTls {
        self.port(listener).map_or(&InboundTls::Off, |port| &port.tls)
    }

    /// The inbound port behind a listener.
    fn port(&self, listener: ListenerId) -> Option<&Inbound> {
        let mut inbound = self.config.sidecar.inbound.iter();
        inbound.find(|port| listener.direction == Direction::Inbound && port.listen == listener.addr)
    }

    /// How [`Self::route`] finds a route, for a person who asks why.
    pub fn trail(&self, listener: ListenerId, host: &str, head: &RequestHead) -> Vec<Step<'_>> {
        self.table(listener).map(|table| table.router.trail(&request(host, head))).unwrap_or_default()
    }

    fn table(&self, listener: ListenerId) -> Option<&Table> {
        match listener.direction {
            Direction::Outbound => Some(&self.outbound),
            Direction::Inbound => {
                self.inbound.iter().find(|(addr, _)| *addr == listener.addr).map(|(_, table)| table)
            }
        }
    }

    /// The upstream of this name.
    fn upstream(&self, name: &Name) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|upstream| upstream.config.name == *name)
    }

    /// The application behind each inbound port, in the order of the policy.
    pub fn applications(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.inbound.iter().filter_map(|(_, table)| table.application())
    }

    /// Whoever is called: all upstreams and all applications.
    pub fn everyone(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.iter().chain(self.applications())
    }

    /// The policy's bounds on downstreams.
    pub fn limits(&self) -> &SidecarLimits {
        &self.config.sidecar.limits
    }

    /// Counts what reaches no route.
    pub fn unrouted(&self, direction: Direction) -> &ExchangeMetrics {
        &self.unrouted[usize::from(direction == Direction::Outbound)]
    }
}

/// What routers look at.
pub fn request<'a>(host: &'a str, head: &'a RequestHead) -> Request<'a> {
    let query = head.target.query();
    Request { host, path: head.path(), query, method: &head.method, headers: &head.headers }
}

impl Table {
    /// What takes what no route and no authority takes.
    fn beyond(&self, meant: Option<SocketAddr>) -> Option<&Rule> {
        meant.and_then(|meant| self.direct.at(meant)).or(self.otherwise.as_ref())
    }

    /// Who gets everything else.
    fn application(&self) -> Option<&Arc<Upstream>> {
        Some(&self.otherwise.as_ref()?.backends.first()?.upstream)
    }
}

impl Rule {
    /// All backends, each with its share of the requests, 0..=1.
    pub fn backends(&self) -> impl Iterator<Item = (&Backend, f64)> {
        let share = |nth| if self.backends.len() == 1 { 1.0 } else { self.weights.share(nth) };
        self.backends.iter().enumerate().map(move |(nth, backend)| (backend, share(nth)))
    }

    /// Another upstream may get the request when its own has failed.
    pub fn has_spare(&self) -> bool {
        self.fallback.as_ref().is_some_and(Chain::has_spare)
    }

    /// One of the backends, by weight; `draw` is uniform.
    pub fn backend(&self, draw: u64) -> &Backend {
        match self.backends.as_slice() {
            [only] => only,
            several => &several[self.weights.pick(draw).unwrap_or(0)],
        }
    }
}
