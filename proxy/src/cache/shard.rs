//! What does one part of the cache hold, and what goes first? A table and a list in the order of use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;
use http::HeaderMap;
use smallvec::SmallVec;
use tokio::sync::Semaphore;

use super::{Found, Key, Stored};
use crate::policy::cacheable::Usable;

/// Responses to one key, which differ in what `Vary` names.
const VARIANTS: usize = 8;
/// No place.
const NONE: usize = usize::MAX;

/// One part of a cache. The hashes are drawn at random, so a peer cannot choose keys that collide.
#[derive(Debug)]
pub(super) struct Shard {
    /// Requests that were sent on, by the hash of their key.
    pub(super) flights: HashMap<u64, Arc<Semaphore>, FixedState>,
    places: HashMap<u64, usize, FixedState>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    entries: usize,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
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
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            flights: HashMap::default(),
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            entries: 0,
            bytes: 0,
            max_entries,
            max_bytes,
        }
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
                Usable::IfError(_) if nothing => {
                    (found, nothing) = (Found::Stale(Arc::clone(stored)), false);
                }
                Usable::IfError(_) | Usable::No => {}
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
        if cost > self.max_bytes {
            return;
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
        (self.entries, self.bytes) = (self.entries + 1 - gone.0, self.bytes + cost - gone.1);
        self.unlink(place);
        self.link(place);
        self.shrink(place);
    }

    /// Forgets all responses to a key.
    pub(super) fn remove(&mut self, hash: u64) {
        let Some(place) = self.places.remove(&hash) else { return };
        self.unlink(place);
        let variants = std::mem::take(&mut self.slots[place].variants);
        self.entries -= variants.len();
        self.bytes -= variants.iter().map(|stored| stored.cost()).sum::<usize>();
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

    /// Down to the limits; `kept` has just come, and loses at most its older variants.
    fn shrink(&mut self, kept: usize) {
        while self.entries > self.max_entries || self.bytes > self.max_bytes {
            if self.oldest == kept {
                let Some(last) = self.slots[kept].variants.pop() else { return };
                self.entries -= 1;
                self.bytes -= last.cost();
            } else {
                self.remove(self.slots[self.oldest].hash);
            }
        }
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
