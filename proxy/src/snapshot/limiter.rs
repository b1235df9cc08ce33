//! May this request pass? A `RateLimitPolicy` as it runs, shared by all workers and kept over reloads.

mod meter;
mod shared;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::priority::Class;
use outrigger_config::model::{Concurrency, Direction, HostPattern, Mode, Name, RateLimitPolicy, Share};
use smallvec::SmallVec;

use self::meter::{Denied, Meter, Token};
use crate::policy::concurrency::Ended;
use crate::policy::fair_share::FairShare;
use crate::policy::router::{Request, Router};
use crate::store;
use crate::telemetry::{Metrics, RateLimitMetrics};
use crate::upstream::bulkhead::{self, Bulkhead, Permit, Rules};
use crate::upstream::crowd::{Crowd, Crowds, Of, On};

pub use self::meter::{Caller, Quota};
pub use self::shared::Shared;

/// A policy with what it has counted.
#[derive(Debug)]
pub struct RateLimiter {
    /// What it says.
    pub config: RateLimitPolicy,
    /// What it decided.
    pub metrics: Arc<RateLimitMetrics>,
    /// The total, where all replicas have it together: asked for apart, since the store may have to be waited for.
    pub shared: Option<Shared>,
    /// How many may be in flight.
    pub places: Option<Arc<Bulkhead>>,
    concerned: Router,
    classes: Vec<(Router, Class)>,
    each: Vec<Meter>,
    /// The total, where this replica has it alone.
    total: Option<Meter>,
    fair_share: Option<Arc<Mutex<FairShare>>>,
    epoch: Instant,
}

/// Which of its limits turned a request away.
#[derive(Debug, Clone, Copy)]
pub enum Denial<'s> {
    /// A rate.
    Rate(Quota<'s>),
    /// As many of this caller's are in flight as may be.
    Caller,
    /// Others have asked for less than this caller.
    Share,
}

/// What a request was given, until it is dropped with the last octet of the answer.
#[derive(Debug, Default)]
pub struct Admission<'s> {
    tokens: SmallVec<[Token<'s>; 2]>,
    leased: SmallVec<[(store::Token<'s>, Option<Quota<'s>>); 1]>,
    /// Among the requests in flight under policies.
    places: SmallVec<[Permit; 1]>,
    /// Among those of the upstream that it asks.
    asked: Option<Permit>,
    /// The limits of policies know how it went.
    told: bool,
}

/// The limiters of a generation; those that `previous` has unchanged are the same, changed ones go on counting.
pub(super) fn build(
    policies: &[RateLimitPolicy],
    service: &Name,
    previous: &[Arc<RateLimiter>],
    (metrics, crowds): (&Metrics, &mut Crowds),
    now: Instant,
) -> Vec<Arc<RateLimiter>> {
    let one = |wanted: &RateLimitPolicy| {
        let old = previous.iter().find(|old| old.config.name == wanted.name);
        if let Some(same) = old.filter(|old| old.config == *wanted) {
            return Arc::clone(same);
        }
        let crowd = crowds.of(Of::Policy, wanted.name.as_str());
        Arc::new(RateLimiter::new(wanted, service, old.map(|old| &**old), (metrics, &crowd), now))
    };
    policies.iter().map(one).collect()
}

impl RateLimiter {
    fn new(
        config: &RateLimitPolicy,
        service: &Name,
        old: Option<&Self>,
        (metrics, crowd): (&Metrics, &Arc<Crowd>),
        now: Instant,
    ) -> Self {
        let metrics = metrics.rate_limit(config.name.as_str(), config.mode);
        // Cells count from it, and outlive their policy.
        let epoch = old.map_or(now, |old| old.epoch);
        let known = |each| old.and_then(|old| old.each.iter().find(|known| known.is_of(each)));
        let each = config.per_key.iter().map(|each| Meter::of_each(each, known(each), epoch, now)).collect();
        let alone = config.total.as_ref().filter(|total| total.share == Share::Replica);
        let total = alone.map(|total| {
            let old = old.and_then(|old| old.total.as_ref());
            Meter::of_all(total, !config.priorities.is_empty(), old, epoch, now)
        });
        let places = {
            // Its row is that of another mode no more.
            if let Some(old) = old.filter(|old| !Arc::ptr_eq(&old.metrics, &metrics))
                && let Some(places) = &old.places
            {
                places.hide_from(&old.metrics.places);
            }
            let rules = config.concurrency.as_ref().map_or(Rules::NONE, rules);
            bulkhead::next(crowd, On::Requests, rules, &metrics.places, now)
        };
        let shared = Shared::of(config, service, old.and_then(|old| old.shared.as_ref()), &metrics, epoch);
        let sharing = config.concurrency.as_ref().and_then(|concurrency| concurrency.fair_share.as_ref());
        let fair_share = sharing.map(|sharing| {
            let new = || Arc::new(Mutex::new(FairShare::new(sharing.order, sharing.max_keys as usize, now)));
            let kept = old.and_then(|old| old.fair_share.clone()).unwrap_or_else(new);
            kept.lock().unwrap_or_else(PoisonError::into_inner).reload(sharing.order);
            kept
        });
        let class = |(wanted, class): &(_, Class)| {
            (Router::matching(&[HostPattern::Any], std::slice::from_ref(wanted)), *class)
        };
        Self {
            concerned: Router::matching(&config.hosts, &config.matches),
            classes: config.priorities.iter().map(class).collect(),
            config: config.clone(),
            metrics,
            shared,
            places,
            each,
            total,
            fair_share,
            epoch,
        }
    }

    /// Whether it has a say in a request that came this way.
    pub fn concerns(&self, direction: Direction, request: &Request<'_>) -> bool {
        self.config.direction == direction && self.concerned.route(request).is_some()
    }

    /// Whether it acts this way, and any of its routers does so.
    pub fn any_router(&self, direction: Direction, does: impl Fn(&Router) -> bool) -> bool {
        let acts = self.config.direction == direction && self.acts();
        acts && (does(&self.concerned) || self.classes.iter().any(|(router, _)| does(router)))
    }

    /// What a request is worth, by the first match.
    pub fn class(&self, request: &Request<'_>) -> Option<Class> {
        let fits = |(wanted, _): &&(Router, Class)| wanted.route(request).is_some();
        self.classes.iter().find(fits).map(|(_, class)| *class)
    }

    /// It acts, and does not only report.
    pub fn acts(&self) -> bool {
        self.config.mode == Mode::Enforce
    }

    /// Takes what a request needs, those limits first that are its caller's own; says how long it must wait for it, never
    /// beyond its `deadline`. The places in flight are another matter, since they may be waited for: see [`Self::places`].
    pub fn take<'s>(
        &'s self,
        caller: &Caller<'_>,
        class: Class,
        (now, deadline): (Instant, Instant),
        draw: f64,
        into: &mut Admission<'s>,
    ) -> Result<Duration, Denial<'s>> {
        let patience = deadline.saturating_duration_since(now);
        if !self.is_fair(caller, now, draw) {
            return Err(Denial::Share);
        }
        let (before, mut wait) = (into.tokens.len(), Duration::ZERO);
        for meter in self.each.iter().chain(&self.total) {
            match meter.take(caller, class, now, patience) {
                Ok(mut token) => {
                    token.quota = token.quota.filter(|_| self.acts());
                    wait = wait.max(token.wait);
                    into.tokens.push(token);
                }
                Err(denied) => {
                    self.turned_away();
                    into.tokens[before..].iter().for_each(Token::refund);
                    into.tokens.truncate(before);
                    return Err(match denied {
                        Denied::Rate(quota) => Denial::Rate(quota),
                        Denied::Concurrent => Denial::Caller,
                    });
                }
            }
        }
        Ok(wait)
    }

    /// One that seemed fair found no place after all.
    pub fn turned_away(&self) {
        if let Some(fair_share) = &self.fair_share {
            fair_share.lock().unwrap_or_else(PoisonError::into_inner).turned_away();
        }
    }

    fn is_fair(&self, caller: &Caller<'_>, now: Instant, draw: f64) -> bool {
        let (Some(fair_share), Some(places)) = (&self.fair_share, &self.places) else { return true };
        let Some(sharing) = self.config.concurrency.as_ref().and_then(|of| of.fair_share.as_ref()) else {
            return true;
        };
        let mut fair_share = fair_share.lock().unwrap_or_else(PoisonError::into_inner);
        fair_share.admit(&caller.key(&sharing.by), places.pressure(), now, draw)
    }
}

impl<'s> Admission<'s> {
    /// Takes charge of a place.
    pub fn hold(&mut self, place: Permit) {
        self.places.push(place);
    }

    /// It has a place among the requests of the upstream that it asks now.
    pub fn ask(&mut self, place: Permit) {
        self.asked = Some(place);
    }

    /// It asks that upstream no more.
    pub fn vacate(&mut self) {
        self.asked = None;
    }

    /// Takes charge of a token of a limit that all replicas share, and of what the caller is told of it.
    pub fn lease(&mut self, token: store::Token<'s>, quota: Option<Quota<'s>>) {
        self.leased.push((token, quota));
    }

    /// Another limit turned the request away: no token was used.
    pub fn refund(&self) {
        self.tokens.iter().for_each(Token::refund);
        self.leased.iter().for_each(|(token, _)| token.refund());
    }

    /// The tightest of the limits that it passed.
    pub fn quota(&self) -> Option<Quota<'s>> {
        let leased = self.leased.iter().filter_map(|(_, quota)| *quota);
        let alone = self.tokens.iter().filter_map(|token| token.quota);
        alone
            .chain(leased)
            .reduce(|one, other| if one.fields.tighter(other.fields) == one.fields { one } else { other })
    }

    /// A table of keys had no cell of its own for it.
    pub fn overflowed(&self) -> bool {
        self.tokens.iter().any(|token| token.overflowed)
    }

    /// Some limit wants to know how it went.
    pub fn adapts(&self) -> bool {
        self.to_tell().any(Permit::adapts)
    }

    /// How it went with the upstream that it asks. The limits of policies hear it of the first one alone: what stands in
    /// for that says nothing about what they protect.
    pub fn ended(&mut self, ended: Ended, now: Instant) {
        self.to_tell().filter(|place| place.adapts()).for_each(|place| place.ended(ended, now));
        self.told = true;
    }

    fn to_tell(&self) -> impl Iterator<Item = &Permit> {
        self.places.iter().filter(|_| !self.told).chain(&self.asked)
    }
}

fn rules(concurrency: &Concurrency) -> Rules {
    Rules {
        max: Some(concurrency.max.get()),
        adaptive: concurrency.adaptive,
        shares: concurrency.shares,
        queue: concurrency.queue,
    }
}

#[cfg(test)]
mod tests;
