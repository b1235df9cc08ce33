//! What goes wrong on purpose? Faults where an attempt meets its endpoint, so that retries, breakers and fallbacks above
//! see them as they would see its own (CH-3).

use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::HeaderMap;
use outrigger_config::model::Mode;

use super::connection::pause;
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::up::Up;
use crate::clock::{Alarm, now};
use crate::message::transfer::Passing;
use crate::message::{Piece, Scratch, Sink, Source, TransferError};
use crate::policy::outcome::ConnectFailure;
use crate::snapshot::Backend;
use crate::snapshot::fault::{Body, End, Fault, Met};
use crate::telemetry::Flag;
use crate::upstream::endpoint::InFlight;
use crate::upstream::guard::Refusal;

/// How soon a fault at work notices that its experiment has ended.
const LOOK: Duration = Duration::from_millis(100);
/// The least time between two pieces of content that comes slowly.
const STEP: Duration = Duration::from_millis(20);

/// Chooses an endpoint that is not hidden; `key` is for the upstream's ring, if it has one.
pub fn pick(
    exchange: &Exchange<'_>,
    backend: &Backend,
    tried: &[u64],
    key: Option<u64>,
    now: Instant,
) -> Result<InFlight, Refusal> {
    if let Some(originals) = &backend.upstream.originals {
        return originals.pick(exchange.meant, now);
    }
    let pick = |excluded: &[u64]| exchange.worker.rng(|rng| backend.upstream.pick(excluded, key, rng, now));
    let first = pick(tried);
    let fault = of(exchange).filter(|fault| fault.hides() > 0);
    let (Some(fault), Ok(chosen)) = (fault, &first) else { return first };
    let ids: Vec<_> = backend.upstream.roster().endpoints.iter().map(|endpoint| endpoint.id).collect();
    let hidden = fault.hidden(&ids, now);
    if !hidden.contains(&chosen.id) {
        return first;
    }
    fault.count_hidden(exchange.worker.id);
    if fault.mode() == Mode::DryRun {
        return first;
    }
    drop(first);
    let seen =
        |found: InFlight| if hidden.contains(&found.id) { Err(Refusal::NoEndpoint) } else { Ok(found) };
    // Where all others were tried, one of them is better than none.
    pick(&[tried, &hidden].concat()).and_then(seen).or_else(|_| pick(&hidden).and_then(seen))
}

/// What an attempt meets before its endpoint: held up, ended, or nothing. When it may go on.
pub async fn meet(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
    began: Instant,
) -> Result<Instant, Failure> {
    (exchange.met, exchange.injected) = (None, None);
    let Some(fault) = of(exchange) else { return Ok(began) };
    let (met, capped) = fault.meet(exchange.worker.id, exchange.tunnel.is_some(), began);
    if capped {
        exchange.worker.shared.metrics.limit_exceeded(exchange.worker.id, "faults");
    }
    let Some(met) = met else { return Ok(began) };
    exchange.injected = Some(Flag::DelayInjected);
    if let Some(delay) = met.delay {
        hold_up(exchange, backend, down, &met.fault, (began, delay)).await?;
    }
    if met.end.is_some() || met.body.is_some() {
        exchange.injected = Some(Flag::FaultInjected);
    }
    match met.end {
        Some(End::Abort(status)) => Err(Failure::Injected(status)),
        Some(End::Reset) => Err(Failure::Reset),
        Some(End::Severed) => Err(Failure::Connect(ConnectFailure::Unreachable)),
        None => {
            exchange.met = met.body.is_some().then_some(met);
            Ok(now())
        }
    }
}

/// The experiment of the rule; what stands in for its upstreams is spared.
fn of<'s>(exchange: &Exchange<'s>) -> Option<&'s std::sync::Arc<Fault>> {
    let (rule, _) = exchange.chosen.filter(|_| exchange.fell.is_none())?;
    rule.fault.as_ref()
}

/// Waits as long as the fault says, unless the attempt, the exchange, the experiment or the caller ends before.
async fn hold_up(
    exchange: &Exchange<'_>,
    backend: &Backend,
    down: &mut Down<'_>,
    fault: &Fault,
    (began, delay): (Instant, Duration),
) -> Result<(), Failure> {
    let timeouts = &backend.policy.timeouts;
    let limits = [*timeouts.backend_request, *timeouts.response_headers];
    let attempt = limits.into_iter().flatten().min().map(|limit| began + limit);
    loop {
        let now = now();
        if now >= exchange.deadline.head {
            return Err(Failure::Deadline);
        }
        if attempt.is_some_and(|at| now >= at) {
            return Err(Failure::AttemptTimeout);
        }
        if now >= began + delay || !fault.is_on(now) {
            return Ok(());
        }
        let next =
            attempt.into_iter().chain([exchange.deadline.head, began + delay]).fold(now + LOOK, Instant::min);
        pause(exchange, down, next).await?;
    }
}

/// The content of an answer that a fault is at work on.
#[derive(Debug)]
pub struct Faulty {
    met: Met,
    body: Body,
    alarm: Alarm,
    since: Instant,
    passed: u64,
    /// What has come and not been passed on.
    held: Vec<u8>,
    rest: Rest,
}

/// What comes behind what is held.
#[derive(Debug)]
enum Rest {
    More,
    /// The end, perhaps with trailers.
    End(Option<HeaderMap>),
    /// Nothing: the end has been passed on.
    Nothing,
}

impl Faulty {
    /// What the exchange's attempt has met, if it concerns the content of its answer.
    pub fn of(exchange: &mut Exchange<'_>) -> Option<Box<Self>> {
        let met = exchange.met.take()?;
        let body = met.body?;
        let (alarm, since) = (exchange.worker.timers.alarm(), now());
        Some(Box::new(Self { met, body, alarm, since, passed: 0, held: Vec::new(), rest: Rest::More }))
    }

    /// With the connection that the content comes over.
    pub fn over<'a>(&'a mut self, up: &'a mut Up) -> FaultySource<'a> {
        FaultySource { fault: self, up }
    }

    /// How many of the held octets may pass now; none: later.
    fn allowed(&self, now: Instant) -> usize {
        let held = self.held.len();
        let may = match self.body {
            _ if !self.met.fault.is_on(now) => return held,
            Body::Partial(octets) => octets,
            Body::Slow(rate) => {
                let micros = now.saturating_duration_since(self.since).as_micros();
                u64::try_from(micros * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
            }
        };
        usize::try_from(may.saturating_sub(self.passed)).unwrap_or(held).min(held)
    }
}

/// A source that a fault is at work on.
#[derive(Debug)]
pub struct FaultySource<'a> {
    fault: &'a mut Faulty,
    up: &'a mut Up,
}

impl FaultySource<'_> {
    /// Nothing of what is held may pass now: it comes to an end, or goes on in a moment.
    fn poll_stuck<K: Sink>(&mut self, cx: &mut Context<'_>, to: &mut K) -> Poll<Result<(), TransferError>> {
        if matches!(self.fault.body, Body::Partial(_)) {
            ready!(to.poll_flush(cx)).map_err(TransferError::Sink)?;
            return Poll::Ready(Err(TransferError::Source(io::ErrorKind::ConnectionReset.into())));
        }
        self.fault.alarm.set(now() + STEP);
        self.fault.alarm.poll(cx).map(Ok)
    }
}

impl Source for FaultySource<'_> {
    fn is_done(&self) -> bool {
        match self.fault.rest {
            Rest::More => self.up.is_done() && self.fault.held.is_empty(),
            Rest::End(_) => false,
            Rest::Nothing => true,
        }
    }

    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>> {
        if self.fault.held.is_empty() && matches!(self.fault.rest, Rest::More) {
            let mut hold = Hold { held: &mut self.fault.held, rest: &mut self.fault.rest };
            ready!(self.up.poll_pass(cx, scratch, &mut hold, &mut |_| {}))?;
        }
        let fault = &mut *self.fault;
        if fault.held.is_empty() {
            let Rest::End(trailers) = &mut fault.rest else { return Poll::Ready(Ok(())) };
            let trailers = trailers.take();
            fault.rest = Rest::Nothing;
            if let Some(trailers) = &trailers {
                tap(Passing::Trailers(trailers));
            }
            return Poll::Ready(to.finish(trailers.as_ref()).map_err(TransferError::Sink));
        }
        let count = fault.allowed(now());
        if count == 0 {
            return self.poll_stuck(cx, to);
        }
        let piece = &fault.held[..count];
        tap(Passing::Data(piece));
        to.push(cx, Piece::Lent(piece), false).map_err(TransferError::Sink)?;
        fault.held.drain(..count);
        fault.passed += count as u64;
        Poll::Ready(Ok(()))
    }
}

/// Where content waits until the fault lets it through.
struct Hold<'a> {
    held: &'a mut Vec<u8>,
    rest: &'a mut Rest,
}

impl Sink for Hold<'_> {
    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, _: &mut Context<'_>, piece: Piece<'_>, last: bool) -> io::Result<()> {
        self.held.extend_from_slice(piece.as_slice());
        if last {
            *self.rest = Rest::End(None);
        }
        Ok(())
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        *self.rest = Rest::End(trailers.cloned());
        Ok(())
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
