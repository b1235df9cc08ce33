//! What have others been answered? Responses that may be given again, shared by all workers, bounded in octets and number.
//!
//! What may be kept and used is for [`cacheable`] to say; this is where it lies. A [`Cache`] is cut into shards, each
//! behind a lock that is held for one look; what is found is counted, not copied. When a shard is full, what was asked for
//! least recently goes. Of several requests that miss the same key at once, one is sent on and the others wait for what it
//! brings ([`flight`]), unless they ask with credentials or the key was lately answered with what cannot be kept
//! (`hopeless`). Only that one's answer is kept, so that there are few copies under way for each key, and what was
//! changed meanwhile ([`Cache::forget`]) is not kept.

pub mod flight;
mod hopeless;
mod recording;
mod shard;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use outrigger_config::model;

use self::flight::{Flight, Follow, Lead};
use self::shard::Shard;
use crate::policy::cacheable::{self, Storable, Unfit, Usable};

use crate::telemetry::CacheMetrics;

pub use self::recording::Recording;

/// Shards, at most; a small cache has one, so that what it evicts is exactly the least recent.
const SHARDS: usize = 16;
/// Responses that a shard must have room for, so that its share is no great part of the whole.
const SHARD_ENTRIES: usize = 256;
/// Requests that wait for one other.
const WAITING: usize = 1024;
/// What may be under way into a cache, as a part of what it may hold; one response at least.
const UNDER_WAY: usize = 4;

/// The responses of one upstream.
#[derive(Debug)]
pub struct Cache {
    /// What is counted of it.
    pub metrics: Arc<CacheMetrics>,
    config: model::Cache,
    store: Arc<Store>,
}

/// Where they lie. It outlives a reload.
#[derive(Debug)]
struct Store {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// Octets that were copied and are not kept yet.
    under_way: AtomicUsize,
}

/// What a response answers, beside the fields in its `Vary` (RFC 9111 §2). GET alone: its answer serves HEAD too.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Whom the request is for, in whichever case (RFC 9110 §4.2.3).
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
}

/// A response that is kept.
#[derive(Debug)]
pub struct Stored {
    authority: Box<str>,
    path: Box<str>,
    /// What it said.
    pub status: StatusCode,
    /// Its fields but for those of its connection, its length and its age.
    pub headers: HeaderMap,
    /// Its content, whole.
    pub body: Bytes,
    rules: Storable,
    came: Instant,
}

/// What a look into the cache comes to.
#[derive(Debug)]
pub enum Look {
    /// This answers the request.
    Fresh(Arc<Stored>),
    /// Somebody must ask the upstream: this request.
    Lead(Lead, Option<Arc<Stored>>),
    /// Somebody asks the upstream already.
    Wait(Follow, Option<Arc<Stored>>),
    /// This request is best sent on without regard to others.
    Alone(Option<Arc<Stored>>),
}

/// What there is for a request.
#[derive(Debug)]
pub enum Found {
    /// This answers it.
    Fresh(Arc<Stored>),
    /// This does if the upstream fails, or says that it still holds.
    Stale(Arc<Stored>),
    /// Nothing.
    Nothing,
}

impl Cache {
    /// As the policy has it now; what it holds is counted in `metrics`.
    ///
    /// What the `old` one holds stays where it is as far as the new limits have room: its rules were those of its time, and
    /// it lives by them. Only where another size asks for more or fewer shards it moves, and the old cache keeps nothing from
    /// then on.
    pub fn new(config: model::Cache, old: Option<&Self>, metrics: Arc<CacheMetrics>) -> Self {
        let shards = (config.max_entries / SHARD_ENTRIES)
            .min(config.max_bytes / config.max_body.saturating_mul(4).max(1))
            .clamp(1, SHARDS);
        let limits = (config.max_entries.div_ceil(shards), config.max_bytes / shards);
        let store = match old.map(|old| &old.store) {
            Some(same) if same.shards.len() == shards => {
                same.each(|shard| shard.limit(limits));
                Arc::clone(same)
            }
            other => {
                let store = Store::new(shards, limits, &metrics);
                if let Some(other) = other {
                    other.each(|shard| shard.move_out().into_iter().for_each(|stored| store.insert(stored)));
                }
                Arc::new(store)
            }
        };
        Self { metrics, config, store }
    }

    /// Whether such a request is worth a look.
    pub fn concerns(&self, method: &Method, asked: &HeaderMap) -> Result<(), Unfit> {
        cacheable::concerns(&self.config.rules, method, asked)
    }

    /// What there is for a request.
    pub fn find(&self, key: Key<'_>, asked: &HeaderMap, now: Instant) -> Found {
        let hash = self.store.hasher.hash_one(key);
        self.store.shard(hash).find(hash, key, asked, now)
    }

    /// The same; where there is nothing fresh, `may_lead` tells whether this request could bring something.
    pub fn look(&self, key: Key<'_>, asked: &HeaderMap, may_lead: bool, now: Instant) -> Look {
        let hash = self.store.hasher.hash_one(key);
        let mut shard = self.store.shard(hash);
        let stale = match shard.find(hash, key, asked, now) {
            Found::Fresh(stored) => return Look::Fresh(stored),
            Found::Stale(stored) => Some(stored),
            Found::Nothing => None,
        };
        let which = Flight { hash, authorized: asked.contains_key(AUTHORIZATION) };
        let waits = !which.authorized && !shard.hopeless.has(hash, now);
        match shard.flights.get(&which) {
            Some(flight) if waits && Arc::strong_count(flight) <= WAITING => {
                Look::Wait(Follow::new(&self.store, which, flight), stale)
            }
            None if may_lead => Look::Lead(Lead::new(&self.store, which, &mut shard), stale),
            Some(_) | None => Look::Alone(stale),
        }
    }

    /// Begins to keep a response whose head has come, if that may be; `kept`: the fields to keep.
    pub fn record(
        &self,
        key: Key<'_>,
        exchange: cacheable::Exchange<'_>,
        kept: impl FnOnce() -> HeaderMap,
        lead: Lead,
        now: Instant,
    ) -> Result<Recording, Unfit> {
        match Storable::new(&self.config.rules, exchange) {
            Ok(rules) => {
                let (authority, path) = (key.authority.into(), key.path.into());
                let (status, headers, body) = (exchange.status, kept(), Bytes::new());
                let stored = Stored { authority, path, status, headers, body, rules, came: now };
                let most = (self.config.max_bytes / UNDER_WAY).max(self.config.max_body);
                Ok(Recording::new(stored, lead, (self.config.max_body, most)))
            }
            Err(unfit) => {
                // That it fails now says nothing of what it answers when it does not.
                if exchange.status.is_server_error() {
                    lead.give_up();
                } else {
                    lead.unfit(now);
                }
                Err(unfit)
            }
        }
    }

    /// Keeps a response that the upstream has confirmed, with its fields as they are now (RFC 9111 §4.3.4), or lets it go
    /// where these forbid to keep it. Either way it answers the request that had it confirmed.
    pub fn refresh(
        &self,
        old: &Stored,
        headers: HeaderMap,
        exchange: cacheable::Exchange<'_>,
        lead: Lead,
        now: Instant,
    ) -> Arc<Stored> {
        let rules = Storable::new(&self.config.rules, exchange);
        let keeps = rules.is_ok();
        let stored = Arc::new(Stored {
            authority: old.authority.clone(),
            path: old.path.clone(),
            status: old.status,
            headers,
            body: old.body.clone(),
            rules: rules.unwrap_or_else(|_| Storable { age: exchange.delay, ..old.rules.clone() }),
            came: now,
        });
        if keeps {
            lead.land(Arc::clone(&stored));
        } else {
            lead.unfit(now);
            self.forget(old.key());
        }
        stored
    }

    /// What was changed there is no longer known (RFC 9111 §4.4), nor what was asked before that.
    pub fn forget(&self, key: Key<'_>) {
        let hash = self.store.hasher.hash_one(key);
        let mut shard = self.store.shard(hash);
        shard.remove(hash);
        for authorized in [false, true] {
            if let Some(flight) = shard.flights.remove(&Flight { hash, authorized }) {
                flight.close();
            }
        }
    }

    /// Octets of content that one response may have.
    pub fn max_body(&self) -> usize {
        self.config.max_body
    }

    /// Responses, and what they take in octets.
    pub fn size(&self) -> (usize, usize) {
        let (mut entries, mut bytes) = (0, 0);
        self.store.each(|shard| {
            let (more, octets) = shard.size();
            (entries, bytes) = (entries + more, bytes + octets);
        });
        (entries, bytes)
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.authority.eq_ignore_ascii_case(other.authority)
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in self.authority.as_bytes().chunks(32) {
            let mut lower = [0; 32];
            let lower = &mut lower[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
        state.write_u8(0xff);
        self.path.hash(state);
    }
}

impl Store {
    fn new(shards: usize, limits: (usize, usize), metrics: &Arc<CacheMetrics>) -> Self {
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(limits, Arc::clone(metrics)))).collect();
        Self { hasher: RandomState::new(), shards, under_way: AtomicUsize::new(0) }
    }

    fn insert(&self, stored: Arc<Stored>) {
        let hash = self.hasher.hash_one(stored.key());
        self.shard(hash).insert(hash, stored);
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let nth = usize::try_from(hash >> 32).unwrap_or_default() % self.shards.len();
        // A shard is whole between any two statements that could panic.
        self.shards[nth].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each(&self, mut visit: impl FnMut(&mut Shard)) {
        for shard in &self.shards {
            visit(&mut shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.each(|shard| drop(shard.move_out()));
    }
}

impl Stored {
    /// Whether it answers a request.
    pub fn usable(&self, asked: &HeaderMap, now: Instant) -> Usable {
        self.rules.usable(asked, now.saturating_duration_since(self.came))
    }

    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        self.rules.age.saturating_add(now.saturating_duration_since(self.came))
    }

    fn key(&self) -> Key<'_> {
        Key { authority: &self.authority, path: &self.path }
    }

    /// Octets that it takes.
    fn cost(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        self.body.len()
            + fields
            + self.rules.vary.octets()
            + self.authority.len()
            + self.path.len()
            + size_of::<Self>()
    }
}
