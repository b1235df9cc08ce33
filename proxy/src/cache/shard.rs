//! What does one part of the cache hold, and what goes first? A table and a list in the order of use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use foldhash::fast::FixedState;
use http::HeaderMap;
use smallvec::SmallVec;
use tokio::sync::Semaphore;

use super::flight::Flight;
use super::hopeless::Hopeless;
use super::{Found, Key, Stored};
use crate::policy::cacheable::Usable;
use crate::telemetry::CacheMetrics;

/// Responses to one key, which differ in what `Vary` names.
const VARIANTS: usize = 8;
/// No place.
const NONE: usize = usize::MAX;

/// One part of a cache. The hashes are drawn at random, so a peer cannot choose keys that collide.
#[derive(Debug)]
pub(super) struct Shard {
    /// Requests that were sent on.
    pub(super) flights: HashMap<Flight, Arc<Semaphore>, FixedState>,
    /// Keys whose answers were not to be kept.
    pub(super) hopeless: Hopeless,
    places: HashMap<u64, usize, FixedState>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    entries: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    /// The same as `entries` and `bytes`, for the gauges.
    metrics: Arc<CacheMetrics>,
}

/// All responses to a key, the latest first, between those that were used after and before them.
#[derive(Debug)]
struct Slot {
    hash: u64,
    variants: SmallVec<[Arc<Stored>; 1]>,
    newer: usize,
    older: usize,
}

impl Shard {
    pub(super) fn new((max_entries, max_bytes): (usize, usize), metrics: Arc<CacheMetrics>) -> Self {
        Self {
            flights: HashMap::default(),
            hopeless: Hopeless::default(),
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            entries: 0,
            bytes: 0,
            max_entries,
            max_bytes,
            metrics,
        }
    }

    /// Other limits from now on.
    pub(super) fn limit(&mut self, (max_entries, max_bytes): (usize, usize)) {
        (self.max_entries, self.max_bytes) = (max_entries, max_bytes);
        self.shrink(NONE);
    }

    /// All responses, the least recently used first; nothing is kept here any more.
    pub(super) fn move_out(&mut self) -> Vec<Arc<Stored>> {
        let all = self.oldest_first();
        (self.max_entries, self.max_bytes) = (0, 0);
        while let Some(slot) = self.slots.get(self.oldest) {
            self.remove(slot.hash);
        }
        all
    }

    /// Whether this is the flight for a key.
    pub(super) fn flies(&self, which: Flight, flight: &Arc<Semaphore>) -> bool {
        self.flights.get(&which).is_some_and(|flies| Arc::ptr_eq(flies, flight))
    }

    /// A flight is over.
    pub(super) fn end(&mut self, which: Flight, flight: &Arc<Semaphore>) {
        if self.flies(which, flight) {
            self.flights.remove(&which);
        }
        flight.close();
    }

    /// Responses and octets.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.entries, self.bytes)
    }

    /// What there is for a request; it is the most recent from now on.
    pub(super) fn find(&mut self, hash: u64, key: Key<'_>, asked: &HeaderMap, now: Instant) -> Found {
        let Some(&place) = self.places.get(&hash) else { return Found::Nothing };
        let (mut found, mut nothing) = (Found::Nothing, true);
        for stored in self.slots[place].variants.iter().filter(|stored| stored.key() == key) {
            match stored.usable(asked, now) {
                Usable::Fresh(_) => {
                    (found, nothing) = (Found::Fresh(Arc::clone(stored)), false);
                    break;
                }
                Usable::IfError(_) | Usable::IfConfirmed if nothing => {
                    (found, nothing) = (Found::Stale(Arc::clone(stored)), false);
                }
                Usable::IfError(_) | Usable::IfConfirmed | Usable::No => {}
            }
        }
        if !nothing {
            self.unlink(place);
            self.link(place);
        }
        found
    }

    /// Keeps a response, in place of what it replaces, and lets the least recent go.
    pub(super) fn insert(&mut self, hash: u64, stored: Arc<Stored>) {
        let cost = stored.cost();
        if cost > self.max_bytes || self.max_entries == 0 {
            return;
        }
        if stored.rules.age < stored.rules.lifetime {
            self.hopeless.forget(hash);
        } else {
            // It is there for errors and to be confirmed: who waits for it has to ask all the same.
            self.hopeless.note(hash, stored.came);
        }
        let place = self.place(hash);
        let mut gone = (0, 0);
        let mut nth = 0;
        let variants = &mut self.slots[place].variants;
        variants.retain(|old| {
            nth += 1;
            let other = old.key() != stored.key() || old.rules.vary == stored.rules.vary;
            let goes = other || nth >= VARIANTS;
            if goes {
                gone = (gone.0 + 1, gone.1 + old.cost());
            }
            !goes
        });
        variants.insert(0, stored);
        self.count(1, cost);
        self.uncount(gone.0, gone.1);
        self.unlink(place);
        self.link(place);
        self.shrink(place);
    }

    /// Forgets all responses to a key.
    pub(super) fn remove(&mut self, hash: u64) {
        let Some(place) = self.places.remove(&hash) else { return };
        self.unlink(place);
        let variants = std::mem::take(&mut self.slots[place].variants);
        self.uncount(variants.len(), variants.iter().map(|stored| stored.cost()).sum());
        self.free.push(place);
    }

    /// All responses, the least recently used first.
    pub(super) fn oldest_first(&self) -> Vec<Arc<Stored>> {
        let mut place = self.oldest;
        let places = std::iter::from_fn(|| {
            let slot = self.slots.get(place)?;
            place = slot.newer;
            Some(slot)
        });
        places.flat_map(|slot| slot.variants.iter().rev().map(Arc::clone)).collect()
    }

    /// Down to the limits; what lies at `kept` has just come, and loses at most its older variants.
    fn shrink(&mut self, kept: usize) {
        let before = self.entries;
        self.shrink_to(kept);
        self.metrics.evicted.fetch_add((before - self.entries) as u64, Relaxed);
    }

    fn shrink_to(&mut self, kept: usize) {
        while self.entries > self.max_entries || self.bytes > self.max_bytes {
            if self.oldest == kept {
                let Some(last) = self.slots[kept].variants.pop() else { return };
                self.uncount(1, last.cost());
            } else if let Some(oldest) = self.slots.get(self.oldest) {
                self.remove(oldest.hash);
            } else {
                return;
            }
        }
    }

    fn count(&mut self, entries: usize, bytes: usize) {
        (self.entries, self.bytes) = (self.entries + entries, self.bytes + bytes);
        self.metrics.entries.fetch_add(signed(entries), Relaxed);
        self.metrics.bytes.fetch_add(signed(bytes), Relaxed);
    }

    fn uncount(&mut self, entries: usize, bytes: usize) {
        (self.entries, self.bytes) = (self.entries - entries, self.bytes - bytes);
        self.metrics.entries.fetch_sub(signed(entries), Relaxed);
        self.metrics.bytes.fetch_sub(signed(bytes), Relaxed);
    }

    /// Where the responses to a key lie.
    fn place(&mut self, hash: u64) -> usize {
        if let Some(&place) = self.places.get(&hash) {
            return place;
        }
        let slot = Slot { hash, variants: SmallVec::new(), newer: NONE, older: NONE };
        let place = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(place) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.places.insert(hash, place);
        self.link(place);
        place
    }

    fn link(&mut self, place: usize) {
        let older = std::mem::replace(&mut self.newest, place);
        (self.slots[place].older, self.slots[place].newer) = (older, NONE);
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
    }

    fn unlink(&mut self, place: usize) {
        let Slot { newer, older, .. } = self.slots[place];
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }
}

/// What is in memory can be counted so.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
