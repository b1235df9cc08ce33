//! May the cache answer, and what does it learn? A look before the upstream is asked, a copy of what it answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outrigger_config::model::Mode;

use super::at_hand::AtHand;
use super::connection::{Stopped, watched};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{REASON, is_nominated, nominated};
use crate::cache::{Found, Key, Lead, Look, Recording, Stored};
use crate::clock::now;
use crate::message::{Framing, Known, RequestHead, ResponseHead};
use crate::policy::cacheable::{self, Usable};
use crate::snapshot::Backend;

/// How long a request waits for what another one brings, before it asks by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the cache has to do with a request that goes on to its upstream.
#[derive(Debug)]
pub struct Visit {
    /// Others wait for what it brings.
    lead: Option<Lead>,
    /// What there is if it brings nothing.
    stale: Option<Arc<Stored>>,
}

/// What the upstream's cache has for a request; `None`: the upstream is to be asked.
pub async fn look<'s>(
    exchange: &mut Exchange<'s>,
    backend: &'s Backend,
    down: &mut Down<'_>,
) -> Result<Option<AtHand<'s>>, Failure> {
    let Some(cache) = &backend.upstream.cache else { return Ok(None) };
    let head = &exchange.head;
    let count = |result| backend.upstream.metrics.cache(exchange.worker.id, result, cache.mode);
    let plain = !head.upgrade && head.framing == Framing::None;
    if !plain || cache.concerns(&head.method, &head.headers).is_err() {
        count("bypass");
        return Ok(None);
    }
    let acts = cache.mode == Mode::Enforce;
    let leads = acts && head.method == Method::GET;
    let look = cache.look(key(head), &head.headers, leads, exchange.started);
    let (lead, stale) = match look {
        Look::Fresh(stored) => {
            count("hit");
            return Ok(acts.then(|| at_hand(exchange, stored)).flatten());
        }
        Look::Lead(lead, stale) => (Some(lead), stale),
        Look::Wait(flight, stale) if acts => {
            down.alarm().set(exchange.deadline.head.min(exchange.started + PATIENCE));
            // However the wait ends: either it is there now, or this request asks by itself.
            if watched(exchange, down, flight.acquire()).await.is_err_and(|why| why == Stopped::Left) {
                return Err(Failure::Canceled);
            }
            exchange.attempt_began = now();
            if let Found::Fresh(stored) = cache.find(key(&exchange.head), &exchange.head.headers, now()) {
                count("collapsed");
                return Ok(at_hand(exchange, stored));
            }
            (None, stale)
        }
        Look::Wait(_, stale) | Look::Alone(stale) => (None, stale),
    };
    count("miss");
    exchange.visit = Some(Visit { lead, stale: stale.filter(|_| acts) });
    Ok(None)
}

/// What the cache has for a request whose upstream has failed.
pub fn stale<'s>(exchange: &Exchange<'_>) -> Option<AtHand<'s>> {
    at_hand(exchange, Arc::clone(exchange.visit.as_ref()?.stale.as_ref()?))
}

/// Begins to keep an answer that is about to be passed on, if it may be kept.
pub fn recording(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    answer: &ResponseHead,
) -> Option<Box<Recording>> {
    let visit = exchange.visit.take();
    let (cache, head) = (backend.upstream.cache.as_ref()?, &exchange.head);
    if !head.method.is_safe() {
        if answer.status.as_u16() < 400 {
            cache.forget(key(head));
        }
        return None;
    }
    let fits = match answer.framing {
        Framing::None | Framing::Chunked => true,
        Framing::Length(length) => usize::try_from(length).is_ok_and(|length| length <= cache.max_body()),
        // Nobody can tell whether that is whole.
        Framing::UntilClose => false,
    };
    // What stands in for something, here or at a hop below, is not what the upstream has to say.
    let own = exchange.fell.is_none() && !answer.headers.contains_key(REASON);
    let Visit { lead, .. } = visit.filter(|_| fits && own && head.method == Method::GET)?;
    let now = now();
    let judged = cacheable::Exchange {
        method: &head.method,
        asked: &head.headers,
        status: answer.status,
        headers: &answer.headers,
        at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        delay: now.saturating_duration_since(exchange.attempt_began),
    };
    cache.record(key(head), judged, || kept(answer), lead, now).ok().map(Box::new)
}

fn at_hand<'s>(exchange: &Exchange<'_>, stored: Arc<Stored>) -> Option<AtHand<'s>> {
    match stored.usable(&exchange.head.headers, now()) {
        Usable::Fresh(age) | Usable::IfError(age) => Some(AtHand::Stored(stored, age)),
        Usable::No => None,
    }
}

fn key(head: &RequestHead) -> Key<'_> {
    let path = head.target.path_and_query().map_or("/", |path| path.as_str());
    Key { authority: head.authority(), path }
}

/// The fields that are of the response itself (RFC 9111 §3.1), in memory of their own: as they are, each would hold on to
/// all that was read with it.
fn kept(answer: &ResponseHead) -> HeaderMap {
    let nominated = nominated(&answer.headers, answer.known);
    let own = |name: &HeaderName| {
        let hop = Known::HOP.has(Known::of(name.as_str()));
        !(hop || *name == AGE || nominated && is_nominated(&answer.headers, name))
    };
    let fields = answer.headers.iter().filter(|(name, _)| own(name));
    fields.fold(HeaderMap::new(), |mut kept, (name, value)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            kept.append(name, value);
        }
        kept
    })
}
