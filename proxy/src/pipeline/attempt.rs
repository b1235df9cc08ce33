//! How does one attempt go? Pick an endpoint, take or open a connection, send, and wait for the head.

use std::time::Instant;

use http::{HeaderMap, StatusCode};
use outrigger_config::model::Upgrade;

use super::connection::ready;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::fault;
use super::headers::{http1, http2};
use super::up::Up;
use super::upload::Upload;
use super::waiting::{Waiting, failure_of};
use crate::clock::now;
use crate::http2::fields;
use crate::message::{Framing, Known, ResponseHead, Version};
use crate::policy::grpc;
use crate::policy::outcome::Outcome;
use crate::snapshot::Backend;
use crate::upstream::connect::unwelcome;
use crate::upstream::endpoint::InFlight;
use crate::upstream::guard::{Asked, Refusal};

/// An upstream's answer: its head, and the connection that its content comes over.
#[derive(Debug)]
pub struct Answer {
    /// The final response head.
    pub head: ResponseHead,
    /// Where the content comes from.
    pub up: Up,
    /// What a gRPC call ended in, where that is known already.
    pub ended: Option<Ended>,
    /// The load that the endpoint bears for it.
    pub load: InFlight,
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Attempt {
    /// The answer, or what there is instead.
    pub result: Result<Answer, Failure>,
    /// The load that it was where no [`Answer`] bears it on.
    pub load: Option<InFlight>,
    /// Something was sent.
    pub sent: bool,
    /// It met a reused connection that its endpoint was just closing.
    pub stale: bool,
}

impl Attempt {
    /// Whom it met.
    pub fn load(&mut self) -> Option<&mut InFlight> {
        self.result.as_mut().map_or(self.load.as_mut(), |answer| Some(&mut answer.load))
    }
}

/// Whom the next attempt goes to. What stands against it has met nobody, so it is nobody's outcome.
pub fn pick(exchange: &mut Exchange<'_>, backend: &Backend, tried: &[u64]) -> Result<InFlight, Failure> {
    let began = if exchange.attempts == 0 { exchange.attempt_began } else { now() };
    let upstream = &backend.upstream;
    let key = upstream.config.balancing.hash_on.as_ref().and_then(|on| exchange.key(on));
    let load = fault::pick(exchange, backend, tried, key, began)
        .map_err(|refusal| refused(exchange, backend, refusal))?;
    exchange.attempts += 1;
    (exchange.attempt_began, exchange.asked) = (began, Asked::default());
    exchange.endpoint = Some(load.addr);
    Ok(load)
}

/// What it means that an upstream takes nobody.
pub fn refused(exchange: &Exchange<'_>, backend: &Backend, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::NoEndpoint => {
            backend.upstream.metrics.attempt(exchange.worker.id, Outcome::Unresolved.label());
            Failure::NoEndpoint
        }
        Refusal::Unfit => Failure::NoHealthyEndpoint,
        Refusal::Open { retry_after } => {
            let seconds = u32::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            Failure::BreakerOpen { retry_after: seconds.max(1) }
        }
    }
}

/// One try at one endpoint.
pub async fn attempt(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    upload: &mut Upload,
    down: &mut Down<'_>,
    mut load: InFlight,
    fresh: bool,
) -> Attempt {
    let mut ended = Attempt { result: Err(Failure::Canceled), load: None, sent: false, stale: false };
    let began = exchange.attempt_began;
    // What delays it on purpose is to be taken for the endpoint.
    exchange.asked.turn = Some(began);
    let goes_on = match fault::meet(exchange, backend, down, began).await {
        Ok(goes_on) => goes_on,
        Err(failure) => {
            ended.sent = matches!(failure, Failure::Injected(_) | Failure::Reset);
            return Attempt { result: Err(failure), load: Some(load), ..ended };
        }
    };
    exchange.asked.turn = None;
    let ready = ready(exchange, backend, &load, down, fresh, goes_on).await;
    // A wait for a place among the connections is no time of the endpoint's.
    let began = exchange.attempt_began;
    load.owes.begin(began);
    let mut up = match ready {
        Ok(up) => up,
        Err(failure) => return Attempt { result: Err(failure), load: Some(load), ..ended },
    };
    if exchange.tunnel == Some(&Upgrade::Connect) {
        ended.result = Ok(Answer { head: connected(), up, ended: None, load });
        return ended;
    }
    upload.rewind(&mut up);
    if let Err(failure) = send(exchange, upload, &mut up, began.max(goes_on)) {
        return Attempt { result: Err(failure), load: Some(load), ..ended };
    }
    ended.sent = true;
    let waiting = Waiting::new(exchange, backend, upload, down, &mut up, began);
    match waiting.for_head().await {
        Ok((head, status)) => ended.result = Ok(Answer { head, up, ended: status, load }),
        Err((failure, silent)) => {
            // Who doesn't believe us has looked at nothing that we sent.
            ended.sent = !matches!(failure, Failure::Connect(_));
            let failure = if ended.sent { failure } else { Failure::Connect(unwelcome(&backend.upstream)) };
            ended.stale = silent && up.was_closing();
            match &up {
                Up::Http1(conn) if ended.stale => {
                    load.closed_after(began.saturating_duration_since(conn.idle_since), began);
                }
                Up::Http2(stream) if matches!(failure, Failure::AttemptTimeout | Failure::Deadline) => {
                    stream.give_up();
                }
                _ => {}
            }
            (ended.result, ended.load) = (Err(failure), Some(load));
        }
    }
    ended
}

/// Hands the request's head over.
fn send(exchange: &Exchange<'_>, upload: &Upload, up: &mut Up, began: Instant) -> Result<(), Failure> {
    match up {
        Up::Http1(conn) => {
            http1::write_request(conn.channel.wire.out(), exchange, began);
            Ok(())
        }
        Up::Http2(stream) => {
            let upgrade = match exchange.tunnel {
                Some(Upgrade::Protocol(_)) if !stream.takes_upgrades() => {
                    return Err(Failure::UpgradeRefused);
                }
                Some(Upgrade::Protocol(protocol)) => Some(&**protocol),
                Some(Upgrade::Connect) | None => None,
            };
            let headers = http2::request(exchange, began);
            let request = fields::request(&exchange.head, headers, upgrade, stream.proof().is_some())
                .map_err(Failure::BadRequest)?;
            let ended = upload.is_complete() && upgrade.is_none();
            stream.send(request, ended).map_err(|error| failure_of(error).0)
        }
    }
}

/// CONNECT has no answer but that the connection is there (RFC 9110 §9.3.6).
fn connected() -> ResponseHead {
    ResponseHead {
        status: StatusCode::OK,
        version: Version::Http11,
        headers: HeaderMap::new(),
        known: Known::NONE,
        framing: Framing::UntilClose,
        keep_alive: false,
    }
}

/// What a gRPC call ended in, as its head or trailers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: grpc::Status,
    /// Whether, and when, the endpoint wants to be asked again.
    pub pushback: Option<grpc::Pushback>,
}

impl Ended {
    /// What fields say, if anything.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        Some(Self { status: grpc::Status::read(fields)?, pushback: grpc::Pushback::read(fields) })
    }

    /// The outcome, unless all went well.
    pub fn failure(self, settled_below: bool) -> Option<Outcome> {
        let Self { status, pushback } = self;
        (status != grpc::Status::Ok).then_some(Outcome::Grpc { status, pushback, settled_below })
    }
}
