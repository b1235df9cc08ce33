//! How does a response get into the cache? Its content is copied while it passes by, and kept once it is whole.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Stored;
use super::flight::Lead;

/// A response that passes by and may be kept. Dropped before its end, nothing is.
#[derive(Debug)]
pub struct Recording {
    /// `None`: it is too large, or too much is under way.
    taken: Option<Taken>,
    /// Octets that it may have, and that all under way may.
    most: (usize, usize),
}

#[derive(Debug)]
struct Taken {
    stored: Stored,
    body: Vec<u8>,
    lead: Lead,
}

impl Recording {
    pub(super) fn new(stored: Stored, lead: Lead, most: (usize, usize)) -> Self {
        Self { taken: Some(Taken { stored, body: Vec::new(), lead }), most }
    }

    /// More of its content.
    pub fn add(&mut self, data: &[u8]) {
        let Some(Taken { body, lead, .. }) = &mut self.taken else { return };
        let reserve = |all: usize| all.checked_add(data.len()).filter(|all| *all <= self.most.1);
        let fits = body.len() + data.len() <= self.most.0
            && lead.store.under_way.fetch_update(Relaxed, Relaxed, reserve).is_ok();
        if fits {
            body.extend_from_slice(data);
        } else {
            self.give_up();
        }
    }

    /// It cannot be kept, and nobody needs to wait for it.
    pub fn give_up(&mut self) {
        if let Some(taken) = self.put_down() {
            taken.lead.unfit(taken.stored.came);
        }
    }

    /// It was whole.
    pub fn finish(mut self) {
        if let Some(Taken { mut stored, mut body, lead }) = self.put_down() {
            body.shrink_to_fit();
            stored.body = body.into();
            lead.land(Arc::new(stored));
        }
    }

    /// It is no longer under way.
    fn put_down(&mut self) -> Option<Taken> {
        let taken = self.taken.take()?;
        taken.lead.store.under_way.fetch_sub(taken.body.len(), Relaxed);
        Some(taken)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        drop(self.put_down());
    }
}
