//! What is known of the request in hand? One value from its head to its last byte; its end is counted and logged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use outrigger_config::model::priority::Class;
use outrigger_config::model::{Direction, HashOn, PeerIdentity, Protocol, Upgrade};

use super::After;
use super::cached::Visit;
use super::error::Failure;
use super::fallback::Fell;
use super::ids::Ids;
use crate::http2::fields::is_grpc;
use crate::message::{Ends, RequestHead};
use crate::policy::deadline::{Deadline, Told};
use crate::policy::grpc;
use crate::policy::hash::hash;
use crate::policy::outcome::{ConnectFailure, TlsFailure};
use crate::snapshot::fault::Met;
use crate::snapshot::limiter::Quota;
use crate::snapshot::{Backend, ListenerId, Rule, Snapshot};
use crate::telemetry::access_log::{Path, Text};
use crate::telemetry::{ConnectionMetrics, Flag, Record};
use crate::tls::Proof;
use crate::upstream::guard::Asked;
use crate::worker::Worker;

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request,
    /// A connection that nobody reads, treated as if it had been asked for by CONNECT.
    Connection,
}

/// One request and what became of it.
#[derive(Debug)]
pub struct Exchange<'s> {
    /// Who carries it.
    pub worker: &'s Worker,
    /// The one configuration that it sees.
    pub snapshot: &'s Snapshot,
    /// Where it came in.
    pub listener: ListenerId,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Whom its connection meant to call, where it was captured.
    pub meant: Option<SocketAddr>,
    /// By what it proved who it is; `None`: it came in plaintext.
    pub proof: Option<Arc<Proof>>,
    /// What was asked.
    pub head: RequestHead,
    /// It is a gRPC call: its answers and failures say so in gRPC's words.
    pub grpc: bool,
    /// Whether it is one.
    pub kind: Kind,
    /// What its connection is turned into, if the upstream agrees.
    pub tunnel: Option<&'s Upgrade>,
    /// When its head was complete.
    pub started: Instant,
    /// Where it goes.
    pub chosen: Option<(&'s Rule, &'s Backend)>,
    /// What it is worth.
    pub class: Class,
    /// What it is told of the rate limits that it met.
    pub quota: Option<Quota<'s>>,
    /// The policy that turned it away, where that is no rule's.
    pub denied_by: Option<&'s str>,
    /// The rule of that policy.
    pub denied_rule: Option<&'s str>,
    /// What the caller said of its patience.
    pub told: Told,
    /// When it must have come how far.
    pub deadline: Deadline,
    /// Attempts that have begun.
    pub attempts: u32,
    /// When the last of them began, or the first may.
    pub attempt_began: Instant,
    /// How far that attempt has come.
    pub asked: Asked,
    /// Whom the last attempt met.
    pub endpoint: Option<SocketAddr>,
    /// The downstream connection serves another request after this.
    pub keep_alive: bool,
    /// What the downstream was told.
    pub status: Option<StatusCode>,
    /// What a gRPC call ended in.
    pub grpc_status: Option<grpc::Status>,
    /// Why we answered ourselves, or broke off.
    pub failure: Option<Failure>,
    /// The upstream's answer stands although a retry was wanted.
    pub gave_up: bool,
    /// What was injected into the last attempt: the flag of it.
    pub injected: Option<Flag>,
    /// What is injected into the content of its answer.
    pub met: Option<Met>,
    /// What the cache has to do with it.
    pub visit: Option<Visit>,
    /// What stands in for its upstream.
    pub fell: Option<Fell>,
    /// By which it is known.
    pub ids: Ids,
    /// Octets of content from the downstream.
    pub bytes_in: u64,
    /// Octets of content to the downstream.
    pub bytes_out: u64,
}

impl<'s> Exchange<'s> {
    /// A request whose head has just come.
    pub fn begin(
        worker: &'s Worker,
        snapshot: &'s Snapshot,
        listener: ListenerId,
        (Ends { peer, meant }, proof): (Ends, Option<Arc<Proof>>),
        head: RequestHead,
        started: Instant,
    ) -> Self {
        let ids = worker.rng(|rng| Ids::complete(head.known, rng));
        Self {
            worker,
            snapshot,
            listener,
            peer,
            meant,
            proof,
            keep_alive: head.keep_alive,
            grpc: is_grpc(&head),
            kind: Kind::Request,
            tunnel: None,
            head,
            started,
            chosen: None,
            class: Class::Default,
            quota: None,
            denied_by: None,
            denied_rule: None,
            told: Told::default(),
            deadline: Deadline::at(started),
            attempts: 0,
            attempt_began: started,
            asked: Asked::default(),
            endpoint: None,
            status: None,
            grpc_status: None,
            failure: None,
            gave_up: false,
            injected: None,
            met: None,
            visit: None,
            fell: None,
            ids,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Who sent it, as far as that was proved.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.proof.as_ref().map(|proof| proof.peer().identity())
    }

    /// Where the policy sends it; what speaks no HTTP is reached by a tunnel alone.
    pub fn route(&self) -> Option<(&'s Rule, &'s Backend)> {
        let rule = self.snapshot.route(self.listener, self.head.host(), &self.head, self.meant)?;
        let backend = rule.backend(self.worker.rng(|rng| rng.u64(..)));
        let speaks = backend.upstream.config.protocol != Protocol::Tcp || self.head.method == Method::CONNECT;
        speaks.then_some((rule, backend))
    }

    /// A stream may be silent and long-lived by intent: the call of a gRPC method, whatever it is, or a tunnel.
    pub fn set_deadline(&mut self, backend: &Backend) {
        let timeouts = &backend.policy.timeouts;
        let (now, request) = (self.started, *timeouts.request);
        self.deadline = if self.tunnel.is_some() {
            Deadline::of_tunnel(now, request, &self.told)
        } else if self.grpc {
            Deadline::of_stream(now, request, *timeouts.idle, &self.told)
        } else {
            Deadline::new(now, request, &self.told)
        };
    }

    /// What has come instead of the tunnel that was wanted is an answer like any other.
    pub fn stays_a_request(&mut self, backend: &Backend) {
        if self.tunnel.is_some() {
            self.deadline = Deadline::new(self.started, *backend.policy.timeouts.request, &self.told);
        }
    }

    /// What it belongs to where its upstream has a ring; `None`: the field is missing, and any endpoint will do.
    pub fn key(&self, on: &HashOn) -> Option<u64> {
        match on {
            HashOn::Source => Some(match self.peer.ip() {
                IpAddr::V4(ip) => hash(&ip.octets()),
                IpAddr::V6(ip) => hash(&ip.octets()),
            }),
            HashOn::Header(name) => Some(hash(self.head.headers.get(name)?.as_bytes())),
        }
    }

    /// The connection must not be used again, since a drain wants its caller to go elsewhere. Asked as late as can be:
    /// what was in hand when the drain began is the last of its connection too.
    pub fn drains(&self) -> bool {
        self.worker.leaves(self.listener)
    }

    /// The request's content flows: the built-in limit bounds a wait for an answer, and this is none yet.
    pub fn extend_while_flowing(&mut self, now: Instant) {
        self.deadline = self.deadline.while_flowing(now);
    }

    /// The condition of ours under which the upstream is asked; what stands in for it knows nothing of that.
    pub fn condition(&self) -> Option<(HeaderName, &HeaderValue)> {
        self.visit.as_ref().filter(|_| self.fell.is_none())?.condition()
    }

    /// The upstream has, or will have, all that it waits for.
    pub fn content_is_complete(&mut self, now: Instant) {
        self.deadline = self.deadline.completed(now);
        self.asked.whole = Some(now);
    }

    /// Retries are done with: hops above that see this request's answer must not repeat it (RT-10).
    pub fn settle(&self) {
        if self.listener.direction == Direction::Outbound {
            let mut settled = self.worker.shared.settled();
            self.keys().for_each(|key| settled.insert(key, self.started));
        }
    }

    /// A hop below has done the retrying for this request: seen by its ids, which applications pass on.
    pub fn is_settled_below(&self) -> bool {
        if self.listener.direction == Direction::Outbound {
            return false;
        }
        let settled = self.worker.shared.settled();
        self.keys().any(|key| settled.contains(key, self.started))
    }

    /// What calls that the application makes for this request have in common with it.
    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let headers = &self.head.headers;
        self.ids.request(headers).into_iter().chain(self.ids.trace(headers).map(str::as_bytes))
    }

    /// Counts and logs its end; says what becomes of the connection.
    pub fn finish(self, after: After) -> After {
        let now = crate::clock::now();
        let took = now.saturating_duration_since(self.started);
        let metrics = match self.chosen {
            Some((_, backend)) => &*backend.metrics,
            None => self.snapshot.unrouted(self.listener.direction),
        };
        let status = self.status.map_or(0, |status| status.as_u16());
        let code = self.grpc_status.map_or(status, grpc::Status::as_http);
        let flag = self.flag();
        if self.is_opaque() {
            self.connections().ended(self.worker.id, flag);
        } else {
            metrics.record(self.worker.id, code, flag, took);
        }
        if let Some(failure) = self.failure {
            self.count_failure(failure);
        }
        let log = &self.snapshot.access_log;
        // Nobody tells by a status how a connection went.
        let code = if self.is_opaque() { 200 } else { code };
        if log.wants(code, flag, took, self.worker.rng(fastrand::Rng::f64)) {
            log.write(self.worker.id, &self.record(status, flag, took), now);
        }
        self.worker.scratch.recycle(self.head.headers);
        match after {
            After::Keep(_) => After::Keep(now),
            other => other,
        }
    }

    /// It is a connection that nobody reads.
    pub fn is_opaque(&self) -> bool {
        self.kind == Kind::Connection
    }

    /// What is counted of it as a connection that nobody reads.
    pub fn connections(&self) -> &'s ConnectionMetrics {
        let outbound = self.listener.direction == Direction::Outbound;
        let unrouted = &self.snapshot.unrouted_connections[usize::from(outbound)];
        self.chosen.and_then(|(_, backend)| backend.connections.as_deref()).unwrap_or(unrouted)
    }

    fn flag(&self) -> Flag {
        if let Some(injected) = self.injected {
            return injected;
        }
        match (self.failure, self.fell) {
            (Some(failure), _) => failure.flag(),
            (None, Some(fell)) => fell.flag,
            (None, None) if self.gave_up => Flag::UpstreamRetryLimit,
            (None, None) => Flag::None,
        }
    }

    /// Counts the limit or deadline that it was.
    pub fn count_failure(&self, failure: Failure) {
        let (metrics, id) = (&self.worker.shared.metrics, self.worker.id);
        if let Some(limit) = failure.limit() {
            metrics.limit_exceeded(id, limit);
        }
        match failure {
            Failure::Deadline => metrics.deadline_exceeded(id, "request"),
            Failure::AttemptTimeout => metrics.deadline_exceeded(id, "attempt"),
            Failure::Expired => metrics.deadline_exceeded(id, "arrival"),
            Failure::Connect(ConnectFailure::TimedOut) => metrics.deadline_exceeded(id, "connect"),
            Failure::Connect(ConnectFailure::Tls(TlsFailure::TimedOut)) => {
                metrics.deadline_exceeded(id, "tls-handshake");
            }
            Failure::BodyIdle => metrics.deadline_exceeded(id, "idle"),
            Failure::BadRequest(error) => {
                metrics.downstream(self.listener.direction).protocol_error(id, error.label());
            }
            Failure::AmbiguousPath(_) => {
                metrics.downstream(self.listener.direction).protocol_error(id, "path");
            }
            Failure::BadBody(error) => {
                metrics.downstream(self.listener.direction).protocol_error(id, error.label());
            }
            _ => {}
        }
    }

    fn record(&self, status: u16, flag: Flag, took: Duration) -> Record<'_> {
        let (rule, backend) = self.chosen.unzip();
        Record {
            time: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            direction: self.listener.direction,
            peer: self.peer,
            identity: self.identity().map(PeerIdentity::as_str),
            protocol: self.is_opaque().then_some("tcp"),
            method: (!self.is_opaque()).then(|| Text(self.head.method.as_str().as_bytes())),
            authority: Text(self.head.authority().as_bytes()),
            path: (!self.is_opaque()).then(|| Path(self.head.target.path().as_bytes())),
            route: rule.map_or("-", |rule| &*rule.route),
            upstream: backend.map(|backend| backend.upstream.config.name.as_str()),
            endpoint: self.endpoint,
            status,
            grpc_status: self.grpc_status.map(grpc::Status::name),
            flag,
            reason: self.failure.map(Failure::cause).or(self.fell.map(|fell| fell.instead_of)),
            stand_in: self.fell.map(|fell| fell.kind),
            attempts: self.attempts,
            request_id: self.ids.request(&self.head.headers).map(Text),
            trace_id: self.ids.trace(&self.head.headers),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration: took,
            generation: self.snapshot.generation,
        }
    }
}
