//! Does trouble stay in its compartment? Limits on what an upstream gets, who waits for a place, who goes without.

mod connections;
mod pacing;
mod rates;
mod requests;
mod shedding;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::draft::{Draft, answer};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::Peer;
use crate::support::rig::{Rig, Wishes};

/// An origin that answers nothing until it is let, and knows how many it has had at one time.
pub struct Gate {
    pub origin: Origin,
    most: Arc<AtomicUsize>,
    latch: Arc<Latch>,
}

/// Holds back who comes, until it is opened.
#[derive(Default)]
pub struct Latch(Mutex<bool>, Condvar);

impl Latch {
    pub fn wait(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_timeout_while(open, PATIENCE, |open| !*open).unwrap());
    }

    pub fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

impl Gate {
    pub fn closed() -> Self {
        let latch = Arc::<Latch>::default();
        let (most, inside) = (Arc::<AtomicUsize>::default(), AtomicUsize::new(0));
        let (gate, seen) = (Arc::clone(&latch), Arc::clone(&most));
        let origin = Origin::start(move |_, _| {
            seen.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.wait();
            // Long enough for those who come too early to be seen together.
            thread::sleep(Duration::from_millis(2));
            inside.fetch_sub(1, Ordering::SeqCst);
            Reply::Answer(answer(200))
        });
        Self { origin, most, latch }
    }

    pub fn open(&self) {
        self.latch.open();
    }

    /// The most that it had at one time.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A call whose answer nobody reads yet.
#[track_caller]
fn begin(to: SocketAddr, request: &Draft) -> Peer {
    let mut peer = Peer::connect(to);
    peer.send(request.octets());
    peer
}

/// A sidecar of two workers.
fn two_workers(documents: &[String]) -> Rig {
    Rig::with(&Wishes { workers: Some(2), ..Wishes::default() }, documents)
}
