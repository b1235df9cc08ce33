//! How full is a cache? The cache itself counts here, so that a scrape takes none of its locks.

use std::sync::atomic::{AtomicI64, AtomicU64};

/// What the cache of one upstream holds now, of all generations that still have a part of it.
#[derive(Debug, Default)]
pub struct Kept {
    /// Responses.
    pub entries: AtomicI64,
    /// What they take, in octets.
    pub bytes: AtomicI64,
    /// The most that they may take; 0: there is no cache.
    pub room: AtomicI64,
    /// Responses that went, so far, for want of room.
    pub evicted: AtomicU64,
}
