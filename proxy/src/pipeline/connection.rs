//! Over which connection does an attempt go? One that is ready, or a new one; in the version that policy and caller say.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use outrigger_config::model::{Protocol, Upgrade};

use super::attempt::refused;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::limits::{self, Got};
use super::up::Up;
use crate::clock::now;
use crate::http1::ClientConn;
use crate::message::{HeadError, Version};
use crate::policy::outcome::{ConnectFailure, TlsFailure};
use crate::snapshot::Backend;
use crate::tls::Alpn;
use crate::upstream::Upstream;
use crate::upstream::bulkhead::{Entry, Permit};
use crate::upstream::connect::{ConnectError, Stage, connect, timed_out};
use crate::upstream::endpoint::{Endpoint, InFlight};
use crate::upstream::multiplexed::OpenError;
use crate::upstream::pool::Client;

/// Shared connections that one attempt waits for, where others take the room of each as it opens.
const MAX_OPENINGS: u32 = 8;

/// Why a wait was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The alarm rang.
    Rung,
    /// The downstream left.
    Left,
}

/// A connection to the endpoint on which the attempt that began at `began` may be sent. `fresh`: none that was used.
pub async fn ready(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    down: &mut Down<'_>,
    fresh: bool,
    began: Instant,
) -> Result<Up, Failure> {
    let worker = exchange.worker;
    let mut began = began;
    if speaks_http2(exchange, backend, (load, began)) {
        match shared(exchange, backend, load, down, began).await {
            // It has processed nothing, so the same attempt goes on in the version that it does speak.
            Err(
                Failure::Garbage(HeadError::Version)
                | Failure::Connect(ConnectFailure::Tls(TlsFailure::Alpn)),
            ) if backend.upstream.config.protocol == Protocol::Auto => {
                began = now();
                load.on_foreign(began);
                (exchange.attempt_began, exchange.asked.turn) = (began, None);
            }
            ended => return ended,
        }
    }
    // A tunnel is not to be had second-hand.
    let may_be_used = !fresh && exchange.tunnel != Some(&Upgrade::Connect);
    if may_be_used {
        let pooled = poll_fn(|cx| Poll::Ready(worker.pools.take(cx, &worker.scratch, load, began))).await;
        if let Some(conn) = pooled.filter(|conn| conn.is_current() || renews(exchange, backend, load)) {
            return Ok(Up::Http1(conn));
        }
    }
    let class = exchange.class;
    let given_back = |cx: &mut Context<'_>| {
        if may_be_used {
            worker.pools.poll_take(cx, &worker.scratch, load, class, now())
        } else {
            Poll::Pending
        }
    };
    let room = room(exchange, backend, load, down, given_back).await;
    if backend.upstream.connections.is_some() {
        poll_fn(|cx| {
            worker.pools.forget(cx, load);
            Poll::Ready(())
        })
        .await;
    }
    let place = match room? {
        Room::New(place) => place,
        Room::Used(conn) => return Ok(Up::Http1(conn)),
    };
    opened(exchange, backend, load, down, place).await
}

/// Has a connection made that will serve in the place of one whose identity was replaced, so that nobody has to wait for
/// its handshake; whether it is on its way, and the old one may serve until then.
fn renews(exchange: &Exchange<'_>, backend: &Backend, load: &InFlight) -> bool {
    let (worker, upstream) = (exchange.worker, &backend.upstream);
    let Some(renewal) = worker.pools.renew(load) else { return true };
    let Ok(place) = spare(exchange, upstream) else { return false };
    let (upstream, addr, id) = (Arc::clone(upstream), load.addr, worker.id);
    let patience = *backend.policy.timeouts.connect;
    tokio::task::spawn_local(async move {
        let stage = Stage::default();
        let connecting = connect(&upstream, addr, Alpn::Http1, (id, &stage));
        match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(stream)) => renewal.end(Box::new(Client::new(ClientConn::new(stream, now()), place))),
            // The next one who needs one will see for himself.
            Ok(Err(_)) => {}
            Err(_) => timed_out(&upstream, id, stage.timed_out()),
        }
    });
    true
}

/// The same of a shared connection, which may also be about to become too old.
fn renew_shared(exchange: &Exchange<'_>, backend: &Backend, load: &InFlight) {
    let (worker, upstream) = (exchange.worker, &backend.upstream);
    if !worker.multiplexed.is_opening(load)
        && let Ok(place) = spare(exchange, upstream)
    {
        let life = (*backend.policy.timeouts.connect, worker.rng(fastrand::Rng::f64));
        worker.multiplexed.open(upstream, load, life, place);
    }
}

/// A place for a connection beside those that there are, if it takes nobody's.
fn spare(exchange: &Exchange<'_>, upstream: &Upstream) -> Result<Option<Permit>, Full> {
    let Some(limit) = &upstream.connections else { return Ok(None) };
    limit.try_enter(exchange.class).map(Some).ok_or(Full)
}

/// There are as many connections as there may be.
struct Full;

/// A new connection of HTTP/1, which has `place` among all those of the upstream.
async fn opened(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    down: &mut Down<'_>,
    place: Option<Permit>,
) -> Result<Up, Failure> {
    let worker = exchange.worker;
    let began = exchange.attempt_began;
    let _pending = backend.upstream.wait().ok_or(Failure::PendingLimit)?;
    let _waiting = backend.upstream.metrics.pending(worker.id);
    let stage = Stage::default();
    // Nobody who reads HTTP is to take octets for it, whatever else the endpoint speaks.
    let octets = exchange.is_opaque() || backend.upstream.config.protocol == Protocol::Tcp;
    let alpn = if octets { Alpn::Tcp } else { Alpn::Http1 };
    let connecting = connect(&backend.upstream, load.addr, alpn, (worker.id, &stage));
    let connected = within_connect(exchange, backend, down, began, (connecting, &stage)).await;
    if let Err(Failure::Connect(failure)) = connected {
        timed_out(&backend.upstream, worker.id, failure);
    }
    match connected? {
        Ok(stream) => {
            let mut conn = Box::new(Client::new(ClientConn::new(stream, began), place));
            conn.channel.wire.rise(&worker.scratch);
            Ok(Up::Http1(conn))
        }
        Err(error) => Err(failed(error)),
    }
}

/// What the endpoint is spoken to in. A change of protocol is HTTP/1's where nobody says otherwise: every server knows that
/// one.
fn speaks_http2(exchange: &Exchange<'_>, backend: &Backend, (endpoint, now): (&Endpoint, Instant)) -> bool {
    if exchange.tunnel == Some(&Upgrade::Connect) {
        return false;
    }
    match backend.upstream.config.protocol {
        Protocol::Http1 | Protocol::Tcp => false,
        Protocol::Http2 => true,
        Protocol::Auto => {
            let wanted = exchange.head.version == Version::Http2 && exchange.tunnel.is_none();
            wanted && !endpoint.is_http1_only(now)
        }
    }
}

/// A place on a shared connection.
async fn shared(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    down: &mut Down<'_>,
    began: Instant,
) -> Result<Up, Failure> {
    let (worker, upstream) = (exchange.worker, &backend.upstream);
    let trailers = exchange.snapshot.trailer_limits;
    if let Some(place) = worker.multiplexed.take(load, trailers, began) {
        if place.is_outdated(began) {
            renew_shared(exchange, backend, load);
        }
        return Ok(Up::Http2(Box::new(place)));
    }
    let limits = &upstream.config.limits;
    for _ in 0..MAX_OPENINGS {
        let joined = worker.multiplexed.join(load, limits);
        let mut place = None;
        if joined.is_none() {
            let class = exchange.class;
            let free = |cx: &mut Context<'_>| worker.multiplexed.poll_take(cx, load, trailers, class);
            match room(exchange, backend, load, down, free).await? {
                Room::New(new) => place = new,
                Room::Used(stream) => return Ok(Up::Http2(Box::new(stream))),
            }
        }
        let _pending = upstream.wait().ok_or(Failure::PendingLimit)?;
        let _waiting = upstream.metrics.pending(worker.id);
        let opening = joined.unwrap_or_else(|| {
            let life = (*backend.policy.timeouts.connect, worker.rng(fastrand::Rng::f64));
            worker.multiplexed.open(upstream, load, life, place)
        });
        let opened = poll_fn(|cx| opening.poll(cx));
        let began = exchange.attempt_began;
        match within_connect(exchange, backend, down, began, (opened, &opening.stage)).await? {
            Ok(()) => {}
            Err(OpenError::Connect(error)) => return Err(failed(error)),
            Err(OpenError::Protocol) => return Err(Failure::Garbage(HeadError::Version)),
            Err(OpenError::Useless) => return Err(Failure::GoneAway { progressed: false }),
        }
        // Who came first may have taken all of it.
        if let Some(place) = worker.multiplexed.take(load, trailers, now()) {
            return Ok(Up::Http2(Box::new(place)));
        }
    }
    // As many as it opens, it closes: whoever comes back to it comes later.
    Err(Failure::GoneAway { progressed: true })
}

/// What one without a connection gets.
enum Room<T> {
    /// Leave to open one, and its place among all those of the upstream.
    New(Option<Permit>),
    /// One that there was, and that is free now.
    Used(T),
}

/// Room for one more connection to the upstream. Where there is none, whoever has idle ones is told.
async fn room<T>(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    load: &InFlight,
    down: &mut Down<'_>,
    free: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<Room<T>, Failure> {
    let upstream = &backend.upstream;
    let Some(limit) = &upstream.connections else { return Ok(Room::New(None)) };
    let entry = limit.enter(exchange.class, upstream.requests.as_deref());
    if let Entry::Inside(place) = entry {
        return Ok(Room::New(Some(place)));
    }
    // It was picked, but that may be over since. A trial itself keeps all others out.
    if !load.owes.is_trial()
        && let Some(refusal) = upstream.refusal(now())
    {
        return Err(refused(exchange, backend, upstream.refused(refusal)));
    }
    let Entry::Waits(waiting) = entry else { return Err(Failure::PendingLimit) };
    exchange.worker.shared.wanted.send_replace(());
    let why = [Failure::PendingLimit, Failure::ConnectionLimit];
    match limits::wait(waiting, exchange, Some(backend), down, why, free).await? {
        Got::Place(place) => Ok(Room::New(Some(place))),
        Got::Other(used) => Ok(Room::Used(used)),
    }
}

fn failed(error: ConnectError) -> Failure {
    match error {
        ConnectError::Failed(kind) => Failure::Connect(kind),
        ConnectError::Exhausted => Failure::Exhausted,
    }
}

/// Waits for a connection, but no longer than `connect` allows.
async fn within_connect<T>(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
    began: Instant,
    (what, stage): (impl Future<Output = T>, &Stage),
) -> Result<T, Failure> {
    exchange.asked.turn = Some(began);
    let by = began + *backend.policy.timeouts.connect;
    down.alarm().set(by.min(exchange.deadline.head));
    watched(exchange, down, what).await.map_err(|stopped| match stopped {
        Stopped::Left => Failure::Canceled,
        Stopped::Rung if exchange.deadline.head <= by => Failure::Deadline,
        Stopped::Rung => Failure::Connect(stage.timed_out()),
    })
}

/// Waits for `what`, but no longer than the alarm, nor for a downstream that has left.
pub async fn watched<T>(
    exchange: &Exchange<'_>,
    down: &mut Down<'_>,
    what: impl Future<Output = T>,
) -> Result<T, Stopped> {
    let mut what = pin!(what);
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if down.alarm().poll(cx).is_ready() {
            return Poll::Ready(Err(Stopped::Rung));
        }
        poll_left(exchange, down, cx).map(|()| Err(Stopped::Left))
    })
    .await
}

/// Waits until then, unless the downstream leaves.
pub async fn pause(exchange: &Exchange<'_>, down: &mut Down<'_>, at: Instant) -> Result<(), Failure> {
    down.alarm().set(at);
    match watched(exchange, down, std::future::pending::<()>()).await {
        Ok(()) | Err(Stopped::Rung) => Ok(()),
        Err(Stopped::Left) => Err(Failure::Canceled),
    }
}

/// Ready when the downstream has left.
pub fn poll_left(exchange: &Exchange<'_>, down: &mut Down<'_>, cx: &mut Context<'_>) -> Poll<()> {
    down.poll_left(cx, &exchange.worker.scratch, !exchange.head.keep_alive)
}
