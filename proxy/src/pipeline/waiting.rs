//! How long do we wait for an answer? A request under way: its content goes, interim answers pass, every clock runs.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::StatusCode;
use outrigger_config::model::RetryCondition;

use super::attempt::Ended;
use super::connection::poll_left;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::tunnel;
use super::up::Up;
use super::upload::{Upload, UploadError};
use crate::clock::now;
use crate::message::{HeadError, HeadLimits, ReceiveError, ResponseHead, Source};
use crate::policy::grpc;
use crate::policy::outcome::{ConnectFailure, TlsFailure};
use crate::snapshot::Backend;

/// Interim responses that one answer may be preceded by.
const MAX_INTERIM: u32 = 16;
/// How long a request's content waits for the upstream's `100 Continue` (RFC 9110 §10.1.1 forbids to wait for ever).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
/// How long the trailers of a gRPC call may be behind its head: one packet, perhaps two.
const PEEK_PATIENCE: Duration = Duration::from_millis(10);
/// Content that came less than this ago is still flowing: when time is up, nobody has stalled it.
const PAUSE: Duration = Duration::from_millis(100);

/// A request under way.
pub struct Waiting<'w, 's, 'c> {
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
pub type Head = (ResponseHead, Option<Ended>);

/// What ended a wait for a head, and whether nothing at all had come.
pub type Silent = bool;

impl<'w, 's, 'c> Waiting<'w, 's, 'c> {
    /// For the answer to a request whose head was handed over; the attempt began at `began`.
    pub fn new(
        exchange: &'w mut Exchange<'s>,
        backend: &'w Backend,
        upload: &'w mut Upload,
        down: &'w mut Down<'c>,
        up: &'w mut Up,
        began: Instant,
    ) -> Self {
        Self { exchange, backend, upload, down, up, began, flowed: began, interims: 0, peeking: None }
    }

    /// The final head, or why there is none.
    pub async fn for_head(mut self) -> Result<Head, (Failure, Silent)> {
        if self.upload.is_complete() {
            self.exchange.content_is_complete(self.began);
            if self.backend.upstream.times_calls() {
                // It took a connection to get here, and that is not the application's time.
                self.exchange.asked.whole = Some(now());
            }
        }
        self.set_alarm();
        let head = poll_fn(|cx| self.poll(cx)).await;
        self.exchange.asked.turn = self.is_upstreams_turn().then_some(self.flowed);
        head
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
        // HTTP/2 has no 101 (RFC 9113 §8.6).
        let agrees =
            switches && matches!(self.up, Up::Http1(_)) && tunnel::is_asked_for(self.exchange, &head);
        if !head.status.is_informational() || agrees {
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

    /// Of a gRPC call, trailers alone say how it ended; where that may be worth a retry or a fallback, nothing is passed on
    /// before they had their chance (Linkerd's way).
    fn is_worth_a_peek(&self, head: &ResponseHead) -> bool {
        let retry = &self.backend.policy.retry;
        let retries = || {
            let listed = |condition: &RetryCondition| matches!(condition, RetryCondition::Grpc(_));
            *retry.attempts > 0 && retry.on.iter().any(listed)
        };
        let falls_back = || self.exchange.chosen.is_some_and(|(rule, _)| rule.fallback.is_some());
        self.exchange.grpc
            && !self.up.is_done()
            && (retries() || falls_back())
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
        let head = timeouts
            .response_headers
            .filter(|_| self.is_upstreams_turn() && self.peeking.is_none())
            .map(|limit| self.flowed + limit);
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

/// What it means that no head came, and whether nothing at all had come.
pub fn failure_of(error: ReceiveError) -> (Failure, Silent) {
    match error {
        ReceiveError::Closed { silent } => (Failure::Reset, silent),
        ReceiveError::Refused => (Failure::Refused, false),
        ReceiveError::GoneAway { progressed } => (Failure::GoneAway { progressed }, false),
        ReceiveError::Unwelcome => (Failure::Connect(ConnectFailure::Tls(TlsFailure::Refused)), false),
        ReceiveError::Head(error) => (Failure::Garbage(error), false),
    }
}
