//! Which cell belongs to this caller? A table of keys that never grows and never forgives a debt.
//!
//! **Question.** Limits hold per identity, header value or source. Callers may invent keys without end; whose cell is
//! kept, and what limits those for whom none is left?
//!
//! **States and transitions.** Up to `capacity` keys each have a cell, kept in the order of their last use. A new key
//! takes a free place, else that of the least recently used key whose cell is *at rest*, which to forget gives nothing
//! away. While it looks for one, up to [`LOOKS`] keys in debt move to the recent end, so that the next search meets
//! others. If none is found, the new key shares the one overflow cell with all others like it.
//!
//! **Invariants.** At most `capacity` keys. A key in debt is never forgotten, so no caller gets a fresh burst by
//! flooding the table with other keys. Among keys at rest it is the least recently used that goes.
//!
//! **Time.** Constant: one lookup in a hash map, at most [`LOOKS`] cells seen. Whether a cell is at rest is asked of the
//! caller, who has the clock.
//!
//! **On reload.** Kept while its keys mean the same; [`KeyTable::cells`] lets each cell be carried over.
//!
//! **Source.** LRU over an array-backed list. Envoy keeps 20 dynamic descriptors by plain LRU: whoever can name 20 keys
//! starts anew. The overflow cell is ours.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use foldhash::quality::RandomState;

/// How many keys in debt a search passes over before it gives up.
pub const LOOKS: usize = 8;

const NONE: u32 = u32::MAX;

/// What a limit may tell callers apart by; what its policy does not name is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    /// What mTLS proved.
    pub identity: Option<&'a str>,
    /// The value of the field that the policy names.
    pub header: Option<&'a [u8]>,
    /// Where the connection came from.
    pub source: Option<IpAddr>,
}

/// How a key came by its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It had one.
    Known,
    /// A free place.
    Fresh,
    /// The place of a key at rest, now forgotten.
    Replaced,
    /// It shares the overflow cell.
    Overflow,
}

/// Keys and their cells, 64 bits of a keyed hash for each key, however long it is.
#[derive(Debug)]
pub struct KeyTable<V> {
    hasher: RandomState,
    places: HashMap<u64, u32, foldhash::fast::RandomState>,
    slots: Vec<Slot<V>>,
    capacity: u32,
    /// Most and least recently used.
    newest: u32,
    oldest: u32,
    overflow: V,
}

#[derive(Debug)]
struct Slot<V> {
    key: u64,
    cell: V,
    newer: u32,
    older: u32,
}

impl<V: Default> KeyTable<V> {
    /// An empty table for up to `capacity` keys, at least one.
    pub fn new(capacity: u32) -> Self {
        Self {
            hasher: RandomState::default(),
            places: HashMap::default(),
            slots: Vec::new(),
            capacity: capacity.clamp(1, NONE - 1),
            newest: NONE,
            oldest: NONE,
            overflow: V::default(),
        }
    }

    /// The cell of a key, which is now the most recently used. A default cell must be at rest.
    pub fn cell(&mut self, key: &Key<'_>, at_rest: impl Fn(&V) -> bool) -> (&mut V, Place) {
        let key = self.hasher.hash_one(key);
        let (slot, place) = if let Some(&slot) = self.places.get(&key) {
            self.touch(slot);
            (slot, Place::Known)
        } else if self.slots.len() < self.capacity as usize {
            (self.add(key), Place::Fresh)
        } else if let Some(slot) = self.at_rest(at_rest) {
            self.replace(slot, key);
            (slot, Place::Replaced)
        } else {
            return (&mut self.overflow, Place::Overflow);
        };
        (&mut self.slots[slot as usize].cell, place)
    }

    /// Every cell, the overflow's too.
    pub fn cells(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.cell).chain([&mut self.overflow])
    }

    /// How many keys have a cell of their own.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no key has a cell of its own.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn add(&mut self, key: u64) -> u32 {
        let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
        self.slots.push(Slot { key, cell: V::default(), newer: NONE, older: NONE });
        self.places.insert(key, slot);
        self.link(slot);
        slot
    }

    fn replace(&mut self, slot: u32, key: u64) {
        let forgotten = &mut self.slots[slot as usize];
        self.places.remove(&forgotten.key);
        (forgotten.key, forgotten.cell) = (key, V::default());
        self.places.insert(key, slot);
        self.touch(slot);
    }

    /// The least recently used slot at rest, of those looked at.
    fn at_rest(&mut self, at_rest: impl Fn(&V) -> bool) -> Option<u32> {
        for _ in 0..LOOKS.min(self.slots.len()) {
            let slot = self.oldest;
            if at_rest(&self.slots[slot as usize].cell) {
                return Some(slot);
            }
            self.touch(slot);
        }
        None
    }

    fn touch(&mut self, slot: u32) {
        if slot != self.newest {
            self.unlink(slot);
            self.link(slot);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Slot { newer, older, .. } = self.slots[slot as usize];
        match self.slots.get_mut(newer as usize) {
            Some(neighbour) => neighbour.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, slot: u32) {
        let older = std::mem::replace(&mut self.newest, slot);
        match self.slots.get_mut(older as usize) {
            Some(neighbour) => neighbour.newer = slot,
            None => self.oldest = slot,
        }
        let linked = &mut self.slots[slot as usize];
        (linked.newer, linked.older) = (NONE, older);
    }
}

#[cfg(test)]
mod tests;
