//! Who asks the upstream, and who waits for that? One [`Lead`] a key, and whoever follows.
//!
//! A flight ends in one of three ways. It *lands*: the answer is kept, and who waited finds it. It is *given up*, since the
//! answer is not to be kept or there is none: each asks for itself, under the limits, breaker and budget of the upstream. Or
//! its lead is lost, since the caller left: one of those who wait takes over, and the others go on waiting.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::shard::Shard;
use super::{Store, Stored};

/// The one request for a key that is sent on while others wait.
#[derive(Debug)]
pub struct Lead {
    pub(super) store: Arc<Store>,
    hash: u64,
    /// `None`: it is over.
    flight: Option<Arc<Semaphore>>,
}

/// A request that waits for another.
#[derive(Debug)]
pub struct Follow {
    store: Arc<Store>,
    hash: u64,
    /// Closed at its end; a permit is a lead to be had. `None`: this request has it.
    flight: Option<Arc<Semaphore>>,
}

impl Lead {
    pub(super) fn new(store: &Arc<Store>, hash: u64, shard: &mut Shard) -> Self {
        let flight = Arc::new(Semaphore::new(0));
        shard.flights.insert(hash, Arc::clone(&flight));
        Self { store: Arc::clone(store), hash, flight: Some(flight) }
    }

    /// It brought something.
    pub(super) fn land(mut self, stored: Arc<Stored>) {
        let Some(flight) = self.flight.take() else { return };
        let mut shard = self.store.shard(self.hash);
        // What was forgotten meanwhile has no flight, or another.
        if shard.flies(self.hash, &flight) {
            shard.insert(self.hash, stored);
        }
        shard.end(self.hash, &flight);
    }

    /// It brings nothing for others.
    pub fn give_up(mut self) {
        if let Some(flight) = self.flight.take() {
            self.store.shard(self.hash).end(self.hash, &flight);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut shard = self.store.shard(self.hash);
        // This one and the table's.
        if Arc::strong_count(&flight) > 2 && shard.flies(self.hash, &flight) {
            flight.add_permits(1);
        } else {
            shard.end(self.hash, &flight);
        }
        // Under the lock, so that of several who leave at once one sees that it is the last.
        drop(flight);
    }
}

impl Follow {
    pub(super) fn new(store: &Arc<Store>, hash: u64, flight: &Arc<Semaphore>) -> Self {
        Self { store: Arc::clone(store), hash, flight: Some(Arc::clone(flight)) }
    }

    /// Waits for the end of the flight, or for the lead.
    pub async fn wait(&mut self) -> Option<Lead> {
        self.flight.as_ref()?.acquire().await.ok()?.forget();
        let flight = self.flight.take()?;
        Some(Lead { store: Arc::clone(&self.store), hash: self.hash, flight: Some(flight) })
    }

    /// Whether the flight is over.
    #[cfg(test)]
    pub(super) fn is_over(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.is_closed())
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut shard = self.store.shard(self.hash);
        // The last of those who wait takes the lead that nobody wants with it: one handle is this, one the table's.
        if flight.available_permits() > 0 && Arc::strong_count(&flight) == 2 {
            shard.end(self.hash, &flight);
        }
        // Under the lock, as above.
        drop(flight);
    }
}
