//! Who are the endpoints, and who of them gets the next attempt? An immutable list, made anew when anything about it
//! changes, so that a pick finds all that is known in one place.
//!
//! Two kinds of reasons speak against an endpoint. **Hard** ones: it is down, not ready, ejected, or its circuit is open;
//! such an endpoint gets nothing, unless [`panic`](crate::policy::panic) says that everyone does. **Soft** ones give way,
//! in this order, as soon as nobody else is left: it is still warming up, it is in another zone than the draw wants, this
//! request has been there already. And one exception: an ejected endpoint is rather asked by who has been refused a
//! connection everywhere else, since nobody has asked it lately.
//!
//! Where nothing speaks against anybody, which is almost always, a pick is what the balancer says and no more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_config::model::{LoadBalancer, Locality, Upstream};

use super::endpoint::Endpoint;
use super::guard::{enforces_breakers, enforces_checks, enforces_ejection};
use crate::policy::balancer;
use crate::policy::locality::{self, Level};
use crate::policy::panic::{Candidates, candidates};
use crate::policy::ring::Ring;
use crate::policy::share::Share;
use crate::policy::slow_start;

/// Distances that are told apart.
const LEVELS: usize = 3;

/// The endpoints as they stand.
#[derive(Debug, Default)]
pub struct Roster {
    /// All of them.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Of each.
    standings: Vec<Standing>,
    /// How far each is; empty where all are near.
    levels: Vec<usize>,
    ring: Option<Arc<Ring>>,
    policy: Option<LoadBalancer>,
    panic_threshold: Option<Share>,
    slow_start: Duration,
    /// From then on all have warmed up; `None`: nobody is warming up.
    warm_at: Option<Instant>,
    /// When the next of those who are out may return by time alone.
    pub wakes: Option<Instant>,
    /// Nothing speaks against anybody, and nobody is nearer than others.
    is_plain: bool,
}

/// What speaks against an endpoint for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Fit,
    /// Its circuit is not closed: whether it takes an attempt, it must be asked.
    Tripped,
    /// It has failed real requests, and gets none unless all else refuses connections.
    Ejected,
    /// It gets nothing.
    Out,
}

/// Whom a pick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its position.
    pub nth: usize,
    /// Everyone was a candidate, fit or not.
    pub panics: bool,
}

/// What a pick is to heed.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Endpoints that this request has met already, by id.
    pub tried: &'a [u64],
    /// What it belongs to, where its upstream has a ring.
    pub key: Option<u64>,
    /// A running number.
    pub turn: usize,
}

impl Roster {
    /// Of these endpoints, as they stand. Whoever is newly fit begins to warm up.
    pub fn new(
        endpoints: Vec<Arc<Endpoint>>,
        config: &Upstream,
        near: Option<&Locality>,
        (old, wakes): (&Self, Option<Instant>),
        now: Instant,
    ) -> Self {
        let standings: Vec<_> = endpoints.iter().map(|endpoint| standing(endpoint, config)).collect();
        for (endpoint, standing) in endpoints.iter().zip(&standings) {
            if *standing == Standing::Fit && old.standing(endpoint.id).is_some_and(|was| was != Standing::Fit)
            {
                endpoint.condition.set_fit(now);
            }
        }
        let balancing = &config.balancing;
        let age = |endpoint: &Arc<Endpoint>| endpoint.condition.fit_for(now);
        let youngest = endpoints.iter().map(age).min().unwrap_or(Duration::MAX);
        let left = balancing.slow_start.saturating_sub(youngest);
        let levels = levels(&endpoints, config, near);
        let ring = balancing.hash_on.is_some().then(|| old.ring_for(&endpoints));
        Self {
            is_plain: levels.is_empty()
                && ring.is_none()
                && standings.iter().all(|found| *found == Standing::Fit),
            warm_at: (!left.is_zero()).then(|| now + left),
            policy: Some(config.load_balancer),
            panic_threshold: Some(Share::new(balancing.panic_threshold)),
            slow_start: balancing.slow_start,
            endpoints,
            standings,
            levels,
            ring,
            wakes,
        }
    }

    /// What speaks against an endpoint; `None`: it is not here.
    pub fn standing(&self, id: u64) -> Option<Standing> {
        let nth = self.endpoints.iter().position(|endpoint| endpoint.id == id)?;
        self.standings.get(nth).copied()
    }

    /// Whether it says of each endpoint what is known now.
    pub fn is_true(&self, config: &Upstream) -> bool {
        let mut both = self.endpoints.iter().zip(&self.standings);
        both.all(|(endpoint, known)| standing(endpoint, config) == *known)
    }

    /// Among whom a pick is made now.
    pub fn candidates(&self, now: Instant) -> Candidates {
        let fit = (0..self.endpoints.len()).filter(|nth| self.is_fit(*nth, now)).count();
        candidates(fit, self.endpoints.len(), self.panic_threshold.unwrap_or(Share::new(0.0)))
    }

    /// Whether a pick would find nobody now.
    pub fn is_closed_off(&self, now: Instant) -> bool {
        !self.is_plain && self.candidates(now) == Candidates::Nobody
    }

    /// Who gets the next attempt; `None`: nobody does.
    pub fn choose(&self, wish: &Wish<'_>, rng: &mut fastrand::Rng, now: Instant) -> Option<Choice> {
        if self.is_plain && self.warm_at.is_none_or(|at| now >= at) {
            let tried = |nth: usize| wish.tried.contains(&self.endpoints[nth].id);
            let nth = if self.endpoints.len() == 1 { 0 } else { self.balance(wish.turn, rng, tried, now)? };
            return Some(Choice { nth, panics: false });
        }
        let panics = match self.candidates(now) {
            Candidates::Everyone => true,
            Candidates::Fit => false,
            Candidates::Nobody => return None,
        };
        let nth = self.among(wish, rng, now, |nth| !panics && !self.is_fit(nth, now))?;
        Some(Choice { nth: self.second_opinion(wish, nth, now).unwrap_or(nth), panics })
    }

    /// One that is ejected and that this request has not met, where the one to take has just refused connections, and would
    /// again. Two that restart one after the other lose nothing so, though callers were late to forgive the first.
    fn second_opinion(&self, wish: &Wish<'_>, nth: usize, now: Instant) -> Option<usize> {
        let tried = |nth: usize| wish.tried.contains(&self.endpoints[nth].id);
        if !tried(nth) || !self.endpoints[nth].condition.is_refusing(now) {
            return None;
        }
        (0..self.endpoints.len()).find(|other| self.standings[*other] == Standing::Ejected && !tried(*other))
    }

    /// The one to take where something speaks against some; those whom `hard` excludes are none of them.
    fn among(
        &self,
        wish: &Wish<'_>,
        rng: &mut fastrand::Rng,
        now: Instant,
        hard: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let tried = |nth: usize| wish.tried.contains(&self.endpoints[nth].id);
        if let Some((ring, key)) = self.ring.as_ref().zip(wish.key) {
            // Who is cold or far keeps its keys: to move them there and back would cost more than it spares.
            let excluded = |nth: usize| hard(nth) || tried(nth);
            let free = (0..self.endpoints.len()).any(|nth| !excluded(nth));
            let load = |nth: usize| self.endpoints[nth].in_flight();
            return ring.pick(key, load, |nth| if free { excluded(nth) } else { hard(nth) });
        }
        let (draw, level) = (rng.u64(..), self.level(rng, &hard));
        let cold = |nth: usize| {
            let factor = slow_start::factor(self.endpoints[nth].condition.fit_for(now), self.slow_start);
            slow_start::holds_back(factor, self.endpoints[nth].id, draw)
        };
        let far = |nth: usize| level.is_some_and(|level| self.levels[nth] != level);
        let tiers: [&dyn Fn(usize) -> bool; 4] = [
            &|nth| hard(nth) || tried(nth) || far(nth) || cold(nth),
            &|nth| hard(nth) || tried(nth) || far(nth),
            &|nth| hard(nth) || tried(nth),
            &hard,
        ];
        let excluded = tiers.iter().find(|excluded| (0..self.endpoints.len()).any(|nth| !excluded(nth)))?;
        self.balance(wish.turn, rng, excluded, now)
    }

    /// After how long it may be worth while to ask again where circuits are all that speaks against some endpoint.
    pub fn opens_for(&self, now: Instant) -> Option<Duration> {
        let tripped = |nth: &usize| self.standings[*nth] == Standing::Tripped;
        let circuits = (0..self.endpoints.len()).filter(tripped);
        let circuits = circuits.filter_map(|nth| self.endpoints[nth].condition.circuit());
        circuits.map(|circuit| circuit.opens_for(now).unwrap_or_default()).min()
    }

    fn balance(
        &self,
        turn: usize,
        rng: &mut fastrand::Rng,
        excluded: impl Fn(usize) -> bool,
        now: Instant,
    ) -> Option<usize> {
        let policy = self.policy?;
        let cost = |nth: usize| self.endpoints[nth].load().cost(policy, self.endpoints[nth].stamp(now));
        balancer::pick(policy, self.endpoints.len(), turn, rng, cost, excluded)
    }

    fn is_fit(&self, nth: usize, now: Instant) -> bool {
        match self.standings[nth] {
            Standing::Fit => true,
            Standing::Ejected | Standing::Out => false,
            Standing::Tripped => {
                self.endpoints[nth].condition.circuit().is_none_or(|circuit| circuit.would_admit(now))
            }
        }
    }

    /// The zone that this attempt stays in; `None`: any.
    fn level(&self, rng: &mut fastrand::Rng, excluded: impl Fn(usize) -> bool) -> Option<usize> {
        if self.levels.is_empty() {
            return None;
        }
        let mut levels = [Level::default(); LEVELS];
        for (nth, level) in self.levels.iter().enumerate() {
            levels[*level].all += 1;
            levels[*level].fit += u32::from(!excluded(nth));
        }
        locality::weights(&levels).pick(rng.u64(..))
    }

    /// The ring of these endpoints: the one that is there, if they are the same.
    fn ring_for(&self, endpoints: &[Arc<Endpoint>]) -> Arc<Ring> {
        let same =
            self.endpoints.iter().map(|endpoint| endpoint.addr).eq(endpoints.iter().map(|new| new.addr));
        match &self.ring {
            Some(ring) if same => Arc::clone(ring),
            _ => Arc::new(Ring::new(&endpoints.iter().map(|endpoint| endpoint.addr).collect::<Vec<_>>())),
        }
    }
}

/// What speaks against an endpoint now, as far as its upstream's policy acts upon it.
fn standing(endpoint: &Endpoint, config: &Upstream) -> Standing {
    let condition = &endpoint.condition;
    let dead = enforces_checks(config) && !condition.vitality().takes_requests();
    let ejected = enforces_ejection(config) && condition.is_ejected();
    let tripped =
        enforces_breakers(config) && condition.circuit().is_some_and(|circuit| !circuit.is_closed());
    match (dead, ejected, tripped) {
        (true, ..) | (_, true, true) => Standing::Out,
        (false, true, false) => Standing::Ejected,
        (false, false, true) => Standing::Tripped,
        (false, false, false) => Standing::Fit,
    }
}

/// How far each endpoint is; empty where all are as near.
fn levels(endpoints: &[Arc<Endpoint>], config: &Upstream, near: Option<&Locality>) -> Vec<usize> {
    let localities = &config.balancing.localities;
    let Some(near) = near.filter(|_| !localities.is_empty()) else { return Vec::new() };
    let level = |ip: IpAddr| locality::level(near.as_str(), localities.of(ip));
    endpoints.iter().map(|endpoint| level(endpoint.addr.ip())).collect()
}
