//! May this response be kept, and when may it be used again? The rules of a shared cache, without the cache.
//!
//! **Question.** May the answer to one request be given to another: now, or later when there is no better?
//!
//! **States and transitions.** [`Storable::new`] judges an exchange once, when its head has come; [`Storable::usable`]
//! judges each later request by what is kept: *fresh*; *stale* but good enough while the upstream fails; of use only once
//! the upstream has said that it still holds, which needs a validator; or nothing. [`condition`] asks and answers that.
//!
//! **Invariants.** Never kept: what `no-store` or `private` forbids, `no-cache` without a validator, what was asked for with credentials
//! unless the response says that others may have it, what varies by `*`, a part, an error. Never used: for a request
//! that differs in a field named by `Vary`, or older than lifetime and allowance unless the upstream confirms it. More directives never make a response
//! live longer, but those that say how long.
//!
//! **Time.** `elapsed` since the response came; wall-clock time only where `Date` and `Expires` are compared, as a
//! duration since the epoch.
//!
//! **On reload.** What is kept was judged by the rules of its time and lives by them.
//!
//! **Source.** RFC 9111 (sections on the lines that obey them) and RFC 5861 §4. The rule on `Set-Cookie` is NGINX's.

pub mod condition;
mod directives;
mod vary;

use std::time::Duration;

use http::header::{AGE, AUTHORIZATION, DATE, EXPIRES, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use outrigger_config::model::CacheRules;

pub use directives::Directives;
pub use vary::Vary;

/// A response and the request that it answers, as far as a cache cares.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// Of the request.
    pub method: &'a Method,
    /// Of the request.
    pub asked: &'a HeaderMap,
    /// Of the response.
    pub status: StatusCode,
    /// Of the response.
    pub headers: &'a HeaderMap,
    /// When the response came: since the Unix epoch.
    pub at: Duration,
    /// How long it took to come.
    pub delay: Duration,
}

/// Why a response is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// The policy leaves the method out, or it is neither GET nor HEAD.
    Method,
    /// The request asked for a part, set a condition that the origin must judge, or said `no-store`.
    Request,
    /// Not a final success or redirect, or a part.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// `no-cache`, and nothing by which the upstream could confirm it each time.
    NoCache,
    /// The request had `Authorization` and the response does not say that others may see it.
    Authorization,
    /// It sets a cookie and is not `public`.
    Cookie,
    /// `Vary: *`.
    VaryAny,
    /// It came stale, may not stand in for an error either, and has no validator.
    Stale,
}

/// What is to be remembered of a response that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storable {
    /// Its age when it came.
    pub age: Duration,
    /// Up to which age it is fresh.
    pub lifetime: Duration,
    /// For how long after that it may stand in for an error.
    pub stale_if_error: Duration,
    /// The upstream can be asked whether it still holds.
    pub validates: bool,
    /// Which requests it answers.
    pub vary: Vary,
}

/// Whether what is kept answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usable {
    /// Yes, with this `Age`.
    Fresh(Duration),
    /// If the upstream fails, with this `Age`.
    IfError(Duration),
    /// If the upstream says that it still holds.
    IfConfirmed,
    /// No.
    No,
}

/// Whether a request with such a head is worth a look into the cache.
pub fn concerns(rules: &CacheRules, method: &Method, asked: &HeaderMap) -> Result<(), Unfit> {
    if !rules.methods.contains(method) || !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Unfit::Method);
    }
    if condition::is_for_origin(asked) || Directives::of(asked).no_store {
        return Err(Unfit::Request); // RFC 9111 §3.3, §5.2.1.5
    }
    Ok(())
}

impl Storable {
    /// Judges a response.
    pub fn new(rules: &CacheRules, exchange: Exchange<'_>) -> Result<Self, Unfit> {
        concerns(rules, exchange.method, exchange.asked)?;
        let said = Directives::of(exchange.headers);
        allowed(exchange, &said)?;
        let validates = condition::of(exchange.headers).is_some();
        let lifetime = lifetime(rules, exchange, &said);
        let stale_if_error = match said.stale_if_error {
            // RFC 9111 §4.2.4, §5.2.2.4, §5.2.2.10: `s-maxage` implies `proxy-revalidate`.
            _ if said.no_cache || said.must_revalidate || said.s_maxage.is_some() => Duration::ZERO,
            Some(asked_for) => asked_for,
            None => rules.stale_if_error,
        };
        let (age, vary) = (age(exchange), Vary::new(exchange.asked, exchange.headers).ok_or(Unfit::VaryAny)?);
        if !validates && age >= lifetime.saturating_add(stale_if_error) {
            return Err(Unfit::Stale);
        }
        Ok(Self { age, lifetime, stale_if_error, validates, vary })
    }

    /// Judges a request, `elapsed` after the response came.
    pub fn usable(&self, asked: &HeaderMap, elapsed: Duration) -> Usable {
        let age = self.age.saturating_add(elapsed);
        let wish = Directives::of(asked);
        if !self.vary.matches(asked) {
            return Usable::No;
        }
        // RFC 9111 §5.2.1: a request may prefer it younger, or fresh for a while yet, or from the origin. What stands in
        // for an error is not held to that: the alternative is the error.
        let young = wish.max_age.is_none_or(|most| age <= most);
        let fresh = age.saturating_add(wish.min_fresh.unwrap_or_default()) < self.lifetime;
        if fresh && young && !wish.no_cache {
            return Usable::Fresh(age);
        }
        let allowance = wish.stale_if_error.map_or(self.stale_if_error, |wish| wish.min(self.stale_if_error));
        if age < self.lifetime.saturating_add(allowance) {
            Usable::IfError(age)
        } else if self.validates {
            Usable::IfConfirmed
        } else {
            Usable::No
        }
    }
}

/// RFC 9111 §3, §3.5.
fn allowed(exchange: Exchange<'_>, said: &Directives) -> Result<(), Unfit> {
    let refusals = [
        (!is_understood(exchange.status), Unfit::Status),
        (said.no_store, Unfit::NoStore),
        (said.private, Unfit::Private),
        (said.no_cache && condition::of(exchange.headers).is_none(), Unfit::NoCache),
        (
            exchange.asked.contains_key(AUTHORIZATION)
                && !(said.public || said.must_revalidate || said.s_maxage.is_some()),
            Unfit::Authorization,
        ),
        (exchange.headers.contains_key(SET_COOKIE) && !said.public, Unfit::Cookie),
    ];
    refusals.into_iter().find(|(refused, _)| *refused).map_or(Ok(()), |(_, why)| Err(why))
}

/// Statuses whose meaning does not depend on more than the request (RFC 9110 §15.1), without parts and failures.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414)
}

/// How long a response is fresh (RFC 9111 §4.2.1). In place of a heuristic (§4.2.2) stands the policy's own word, for
/// successes and permanent redirects.
fn lifetime(rules: &CacheRules, exchange: Exchange<'_>, said: &Directives) -> Duration {
    if said.no_cache {
        return Duration::ZERO;
    }
    if let Some(lifetime) = said.s_maxage.or(said.max_age) {
        return lifetime;
    }
    if exchange.headers.contains_key(EXPIRES) {
        // §5.3: what is no date, such as 0, has expired; so have several (§4.2.1).
        let date = date(exchange.headers, DATE).unwrap_or(exchange.at);
        return date_of_all(exchange.headers, EXPIRES)
            .map_or(Duration::ZERO, |expires| expires.saturating_sub(date));
    }
    let own = exchange.status.is_success() || matches!(exchange.status.as_u16(), 301 | 308);
    rules.ttl.filter(|_| own).unwrap_or_default()
}

/// The corrected initial age (RFC 9111 §4.2.3).
fn age(exchange: Exchange<'_>) -> Duration {
    let apparent =
        date(exchange.headers, DATE).map_or(Duration::ZERO, |date| exchange.at.saturating_sub(date));
    // §5.1: of several the first counts, and what is no number is ignored.
    let first = exchange.headers.get(AGE).and_then(|age| age.as_bytes().split(|byte| *byte == b',').next());
    let told = first.and_then(|age| directives::seconds(age.trim_ascii()));
    apparent.max(told.unwrap_or_default().saturating_add(exchange.delay))
}

/// Since the Unix epoch.
fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<Duration> {
    let text = headers.get(name)?.to_str().ok()?;
    httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()
}

/// The same, if there is one only.
fn date_of_all(headers: &HeaderMap, name: http::HeaderName) -> Option<Duration> {
    let several = headers.get_all(&name).iter().nth(1).is_some();
    if several { None } else { date(headers, name) }
}

#[cfg(test)]
mod tests;
