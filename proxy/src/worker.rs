//! What does one data-path thread own? Everything that a request touches without sharing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use outrigger_config::model::Direction;
use tokio::sync::{Semaphore, watch};

use crate::clock::Timers;
use crate::message::Scratch;
use crate::policy::settled::Settled;
use crate::snapshot::{ListenerId, Snapshot};
use crate::telemetry::{Metrics, WorkerId};
use crate::tls::Proof;
use crate::upstream::multiplexed::Multiplexed;
use crate::upstream::pool::Pools;

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    /// The running configuration.
    pub snapshot: ArcSwap<Snapshot>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// Somebody has no connection for want of a place: who has idle ones shall look which of them have use elsewhere.
    pub wanted: watch::Sender<()>,
    settled: Mutex<Settled>,
    draining: AtomicBool,
}

impl Shared {
    /// Around the first snapshot.
    pub fn new(snapshot: Snapshot, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            wanted: watch::Sender::default(),
            settled: Mutex::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// The process is about to end: readiness fails from here on.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Requests whose retries are done with, for the inbound side (RT-10). Asked only about failures.
    pub fn settled(&self) -> MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This worker's part of the handshakes of TLS that there may be at one time. Whoever finds no place waits for one.
#[derive(Debug)]
pub struct Handshakes {
    places: Semaphore,
    /// As many as there are, taken ones included.
    all: Cell<usize>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { places: Semaphore::new(0), all: Cell::new(0) }
    }
}

impl Handshakes {
    /// The places, of which there are so many from now on. What is taken beyond them is given up as it ends.
    pub fn of(&self, wanted: usize) -> &Semaphore {
        let all = self.all.get();
        if wanted > all {
            self.places.add_permits(wanted - all);
            self.all.set(wanted);
        } else {
            self.all.set(all - self.places.forget_permits(all - wanted));
        }
        &self.places
    }
}

/// A snapshot as a request holds it: counted within the worker, so that no two processors share the count.
#[allow(clippy::redundant_allocation, reason = "the outer count is the cheap one")]
pub type Held = Rc<Arc<Snapshot>>;

/// One data-path thread.
#[derive(Debug)]
pub struct Worker {
    /// Which.
    pub id: WorkerId,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// The one read buffer.
    pub scratch: Scratch,
    /// All alarms.
    pub timers: Rc<Timers>,
    /// Idle upstream connections of HTTP/1.
    pub pools: Pools,
    /// Shared upstream connections of HTTP/2.
    pub multiplexed: Multiplexed,
    /// Inbound connections are told to close (`Connection: close`).
    pub draining: Cell<bool>,
    /// Handshakes of TLS under way.
    pub handshakes: Handshakes,
    /// File descriptors that the process may have.
    pub descriptors: u64,
    rng: RefCell<fastrand::Rng>,
    current: RefCell<Held>,
    homes: RefCell<BTreeMap<ListenerId, Home>>,
}

/// The last snapshot that had a listener: connections of one that is gone are served by it to their end.
#[derive(Debug)]
struct Home {
    last: Held,
    guests: Rc<()>,
}

/// The right of a listener or a connection to the last snapshot that had its listener.
#[derive(Debug)]
pub struct Stay(#[expect(dead_code, reason = "it is only counted")] Rc<()>);

impl Worker {
    /// A worker with nothing in hand.
    pub fn new(id: WorkerId, shared: Arc<Shared>, descriptors: u64) -> Rc<Self> {
        let current = Rc::new(shared.snapshot.load_full());
        let multiplexed = Multiplexed::new(id, Arc::clone(&shared.metrics));
        let worker = Self {
            id,
            shared,
            scratch: Scratch::default(),
            timers: Timers::new(),
            pools: Pools::default(),
            multiplexed,
            draining: Cell::new(false),
            handshakes: Handshakes::default(),
            descriptors,
            rng: RefCell::new(fastrand::Rng::new()),
            current: RefCell::new(Rc::clone(&current)),
            homes: RefCell::default(),
        };
        worker.settle(&current);
        Rc::new(worker)
    }

    /// Whether a peer that was let in would not be any more, and so its connection ends; counts it.
    pub fn distrusts(&self, direction: Direction, proof: &Proof) -> bool {
        let Err(refusal) = proof.holds() else { return false };
        self.shared.metrics.downstream(direction).distrusted(self.id, refusal.label());
        true
    }

    /// The snapshot of now, to hold for a whole request. Costs no shared counter while nothing was reloaded.
    pub fn snapshot(&self) -> Held {
        let newest = self.shared.snapshot.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&current, &newest) {
            *current = Rc::new(Arc::clone(&newest));
            self.settle(&current);
        }
        Rc::clone(&current)
    }

    /// The snapshot for what comes through a listener: that of now, or the last one that had it.
    pub fn snapshot_for(&self, listener: ListenerId) -> Held {
        let newest = self.snapshot();
        if newest.serves(listener) {
            return newest;
        }
        self.homes.borrow().get(&listener).map_or(newest, |home| Rc::clone(&home.last))
    }

    /// Keeps the last snapshot that has this listener, for as long as what is answered.
    pub fn stay(&self, listener: ListenerId) -> Stay {
        let newest = self.snapshot();
        let mut homes = self.homes.borrow_mut();
        let home = homes.entry(listener).or_insert_with(|| Home { last: newest, guests: Rc::default() });
        Stay(Rc::clone(&home.guests))
    }

    /// Lets go of generations that no request has asked for since, and of those that nobody is left to ask for.
    pub fn tidy(&self) {
        let newest = self.snapshot();
        let needed =
            |id: &ListenerId, home: &mut Home| newest.serves(*id) || Rc::strong_count(&home.guests) > 1;
        self.homes.borrow_mut().retain(needed);
    }

    /// Connections of this listener are to end after the exchange in hand: the process drains, or the listener is gone.
    pub fn leaves(&self, listener: ListenerId) -> bool {
        self.draining.get() && listener.drains() || !self.current.borrow().serves(listener)
    }

    fn settle(&self, newest: &Held) {
        let mut homes = self.homes.borrow_mut();
        let captured = newest.listeners();
        for &listener in newest.sockets().iter().chain(&captured) {
            match homes.entry(listener) {
                Entry::Occupied(mut known) => known.get_mut().last = Rc::clone(newest),
                Entry::Vacant(free) => {
                    free.insert(Home { last: Rc::clone(newest), guests: Rc::default() });
                }
            }
        }
    }

    /// This thread's source of chance.
    pub fn rng<R>(&self, with: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
        with(&mut self.rng.borrow_mut())
    }
}
