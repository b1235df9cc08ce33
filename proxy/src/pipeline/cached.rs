//! May the cache answer, and what does it learn? A look before the upstream is asked, a condition under which it is asked,
//! a copy of what it answers.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{AGE, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use outrigger_config::model::Mode;

use super::at_hand::AtHand;
use super::connection::{Stopped, watched};
use super::down::Down;
use super::error::Failure;
use super::exchange::Exchange;
use super::headers::{REASON, is_nominated, nominated};
use crate::cache::flight::Lead;
use crate::cache::{Cache, Found, Key, Look, Recording, Stored};
use crate::clock::now;
use crate::message::{Framing, Known, RequestHead, ResponseHead};
use crate::policy::cacheable::{self, Directives, Usable, condition};
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
    /// The upstream is asked whether that still holds.
    confirms: bool,
}

impl Visit {
    /// The condition that the upstream is asked under (RFC 9111 §4.3.1).
    pub fn condition(&self) -> Option<(HeaderName, &HeaderValue)> {
        condition::of(&self.stale.as_ref().filter(|_| self.confirms)?.headers)
    }

    /// The upstream has failed, or stood aside: who waits for it asks by itself.
    pub fn give_up(&mut self) {
        if let Some(lead) = self.lead.take() {
            lead.give_up();
        }
    }
}

/// What the upstream's cache has for a request; `None`: the upstream is to be asked.
pub async fn look<'s>(
    exchange: &mut Exchange<'s>,
    backend: &'s Backend,
    down: &mut Down<'_>,
) -> Result<Option<AtHand<'s>>, Failure> {
    let Some(cache) = &backend.upstream.cache else { return Ok(None) };
    let head = &exchange.head;
    let count = |result| cache.metrics.looked(exchange.worker.id, result, cache.mode);
    let plain = exchange.tunnel.is_none() && head.framing == Framing::None;
    if !plain || cache.concerns(&head.method, &head.headers).is_err() {
        count("bypass");
        return Ok(None);
    }
    let acts = cache.mode == Mode::Enforce;
    let look = cache.look(key(head), &head.headers, head.method == Method::GET, exchange.started);
    let (lead, stale) = match look {
        Look::Fresh(stored) => {
            count("hit");
            return Ok(acts.then(|| at_hand(exchange, stored)).flatten());
        }
        // RFC 9111 §5.2.1.7. What others ask for it could wait for, but who says so wants no wait.
        _ if acts && Directives::of(&head.headers).only_if_cached => {
            count("miss");
            return Err(Failure::NotCached);
        }
        Look::Lead(lead, stale) => (Some(lead), stale),
        // Behind an open breaker one may be trying; the others have nothing to wait for.
        Look::Wait(mut flight, stale) if acts && !backend.upstream.is_closed_off(exchange.started) => {
            down.alarm().set(exchange.deadline.head.min(exchange.started + PATIENCE));
            let lead = match watched(exchange, down, flight.wait()).await {
                Err(Stopped::Left) => return Err(Failure::Canceled),
                // However else the wait ends: it is there now, or this request asks.
                Err(Stopped::Rung) => None,
                Ok(lead) => lead,
            };
            exchange.attempt_began = now();
            if let Found::Fresh(stored) = cache.find(key(&exchange.head), &exchange.head.headers, now()) {
                count("collapsed");
                return Ok(at_hand(exchange, stored));
            }
            (lead, stale)
        }
        Look::Wait(_, stale) | Look::Alone(stale) => (None, stale),
    };
    count("miss");
    // Who sets a condition of its own has it judged by the upstream.
    let confirms = acts && lead.is_some() && !condition::is_conditional(&exchange.head.headers);
    exchange.visit = Some(Visit { lead, stale: stale.filter(|_| acts), confirms });
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
    let Visit { lead, stale, .. } = visit?;
    let lead = lead?;
    let fits = match answer.framing {
        Framing::None | Framing::Chunked => true,
        Framing::Length(length) => usize::try_from(length).is_ok_and(|length| length <= cache.max_body()),
        // Nobody can tell whether that is whole.
        Framing::UntilClose => false,
    };
    // What stands in for something, here or at a hop below, is not what the upstream has to say.
    let own = exchange.fell.is_none() && !answer.headers.contains_key(REASON);
    if !own {
        lead.give_up();
        return None;
    }
    if !fits {
        lead.unfit(now());
        return None;
    }
    if answer.status == StatusCode::NOT_MODIFIED {
        match stale.filter(|stale| condition::is_about(&answer.headers, &stale.headers)) {
            Some(stale) => drop(refresh(exchange, cache, &stale, answer, lead)),
            None => lead.give_up(),
        }
        return None;
    }
    let now = now();
    let judged = judged(exchange, answer.status, &answer.headers, now);
    cache.record(key(head), judged, || kept(answer), lead, now).ok().map(Box::new)
}

/// Whether this answer says no more than that what the cache has still holds.
pub fn is_confirmed(exchange: &Exchange<'_>, answer: &ResponseHead) -> bool {
    let asked = || exchange.visit.as_ref().is_some_and(|visit| visit.condition().is_some());
    answer.status == StatusCode::NOT_MODIFIED && exchange.fell.is_none() && asked()
}

/// What the request is answered with then: what the cache has, as it is now (RFC 9111 §4.3.3).
pub fn confirmed<'s>(
    exchange: &mut Exchange<'_>,
    backend: &Backend,
    answer: &ResponseHead,
) -> Option<AtHand<'s>> {
    let Visit { lead, stale, .. } = exchange.visit.take()?;
    let cache = backend.upstream.cache.as_ref()?;
    cache.metrics.looked(exchange.worker.id, "confirmed", cache.mode);
    let (stale, lead) = stale.zip(lead)?;
    let stored = refresh(exchange, cache, &stale, answer, lead);
    let age = stored.age(now());
    Some(AtHand::Stored(stored, age))
}

/// RFC 9111 §4.3.4, §3.2: what the upstream says now is in place of what it said then, but for what describes content.
fn refresh(
    exchange: &Exchange<'_>,
    cache: &Cache,
    stale: &Stored,
    answer: &ResponseHead,
    lead: Lead,
) -> Arc<Stored> {
    let mut fields = stale.headers.clone();
    let news = kept(answer);
    for name in news.keys().filter(|name| ![CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE].contains(name)) {
        fields.remove(name);
        for value in news.get_all(name) {
            fields.append(name, value.clone());
        }
    }
    let (mut said, now) = (fields.clone(), now());
    // Its age is that of the confirmation.
    said.extend(answer.headers.get(AGE).map(|age| (AGE, age.clone())));
    cache.refresh(stale, fields, judged(exchange, stale.status, &said, now), lead, now)
}

fn judged<'e>(
    exchange: &'e Exchange<'_>,
    status: StatusCode,
    headers: &'e HeaderMap,
    now: Instant,
) -> cacheable::Exchange<'e> {
    cacheable::Exchange {
        method: &exchange.head.method,
        asked: &exchange.head.headers,
        status,
        headers,
        at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        delay: now.saturating_duration_since(exchange.attempt_began),
    }
}

fn at_hand<'s>(exchange: &Exchange<'_>, stored: Arc<Stored>) -> Option<AtHand<'s>> {
    let asked = &exchange.head.headers;
    match stored.usable(asked, now()) {
        Usable::Fresh(age) | Usable::IfError(age) => {
            let unmodified =
                stored.status == StatusCode::OK && condition::is_unmodified(asked, &stored.headers);
            Some(if unmodified { AtHand::Unmodified(stored, age) } else { AtHand::Stored(stored, age) })
        }
        Usable::IfConfirmed | Usable::No => None,
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
    let mut kept = fields.fold(HeaderMap::new(), |mut kept, (name, value)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            kept.append(name, value);
        }
        kept
    });
    // RFC 9110 §6.6.1: who keeps what has none says when it came.
    if !kept.contains_key(DATE) {
        let date = httpdate::HttpDate::from(SystemTime::now()).to_string();
        kept.extend(HeaderValue::try_from(date).map(|date| (DATE, date)));
    }
    kept
}
