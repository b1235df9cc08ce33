//! What does one data-path thread own? Everything that a request touches without sharing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Timers;
use crate::http1::Scratch;
use crate::policy::settled::Settled;
use crate::snapshot::Snapshot;
use crate::telemetry::{AccessLog, Metrics, WorkerId};
use crate::upstream::pool::Pools;

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    /// The running configuration.
    pub snapshot: ArcSwap<Snapshot>,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// Requests whose retries are done with, for the inbound side (RT-10).
    pub settled: std::sync::Mutex<Settled>,
}

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
    /// Idle upstream connections.
    pub pools: Pools,
    /// Inbound connections are told to close (`Connection: close`).
    pub draining: Cell<bool>,
    rng: RefCell<fastrand::Rng>,
    current: RefCell<Rc<Arc<Snapshot>>>,
    log: RefCell<Option<(Arc<Snapshot>, Rc<AccessLog>)>>,
}

impl Worker {
    /// A worker with nothing in hand.
    pub fn new(id: WorkerId, shared: Arc<Shared>) -> Rc<Self> {
        let current = RefCell::new(Rc::new(shared.snapshot.load_full()));
        Rc::new(Self {
            id,
            shared,
            scratch: Scratch::default(),
            timers: Timers::new(),
            pools: Pools::default(),
            draining: Cell::new(false),
            rng: RefCell::new(fastrand::Rng::new()),
            current,
            log: RefCell::new(None),
        })
    }

    /// The snapshot of now, to hold for a whole request. Costs no shared counter while nothing was reloaded.
    pub fn snapshot(&self) -> Rc<Arc<Snapshot>> {
        let newest = self.shared.snapshot.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&current, &newest) {
            *current = Rc::new(Arc::clone(&newest));
        }
        Rc::clone(&current)
    }

    /// This thread's source of chance.
    pub fn rng<R>(&self, with: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
        with(&mut self.rng.borrow_mut())
    }
}
