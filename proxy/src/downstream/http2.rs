//! How does an HTTP/2 connection live? Many requests at a time, each a task of its own, until either side has had enough.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use outrigger_config::model::SidecarLimits;

use super::http1::count_refused;
use super::listener::contained;
use super::tls;
use crate::clock::{Alarm, now};
use crate::http1::ServerConn;
use crate::http2::guard::{Guarded, Watch};
use crate::http2::server::{ServerStream, builder};
use crate::http2::{fields, life};
use crate::message::Ends;
use crate::pipeline::{self, After, Down, Failure};
use crate::snapshot::ListenerId;
use crate::telemetry::Protocol;
use crate::tls::{Proof, Stream};
use crate::worker::Worker;

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, listener: ListenerId, down: ServerConn) {
    let _active = worker.shared.metrics.downstream(listener.direction).active(worker.id, Protocol::Http2);
    let limits = *worker.snapshot_for(listener).limits();
    let watch = Watch::new(limits.http2);
    let ends = down.ends;
    let (mut stream, ahead, alarm) = down.into_parts();
    // Its frames say where everything ends, so it may say of itself at any time that it does.
    stream.rest();
    let proof = stream.proof().cloned();
    let io = Guarded::server(stream, ahead, Rc::clone(&watch));
    alarm.set(now() + limits.head_timeout);
    let mut handshake = Box::pin(builder(&limits.http2, limits.header_list).handshake(io));
    let shaken = poll_fn(|cx| match handshake.as_mut().poll(cx) {
        Poll::Ready(shaken) => Poll::Ready(shaken.map_err(|_| "http2")),
        Poll::Pending if watch.poll_cut(cx).is_ready() => Poll::Ready(Err("http2")),
        Poll::Pending => alarm.poll(cx).map(|()| Err("request-head-timeout")),
    })
    .await;
    let codec = match shaken {
        Ok(codec) => codec,
        Err(reason) => {
            return worker.shared.metrics.downstream(listener.direction).protocol_error(worker.id, reason);
        }
    };
    let age = life(limits.max_connection_age, worker.rng(fastrand::Rng::f64));
    let now = now();
    let life = Life {
        until: now + age,
        idle_since: now,
        moved: [0; 2],
        streams: Rc::default(),
        stage: Stage::Open,
        distrusted: false,
    };
    let mut session = Session { worker, listener, ends, proof, limits, codec, watch, alarm, life };
    // A drain may have begun meanwhile.
    session.look(now);
    poll_fn(|cx| session.poll(cx)).await;
}

/// A connection and what it carries.
struct Session {
    worker: Rc<Worker>,
    listener: ListenerId,
    ends: Ends,
    proof: Option<Arc<Proof>>,
    limits: SidecarLimits,
    codec: Connection<Guarded<Stream>, Bytes>,
    watch: Rc<Watch>,
    alarm: Alarm,
    life: Life,
}

/// How far a connection has come.
struct Life {
    /// From then on it takes no more requests.
    until: Instant,
    /// Nothing was under way, and nothing moved, since.
    idle_since: Instant,
    /// Octets read and written when it was last looked at.
    moved: [u64; 2],
    /// Requests under way.
    streams: Rc<Cell<usize>>,
    stage: Stage,
    /// Its peer was let in by roots, or before lists, that are no longer those of now.
    distrusted: bool,
}

/// What the peer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing: it may go on.
    Open,
    /// To go elsewhere with further requests.
    Leaving,
    /// That this is the end.
    Cut,
}

impl Session {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.codec.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.begin(cx, request, respond);
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.count_end(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            for _ in 0..self.watch.take_refused() {
                self.worker.shared.metrics.limit_exceeded(self.worker.id, "http2-streams");
            }
            if let Poll::Ready(limit) = self.watch.poll_cut(cx)
                && self.life.stage != Stage::Cut
            {
                self.worker.shared.metrics.limit_exceeded(self.worker.id, limit);
                self.cut(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if self.alarm.poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Who reads nothing doesn't take its dismissal either.
            if self.life.stage == Stage::Cut {
                return Poll::Ready(());
            }
            self.look(now());
        }
    }

    /// One request: a task of its own, so that it waits for nobody else's.
    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        // Reset before it was seen: not worth a task, let alone a call.
        if respond.poll_reset(cx).is_ready() {
            return self.watch.on_reset();
        }
        let snapshot = self.worker.snapshot_for(self.listener);
        // It would not get in any more: what it asks for is not begun (RFC 9113 §8.7).
        if self.is_distrusted() {
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.cut(Reason::NO_ERROR);
        }
        if self.proof.is_none() && tls::is_strict(&snapshot, self.listener) {
            respond.send_reset(Reason::REFUSED_STREAM);
            return self.leave();
        }
        let (parts, content) = request.into_parts();
        let head = fields::request_head(parts, &snapshot.head_limits, content.is_end_stream());
        let alarm = self.worker.timers.alarm();
        let trailers = snapshot.trailer_limits;
        let caller = (alarm, self.ends, self.proof.clone());
        let mut stream = ServerStream::new(content, respond, trailers, caller, Rc::clone(&self.watch));
        let (worker, listener) = (Rc::clone(&self.worker), self.listener);
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                let failure = Failure::BadRequest(error);
                pipeline::refuse(&mut Down::Http2(&mut stream), failure);
                return count_refused(&worker, listener, failure);
            }
        };
        let under_way = UnderWay::new(&self.life.streams);
        tokio::task::spawn_local(contained(Rc::clone(&worker), async move {
            let after =
                pipeline::handle(&worker, &snapshot, listener, &mut Down::Http2(&mut stream), head).await;
            if after == After::Abort {
                stream.abort();
            }
            drop(under_way);
        }));
        if self.worker.leaves(self.listener) {
            self.leave();
        }
    }

    /// Looks at the connection now and then, and more often while there is something to wait for.
    fn look(&mut self, now: Instant) {
        let moved = self.watch.moved();
        let stood_still = moved == self.life.moved;
        // Who was told to leave may say what it likes: only requests under way keep the connection.
        if self.life.streams.get() > 0 || !stood_still && self.life.stage == Stage::Open {
            self.life.idle_since = now;
        }
        self.life.moved = moved;
        let heads = self.watch.head_since().map(|since| now.saturating_duration_since(since));
        if heads.is_some_and(|age| age >= self.limits.head_timeout) {
            self.worker.shared.metrics.limit_exceeded(self.worker.id, "head-timeout");
            self.cut(Reason::ENHANCE_YOUR_CALM);
        } else if now.saturating_duration_since(self.life.idle_since) >= self.limits.idle_timeout {
            if self.codec.has_streams() {
                // Answers that nobody takes: the peer opens no window for them.
                self.worker.shared.metrics.limit_exceeded(self.worker.id, "body-idle");
                self.cut(Reason::ENHANCE_YOUR_CALM);
            } else if self.life.stage == Stage::Open {
                self.leave();
            } else {
                self.cut(Reason::ENHANCE_YOUR_CALM);
            }
        } else if self.is_distrusted() && self.life.stage != Stage::Cut {
            // What it asked for may go on for days.
            self.cut(Reason::NO_ERROR);
        } else if now >= self.life.until || self.worker.leaves(self.listener) {
            self.leave();
        }
        self.look_again(now);
    }

    /// Its peer would not be let in any more.
    fn is_distrusted(&mut self) -> bool {
        let (worker, direction) = (&self.worker, self.listener.direction);
        self.life.distrusted = self.life.distrusted
            || self.proof.as_ref().is_some_and(|proof| worker.distrusts(direction, proof));
        self.life.distrusted
    }

    fn look_again(&self, now: Instant) {
        let next = now + self.limits.head_timeout.min(self.limits.idle_timeout);
        let open = self.life.stage == Stage::Open;
        let next = if open { next.min(self.life.until.max(now)) } else { next };
        if self.listener.drains() && open {
            self.alarm.set_idle(next);
        } else {
            self.alarm.set(next);
        }
    }

    /// Takes no more requests, and ends when those under way have (RFC 9113 §6.8).
    fn leave(&mut self) {
        if self.life.stage == Stage::Open {
            self.life.stage = Stage::Leaving;
            self.codec.graceful_shutdown();
        }
    }

    fn cut(&mut self, reason: Reason) {
        self.life.stage = Stage::Cut;
        self.codec.abrupt_shutdown(reason);
        self.look_again(now());
    }

    /// The codec sees some floods before we do: they come in one piece.
    fn count_end(&self, error: &h2::Error) {
        let (metrics, id) = (&self.worker.shared.metrics, self.worker.id);
        match self.watch.cut() {
            Some(_) if self.life.stage == Stage::Cut => {}
            Some(limit) => metrics.limit_exceeded(id, limit),
            None if error.is_library() || error.is_go_away() => {
                metrics.downstream(self.listener.direction).protocol_error(id, "http2");
            }
            None => {}
        }
    }
}

/// A request that has begun and not ended.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn new(streams: &Rc<Cell<usize>>) -> Self {
        streams.set(streams.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
