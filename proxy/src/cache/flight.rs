//! Who asks the upstream, and who waits for that? One [`Lead`] a key, and whoever follows.
//!
//! A flight ends in one of three ways. It *lands*: the answer is kept, and who waited finds it. It is *given up*, since the
//! answer is not to be kept or there is none: each asks for itself, under the limits, breaker and budget of the upstream. Or
//! its lead is lost, since the caller left: one of those who wait takes over, and the others go on waiting.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::shard::Shard;
use super::{Store, Stored};

/// What those have in common who wait for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    /// Of the key.
    pub(super) hash: u64,
    /// It has credentials. What answers it is hardly ever for others, so that nobody waits for it, and it for nobody.
    pub(super) authorized: bool,
}

/// The one request for a key that is sent on while others wait.
#[derive(Debug)]
pub struct Lead {
    pub(super) store: Arc<Store>,
    which: Flight,
    /// `None`: it is over.
    flight: Option<Arc<Semaphore>>,
}

/// A request that waits for another.
#[derive(Debug)]
pub struct Follow {
    store: Arc<Store>,
    which: Flight,
    /// Closed at its end; a permit is a lead to be had. `None`: this request has it.
    flight: Option<Arc<Semaphore>>,
}

impl Lead {
    pub(super) fn new(store: &Arc<Store>, which: Flight, shard: &mut Shard) -> Self {
        let flight = Arc::new(Semaphore::new(0));
        shard.flights.insert(which, Arc::clone(&flight));
        Self { store: Arc::clone(store), which, flight: Some(flight) }
    }

    /// It brought something.
    pub(super) fn land(mut self, stored: Arc<Stored>) {
        let Some(flight) = self.flight.take() else { return };
        let mut shard = self.store.shard(self.which.hash);
        // What was forgotten meanwhile has no flight, or another.
        if shard.flies(self.which, &flight) {
            shard.insert(self.which.hash, stored);
        }
        shard.end(self.which, &flight);
    }

    /// It brings nothing for others, for now.
    pub fn give_up(mut self) {
        if let Some(flight) = self.flight.take() {
            self.store.shard(self.which.hash).end(self.which, &flight);
        }
    }

    /// Nor does it soon, since such an answer is never kept: who asks in the next seconds need not wait.
    pub fn unfit(self, now: Instant) {
        // What is said to one who has credentials tells nothing of what others are said.
        if !self.which.authorized {
            self.store.shard(self.which.hash).hopeless.note(self.which.hash, now);
        }
        self.give_up();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut shard = self.store.shard(self.which.hash);
        // This one and the table's.
        if Arc::strong_count(&flight) > 2 && shard.flies(self.which, &flight) {
            flight.add_permits(1);
        } else {
            shard.end(self.which, &flight);
        }
        // Under the lock, so that of several who leave at once one sees that it is the last.
        drop(flight);
    }
}

impl Follow {
    pub(super) fn new(store: &Arc<Store>, which: Flight, flight: &Arc<Semaphore>) -> Self {
        Self { store: Arc::clone(store), which, flight: Some(Arc::clone(flight)) }
    }

    /// Waits for the end of the flight, or for the lead.
    pub async fn wait(&mut self) -> Option<Lead> {
        self.flight.as_ref()?.acquire().await.ok()?.forget();
        let flight = self.flight.take()?;
        Some(Lead { store: Arc::clone(&self.store), which: self.which, flight: Some(flight) })
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
        let mut shard = self.store.shard(self.which.hash);
        // The last of those who wait takes the lead that nobody wants with it: one handle is this, one the table's.
        if flight.available_permits() > 0 && Arc::strong_count(&flight) == 2 {
            shard.end(self.which, &flight);
        }
        // Under the lock, as above.
        drop(flight);
    }
}
