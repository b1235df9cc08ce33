//! How does a response get into the cache? Its content is copied while it passes by, and kept once it is whole.

use std::sync::Arc;

use super::{Cache, Lead, Stored};

/// A response that passes by and may be kept. Dropped before its end, nothing is.
#[derive(Debug)]
pub struct Recording {
    cache: Arc<Cache>,
    /// `None`: it is too large.
    taken: Option<(Stored, Vec<u8>)>,
    lead: Option<Lead>,
}

impl Recording {
    pub(super) fn new(cache: Arc<Cache>, stored: Stored, lead: Option<Lead>) -> Self {
        Self { cache, taken: Some((stored, Vec::new())), lead }
    }

    /// More of its content.
    pub fn add(&mut self, data: &[u8]) {
        let max = self.cache.max_body();
        match &mut self.taken {
            Some((_, body)) if body.len() + data.len() <= max => body.extend_from_slice(data),
            _ => self.give_up(),
        }
    }

    /// It cannot be kept, and nobody needs to wait for it.
    pub fn give_up(&mut self) {
        (self.taken, self.lead) = (None, None);
    }

    /// It was whole.
    pub fn finish(self) {
        if let Some((mut stored, mut body)) = self.taken {
            body.shrink_to_fit();
            stored.body = body.into();
            self.cache.insert(Arc::new(stored));
        }
        // Only now: who waits finds it.
        drop(self.lead);
    }
}
