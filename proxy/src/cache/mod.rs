//! What have others been answered? Responses that may be given again, shared by all workers, bounded in octets and number.
//!
//! What may be kept and used is for [`cacheable`] to say; this is where it lies. A [`Cache`] is cut into shards, each
//! behind a lock that is held for one look; what is found is counted, not copied. When a shard is full, what was asked for
//! least recently goes. Of several requests that miss the same key at once, one is sent on and the others wait for what it
//! brings ([`Look::Wait`]).

mod recording;
mod shard;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use outrigger_config::model;
use tokio::sync::Semaphore;

use self::shard::Shard;
use crate::policy::cacheable::{self, Storable, Unfit, Usable};

pub use self::recording::Recording;

/// Shards, at most; a small cache has one, so that what it evicts is exactly the least recent.
const SHARDS: usize = 16;
/// Responses that a shard must have room for, so that its share is no great part of the whole.
const SHARD_ENTRIES: usize = 256;
/// Requests that wait for one other.
const WAITING: usize = 1024;

/// The responses of one upstream.
#[derive(Debug)]
pub struct Cache {
    config: model::Cache,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// What a response answers, beside the fields in its `Vary` (RFC 9111 §2). GET alone: its answer serves HEAD too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// Whom the request is for.
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
    /// Somebody must ask the upstream: this request. The others learn of it when the lead is dropped.
    Lead(Lead, Option<Arc<Stored>>),
    /// Somebody asks the upstream already: the semaphore is closed when that is over.
    Wait(Arc<Semaphore>, Option<Arc<Stored>>),
    /// This request is best sent on without regard to others.
    Alone(Option<Arc<Stored>>),
}

/// What there is for a request.
#[derive(Debug)]
pub enum Found {
    /// This answers it.
    Fresh(Arc<Stored>),
    /// This does if the upstream fails.
    Stale(Arc<Stored>),
    /// Nothing.
    Nothing,
}

/// The one request for a key that is sent on while others wait.
#[derive(Debug)]
pub struct Lead {
    cache: Arc<Cache>,
    hash: u64,
}

impl Cache {
    /// An empty one.
    pub fn new(config: model::Cache) -> Self {
        let shards = (config.max_entries / SHARD_ENTRIES)
            .min(config.max_bytes / config.max_body.saturating_mul(4).max(1))
            .clamp(1, SHARDS);
        let (entries, bytes) = (config.max_entries.div_ceil(shards), config.max_bytes / shards);
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(entries, bytes))).collect();
        Self { config, hasher: RandomState::new(), shards }
    }

    /// Takes what an older one holds, as far as there is room: its rules were those of its time, and it lives by them.
    pub fn adopt(&self, old: &Self) {
        for shard in &old.shards {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner).oldest_first();
            for stored in held {
                self.insert(stored);
            }
        }
    }

    /// Whether such a request is worth a look.
    pub fn concerns(&self, method: &Method, asked: &HeaderMap) -> Result<(), Unfit> {
        cacheable::concerns(&self.config.rules, method, asked)
    }

    /// What there is for a request.
    pub fn find(&self, key: Key<'_>, asked: &HeaderMap, now: Instant) -> Found {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).find(hash, key, asked, now)
    }

    /// The same; where there is nothing fresh, `may_lead` tells whether this request could bring something.
    pub fn look(self: &Arc<Self>, key: Key<'_>, asked: &HeaderMap, may_lead: bool, now: Instant) -> Look {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        let stale = match shard.find(hash, key, asked, now) {
            Found::Fresh(stored) => return Look::Fresh(stored),
            Found::Stale(stored) => Some(stored),
            Found::Nothing => None,
        };
        match shard.flights.get(&hash) {
            Some(flight) if Arc::strong_count(flight) <= WAITING => Look::Wait(Arc::clone(flight), stale),
            None if may_lead => {
                shard.flights.insert(hash, Arc::new(Semaphore::new(0)));
                Look::Lead(Lead { cache: Arc::clone(self), hash }, stale)
            }
            Some(_) | None => Look::Alone(stale),
        }
    }

    /// Begins to keep a response whose head has come, if that may be; `kept`: the fields to keep.
    pub fn record(
        self: &Arc<Self>,
        key: Key<'_>,
        exchange: cacheable::Exchange<'_>,
        kept: impl FnOnce() -> HeaderMap,
        lead: Option<Lead>,
        now: Instant,
    ) -> Result<Recording, Unfit> {
        let rules = Storable::new(&self.config.rules, exchange)?;
        let stored = Stored {
            authority: key.authority.into(),
            path: key.path.into(),
            status: exchange.status,
            headers: kept(),
            body: Bytes::new(),
            rules,
            came: now,
        };
        Ok(Recording::new(Arc::clone(self), stored, lead))
    }

    /// What was changed there is no longer known (RFC 9111 §4.4).
    pub fn forget(&self, key: Key<'_>) {
        let hash = self.hasher.hash_one(key);
        self.shard(hash).remove(hash);
    }

    /// Octets of content that one response may have.
    pub fn max_body(&self) -> usize {
        self.config.max_body
    }

    /// Responses, and what they take in octets.
    pub fn size(&self) -> (usize, usize) {
        let sizes =
            self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).size());
        sizes.fold((0, 0), |(entries, bytes), (more, octets)| (entries + more, bytes + octets))
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
}

impl Stored {
    /// Whether it answers a request.
    pub fn usable(&self, asked: &HeaderMap, now: Instant) -> Usable {
        self.rules.usable(asked, now.saturating_duration_since(self.came))
    }

    fn key(&self) -> Key<'_> {
        Key { authority: &self.authority, path: &self.path }
    }

    /// Octets that it takes.
    fn cost(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        self.body.len() + fields + self.authority.len() + self.path.len() + size_of::<Self>()
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(flight) = self.cache.shard(self.hash).flights.remove(&self.hash) {
            flight.close();
        }
    }
}
