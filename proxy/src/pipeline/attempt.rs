//! How does one attempt go? Pick an endpoint, take or open a connection, send, and wait for the head.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{write_interim, write_request};
use super::upload::{Upload, UploadError};
use crate::clock::now;
use crate::http1::{ClientConn, HeadLimits, ReceiveError, ResponseHead, ServerConn, Version};
use crate::policy::outcome::ConnectFailure;
use crate::snapshot::Backend;
use crate::upstream::connect::{ConnectError, connect};
use crate::upstream::endpoint::{Endpoint, InFlight};

/// Interim responses that one answer may be preceded by.
const MAX_INTERIM: u32 = 16;
/// How long a request's content waits for the upstream's `100 Continue` (RFC 9110 §10.1.1 forbids to wait for ever).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// Content that came less than this ago is still flowing: when time is up, nobody has stalled it.
const PAUSE: Duration = Duration::from_millis(100);

/// An upstream's answer: its head, and the connection that its content comes over.
#[derive(Debug)]
pub struct Answer {
    /// The final response head.
    pub head: ResponseHead,
    /// Where the content comes from.
    pub conn: Box<ClientConn>,
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

/// Why a wait was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The alarm rang.
    Rung,
    /// The downstream left.
    Left,
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
    down: &mut ServerConn,
    tried: &[u64],
    fresh: bool,
) -> Attempt {
    let began = if exchange.attempts == 1 { exchange.started } else { now() };
    exchange.attempt_began = began;
    let mut ended = Attempt { result: Err(Failure::NoEndpoint), load: None, sent: false, stale: false };
    let Some(load) = exchange.worker.rng(|rng| backend.upstream.pick(tried, rng, began)) else {
        return ended;
    };
    exchange.endpoint = Some(load.addr);
    let mut conn = match ready_connection(exchange, backend, &load, down, fresh, began).await {
        Ok(conn) => conn,
        Err(failure) => return Attempt { result: Err(failure), load: Some(load), ..ended },
    };
    ended.sent = true;
    upload.rewind(&mut conn);
    write_request(conn.wire.out(), exchange, began);
    let result =
        Waiting { exchange, backend, upload, down, conn: &mut conn, began, flowed: began, interims: 0 }
            .for_head()
            .await;
    match result {
        Ok(head) => ended.result = Ok(Answer { head, conn, load }),
        Err((failure, silent)) => {
            ended.stale = silent && conn.exchanges > 0;
            if ended.stale {
                load.closed_after(began.saturating_duration_since(conn.idle_since), began);
            }
            (ended.result, ended.load) = (Err(failure), Some(load));
        }
    }
    ended
}

/// A connection from the pool, or a new one.
async fn ready_connection(
    exchange: &Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    down: &mut ServerConn,
    fresh: bool,
    began: Instant,
) -> Result<Box<ClientConn>, Failure> {
    let worker = exchange.worker;
    if !fresh {
        let pooled = poll_fn(|cx| Poll::Ready(worker.pools.take(cx, &worker.scratch, load, began))).await;
        if let Some(conn) = pooled {
            return Ok(conn);
        }
    }
    let _pending = backend.upstream.wait().ok_or(Failure::PendingLimit)?;
    let _waiting = backend.upstream.metrics.pending(worker.id);
    let by = began + *backend.policy.timeouts.connect;
    down.alarm.set(by.min(exchange.deadline.head));
    match watched(exchange, down, connect(load.addr)).await {
        Ok(Ok(stream)) => {
            let mut conn = Box::new(ClientConn::new(stream, began));
            conn.wire.rise(&worker.scratch);
            Ok(conn)
        }
        Ok(Err(ConnectError::Failed(kind))) => Err(Failure::Connect(kind)),
        Ok(Err(ConnectError::Exhausted)) => Err(Failure::Exhausted),
        Err(Stopped::Left) => Err(Failure::Canceled),
        Err(Stopped::Rung) if exchange.deadline.head <= by => Err(Failure::Deadline),
        Err(Stopped::Rung) => Err(Failure::Connect(ConnectFailure::TimedOut)),
    }
}

/// Waits for `what`, but no longer than the alarm, nor for a downstream that has left.
pub async fn watched<T>(
    exchange: &Exchange<'_>,
    down: &mut ServerConn,
    what: impl Future<Output = T>,
) -> Result<T, Stopped> {
    let mut what = pin!(what);
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if down.alarm.poll(cx).is_ready() {
            return Poll::Ready(Err(Stopped::Rung));
        }
        poll_left(exchange, down, cx).map(|()| Err(Stopped::Left))
    })
    .await
}

/// Ready when the downstream has left. While its content is still to come, reading that will tell.
fn poll_left(exchange: &Exchange<'_>, down: &mut ServerConn, cx: &mut Context<'_>) -> Poll<()> {
    if !down.decoder.is_done() {
        return Poll::Pending;
    }
    down.poll_gone(cx, &exchange.worker.scratch, !exchange.head.keep_alive)
}

/// A request under way.
struct Waiting<'w, 's> {
    exchange: &'w mut Exchange<'s>,
    backend: &'w Backend,
    upload: &'w mut Upload,
    down: &'w mut ServerConn,
    conn: &'w mut ClientConn,
    began: Instant,
    /// When the last of the request's content went out, so far.
    flowed: Instant,
    interims: u32,
}

/// What ended a wait for a head, and whether nothing at all had come.
type Silent = bool;

impl Waiting<'_, '_> {
    async fn for_head(mut self) -> Result<ResponseHead, (Failure, Silent)> {
        self.set_alarm();
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, (Failure, Silent)>> {
        loop {
            self.poll_upload(cx).map_err(|failure| (failure, false))?;
            match self.poll_answer(cx) {
                Poll::Ready(Ok(Some(head))) => return Poll::Ready(Ok(head)),
                Poll::Ready(Ok(None)) => continue,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if self.down.alarm.poll(cx).is_ready() {
                self.on_alarm(cx).map_err(|failure| (failure, false))?;
                continue;
            }
            return poll_left(self.exchange, self.down, cx).map(|()| Err((Failure::Canceled, false)));
        }
    }

    /// Moves content; that the upstream takes no more is no failure yet, since it may have answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let before = (self.upload.taken, self.is_upstreams_turn());
        let moved = self.upload.poll(cx, &self.exchange.worker.scratch, self.down, self.conn);
        if (self.upload.taken, self.is_upstreams_turn()) != before {
            self.flowed = now();
            self.exchange.extend_while_flowing(self.flowed);
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
        let head =
            match ready!(self.conn.poll_head(cx, &self.exchange.worker.scratch, (&limits, trailers), method))
            {
                Ok(head) => head,
                Err(ReceiveError::Closed { silent }) => {
                    return Poll::Ready(Err((Failure::Reset, silent && self.interims == 0)));
                }
                Err(ReceiveError::Head(error)) => return Poll::Ready(Err((Failure::Garbage(error), false))),
            };
        if !head.status.is_informational() {
            return Poll::Ready(Ok(Some(head)));
        }
        self.interims += 1;
        // Nobody asked to switch protocols, and an endless preface is no answer.
        if head.status.as_u16() == 101 || self.interims > MAX_INTERIM {
            return Poll::Ready(Err((Failure::Garbage(crate::http1::HeadError::Syntax), false)));
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
        if asked && self.exchange.head.version == Version::Http11 && self.down.wire.is_flushed() {
            write_interim(self.down.wire.out(), head);
            let _ = self.down.wire.poll_flush(cx);
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
        let clocks = [head, whole, patience, self.stalls()];
        let first = clocks.into_iter().flatten().fold(self.exchange.deadline.head, Instant::min);
        self.down.alarm.set(first);
        first
    }

    /// The downstream has done its part: whoever is waited for now, it is the upstream. A downstream that stalls its own
    /// content must not count against anybody else.
    fn is_upstreams_turn(&self) -> bool {
        self.upload.is_complete() || self.conn.wire.is_blocked()
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
        if !self.upload.is_gated() || now < self.began + CONTINUE_PATIENCE {
            return Err(Failure::AttemptTimeout);
        }
        self.upload.open();
        self.down.wire.out().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        let _ = self.down.wire.poll_flush(cx);
        self.set_alarm();
        Ok(())
    }
}
