//! How does one attempt go? Pick an endpoint, take or open a connection, send, and wait for the head.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use outrigger_config::model::{RetryCondition, Upgrade};

use super::connection::{poll_left, ready};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{http1, http2};
use super::up::Up;
use super::upload::{Upload, UploadError};
use crate::clock::now;
use crate::http2::fields;
use crate::message::{Framing, HeadError, HeadLimits, Known, ReceiveError, ResponseHead, Source, Version};
use crate::policy::grpc;
use crate::policy::outcome::Outcome;
use crate::snapshot::Backend;
use crate::upstream::endpoint::{Endpoint, InFlight};

/// Interim responses that one answer may be preceded by.
const MAX_INTERIM: u32 = 16;
/// How long a request's content waits for the upstream's `100 Continue` (RFC 9110 §10.1.1 forbids to wait for ever).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
/// How long the trailers of a gRPC call may be behind its head: one packet, perhaps two.
const PEEK_PATIENCE: Duration = Duration::from_millis(10);
/// Content that came less than this ago is still flowing: when time is up, nobody has stalled it.
const PAUSE: Duration = Duration::from_millis(100);

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
    pub fn endpoint(&self) -> Option<&Endpoint> {
        let load = self.result.as_ref().map_or(self.load.as_ref(), |answer| Some(&answer.load));
        load.map(|load| &***load)
    }
}

/// One try at one endpoint.
pub async fn attempt(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    upload: &mut Upload,
    down: &mut Down<'_>,
    tried: &[u64],
    fresh: bool,
) -> Attempt {
    let began = if exchange.attempts == 1 { exchange.attempt_began } else { now() };
    exchange.attempt_began = began;
    let mut ended = Attempt { result: Err(Failure::NoEndpoint), load: None, sent: false, stale: false };
    let Some(load) = exchange.worker.rng(|rng| backend.upstream.pick(tried, rng, began)) else {
        return ended;
    };
    exchange.endpoint = Some(load.addr);
    let mut up = match ready(exchange, backend, &load, down, fresh, began).await {
        Ok(up) => up,
        Err(failure) => return Attempt { result: Err(failure), load: Some(load), ..ended },
    };
    // A wait for a place among the connections is no time of the endpoint's.
    let began = exchange.attempt_began;
    if exchange.tunnel == Some(&Upgrade::Connect) {
        ended.result = Ok(Answer { head: connected(), up, ended: None, load });
        return ended;
    }
    upload.rewind(&mut up);
    if let Err(failure) = send(exchange, upload, &mut up, began) {
        return Attempt { result: Err(failure), load: Some(load), ..ended };
    }
    ended.sent = true;
    let waiting = Waiting::new(exchange, backend, upload, down, &mut up, began);
    match waiting.for_head().await {
        Ok((head, status)) => ended.result = Ok(Answer { head, up, ended: status, load }),
        Err((failure, silent)) => {
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
            let request = fields::request(&exchange.head, http2::request(exchange, began), upgrade)
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

fn failure_of(error: ReceiveError) -> (Failure, Silent) {
    match error {
        ReceiveError::Closed { silent } => (Failure::Reset, silent),
        ReceiveError::Refused => (Failure::Refused, false),
        ReceiveError::GoneAway { progressed } => (Failure::GoneAway { progressed }, false),
        ReceiveError::Head(error) => (Failure::Garbage(error), false),
    }
}

/// A request under way.
struct Waiting<'w, 's, 'c> {
    exchange: &'w mut Exchange<'s>,
    backend: &'w Backend,
    upload: &'w mut Upload,
    down: &'w mut Down<'c>,
    up: &'w mut Up,
    began: Instant,
    /// When the last of the request's content went out, so far.
    flowed: Instant,
    interims: u32,
    /// The head is there, but the trailers of a gRPC call may be right behind it: until when to wait for them.
    peeking: Option<(ResponseHead, Instant)>,
}

/// The final head, and what a gRPC call ended in where that came with it.
type Head = (ResponseHead, Option<Ended>);

/// What ended a wait for a head, and whether nothing at all had come.
type Silent = bool;

impl<'w, 's, 'c> Waiting<'w, 's, 'c> {
    fn new(
        exchange: &'w mut Exchange<'s>,
        backend: &'w Backend,
        upload: &'w mut Upload,
        down: &'w mut Down<'c>,
        up: &'w mut Up,
        began: Instant,
    ) -> Self {
        Self { exchange, backend, upload, down, up, began, flowed: began, interims: 0, peeking: None }
    }

    async fn for_head(mut self) -> Result<Head, (Failure, Silent)> {
        if self.upload.is_complete() {
            self.exchange.content_is_complete(self.began);
        }
        self.set_alarm();
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, (Failure, Silent)>> {
        loop {
            self.poll_upload(cx).map_err(|failure| (failure, false))?;
            if self.peeking.is_some() {
                if let Poll::Ready(head) = self.poll_peek(cx) {
                    return Poll::Ready(Ok(head));
                }
            } else {
                match self.poll_answer(cx) {
                    Poll::Ready(Ok(Some(head))) if self.is_worth_a_peek(&head) => {
                        self.peeking = Some((head, now() + PEEK_PATIENCE));
                        self.set_alarm();
                        continue;
                    }
                    Poll::Ready(Ok(Some(head))) => {
                        let status = self.exchange.grpc.then(|| Ended::read(&head.headers)).flatten();
                        return Poll::Ready(Ok((head, status)));
                    }
                    Poll::Ready(Ok(None)) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            if self.down.alarm().poll(cx).is_ready() {
                self.on_alarm(cx).map_err(|failure| (failure, false))?;
                continue;
            }
            return poll_left(self.exchange, self.down, cx).map(|()| Err((Failure::Canceled, false)));
        }
    }

    /// Moves content; that the upstream takes no more is no failure yet, since it may have answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let before = (self.upload.taken, self.is_upstreams_turn());
        let moved = self.upload.poll(cx, &self.exchange.worker.scratch, self.down, self.up);
        if (self.upload.taken, self.is_upstreams_turn()) != before {
            self.flowed = now();
            self.exchange.extend_while_flowing(self.flowed);
            if self.upload.is_complete() {
                self.exchange.content_is_complete(self.flowed);
            }
            // Content that never pauses moves the alarm on each poll, so it would never be heard.
            if self.set_alarm() <= self.flowed {
                self.on_alarm(cx)?;
            }
        }
        match moved {
            Poll::Ready(Err(UploadError::Left)) => Err(Failure::Canceled),
            Poll::Ready(Err(UploadError::Malformed(error))) => Err(Failure::BadBody(error)),
            Poll::Ready(Ok(()) | Err(UploadError::Refused)) | Poll::Pending => Ok(()),
        }
    }

    /// The final head; `None`: an interim one came.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ResponseHead>, (Failure, Silent)>> {
        let limits = &self.backend.upstream.config.limits;
        let limits = HeadLimits { bytes: limits.response_head, fields: limits.response_fields, target: 0 };
        let trailers = self.exchange.snapshot.trailer_limits;
        let method = &self.exchange.head.method;
        let scratch = &self.exchange.worker.scratch;
        let head = match ready!(self.up.poll_head(cx, scratch, (&limits, trailers), method)) {
            Ok(head) => head,
            Err(error) => {
                let (failure, silent) = failure_of(error);
                return Poll::Ready(Err((failure, silent && self.interims == 0)));
            }
        };
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if !head.status.is_informational() || switches && self.exchange.tunnel.is_some() {
            return Poll::Ready(Ok(Some(head)));
        }
        self.interims += 1;
        // Nobody asked to switch protocols, and an endless preface is no answer.
        if switches || self.interims > MAX_INTERIM {
            return Poll::Ready(Err((Failure::Garbage(HeadError::Syntax), false)));
        }
        self.pass_interim(cx, &head);
        Poll::Ready(Ok(None))
    }

    /// RFC 9110 §15.2: interim responses go on, except to who cannot read them, or doesn't take what we have.
    fn pass_interim(&mut self, cx: &mut Context<'_>, head: &ResponseHead) {
        let goes_on = head.status.as_u16() == 100;
        let asked = !goes_on || self.upload.is_gated();
        if goes_on {
            self.upload.open();
            self.set_alarm();
        }
        if asked {
            self.down.inform(cx, head, self.exchange.head.version);
        }
    }

    /// Of a gRPC call, trailers alone say how it ended; where that may be worth a retry, nothing is passed on before
    /// they had their chance (Linkerd's way).
    fn is_worth_a_peek(&self, head: &ResponseHead) -> bool {
        let retry = &self.backend.policy.retry;
        self.exchange.grpc
            && !self.up.is_done()
            && *retry.attempts > 0
            && retry.on.iter().any(|condition| matches!(condition, RetryCondition::Grpc(_)))
            && grpc::Status::read(&head.headers).is_none()
    }

    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Head> {
        let late = self.peeking.as_ref().is_some_and(|(_, until)| now() >= *until);
        let status = match self.up.poll_bare_trailers(cx) {
            Poll::Ready(trailers) => trailers.and_then(Ended::read),
            Poll::Pending if late => None,
            Poll::Pending => return Poll::Pending,
        };
        match self.peeking.take() {
            Some((head, _)) => Poll::Ready((head, status)),
            None => Poll::Pending,
        }
    }

    /// The next moment at which something must be done. The wait for a head begins when the request has gone; a
    /// limit on the whole attempt begins with it.
    fn set_alarm(&self) -> Instant {
        let timeouts = &self.backend.policy.timeouts;
        let head =
            timeouts.response_headers.filter(|_| self.is_upstreams_turn()).map(|limit| self.flowed + limit);
        let whole = timeouts.backend_request.map(|limit| self.began + limit);
        let patience = self.upload.is_gated().then(|| self.began + CONTINUE_PATIENCE);
        let peek = self.peeking.as_ref().map(|(_, until)| *until);
        let clocks = [head, whole, patience, peek, self.stalls()];
        let first = clocks.into_iter().flatten().fold(self.exchange.deadline.head, Instant::min);
        self.down.alarm().set(first);
        first
    }

    /// The downstream has done its part: whoever is waited for now, it is the upstream. A downstream that stalls its own
    /// content must not count against anybody else.
    fn is_upstreams_turn(&self) -> bool {
        self.upload.is_complete() || self.up.is_blocked()
    }

    /// When an upload that has begun has stood still for too long; a wait for `100 Continue` is none of that.
    fn stalls(&self) -> Option<Instant> {
        let idle = *self.backend.policy.timeouts.idle;
        let limit = idle.min(self.exchange.snapshot.limits().body_idle_timeout);
        (!self.is_upstreams_turn() && !self.upload.is_gated()).then(|| self.flowed + limit)
    }

    /// Time is up for the attempt or the exchange, unless it is only our patience for a `100 Continue` that ends.
    fn on_alarm(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let now = now();
        if self.exchange.deadline.whole.is_some_and(|at| now >= at) {
            return Err(Failure::Deadline);
        }
        let late = now >= self.exchange.deadline.head;
        let pauses = now.saturating_duration_since(self.flowed) >= PAUSE;
        if self.stalls().is_some_and(|at| now >= at || late && pauses) {
            return Err(Failure::BodyIdle);
        }
        if late {
            return Err(Failure::Deadline);
        }
        if self.peeking.as_ref().is_some_and(|(_, until)| now >= *until) {
            return Ok(());
        }
        if !self.upload.is_gated() || now < self.began + CONTINUE_PATIENCE {
            return Err(Failure::AttemptTimeout);
        }
        self.upload.open();
        self.down.invite(cx);
        self.set_alarm();
        Ok(())
    }
}
