//! How do workers keep to one pace? A lock that each request and each answer holds for some arithmetic.
//!
//! Where nobody wrote `pacing` there is none of this. Where somebody did, requests are to be put in one order over all
//! workers, so one of them has to be asked; what is held is shorter than a cache miss, and never across a wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outrigger_config::model::{self, Applied, Mode, QueueLimits};

use crate::policy::pacing::told::Heard;
use crate::policy::pacing::{Number, Pacer};
use crate::telemetry::{UpstreamMetrics, WorkerId};

/// The pace of one upstream, under one generation's policy. What was learned goes on to the next.
#[derive(Debug)]
pub struct Pacing {
    mode: Mode,
    queue: QueueLimits,
    pacer: Arc<Mutex<Pacer>>,
    metrics: Arc<UpstreamMetrics>,
}

/// A place in the order, until it is dropped; who goes without having been called leaves it to the next.
#[derive(Debug)]
pub struct Turn<'p> {
    pacing: &'p Pacing,
    number: Number,
    called: bool,
}

impl Pacing {
    /// As the policy has it, for no more than `capacity` that wait; what an `old` one has learned stays.
    pub(super) fn new(
        (policy, capacity): (Applied<model::Pacing>, usize),
        metrics: &Arc<UpstreamMetrics>,
        old: Option<&Self>,
        now: Instant,
    ) -> Self {
        let pacer = old.map_or_else(|| Arc::new(Mutex::new(Pacer::new(now))), |old| Arc::clone(&old.pacer));
        let queue = QueueLimits { capacity, timeout: policy.max_wait };
        Self { mode: policy.mode, queue, pacer, metrics: Arc::clone(metrics) }
    }

    /// A request comes. `None`: it may go at once. `Err`: it would wait longer than it may, at least so long. In a dry run
    /// all may go; what would have become of them is counted.
    pub fn enter(&self, worker: WorkerId, now: Instant) -> Result<Option<Turn<'_>>, Duration> {
        let drawn = self.pacer().draw(self.queue, now);
        let decision = match drawn {
            Ok((_, Duration::ZERO)) => "passed",
            Ok(_) => "waited",
            Err(_) => "denied",
        };
        self.metrics.paced(worker, decision, self.mode);
        match (drawn, self.mode) {
            (Ok((_, Duration::ZERO)), _) | (_, Mode::DryRun) => Ok(None),
            (Ok((number, _)), Mode::Enforce) => Ok(Some(Turn { pacing: self, number, called: false })),
            (Err(wait), Mode::Enforce) => Err(wait),
        }
    }

    /// How long a request may wait.
    pub fn patience(&self) -> Duration {
        self.queue.timeout
    }

    /// What the answer to a request that was `sent` then says; `again`: it was a retry, which nobody had counted.
    pub fn hear(&self, heard: &Heard, again: bool, sent: Instant, now: Instant) {
        let mut pacer = self.pacer();
        if again {
            pacer.spend();
        }
        pacer.hear(heard, sent, now);
        self.metrics.set_pace(pacer.pace(now));
    }

    /// Requests a second that pass now; `None`: as many as come. Shown from now on.
    pub fn show(&self, now: Instant) -> Option<f64> {
        let pace = self.pacer().pace(now);
        self.metrics.set_pace(pace);
        pace
    }

    /// The pacer is whole between any two statements, so a panic of another thread spoils nothing.
    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// How long it will still be; zero: it may go.
    pub fn wait(&mut self, now: Instant) -> Duration {
        let wait = self.pacing.pacer().until(self.number, now);
        self.called = wait.is_zero();
        wait
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.called {
            self.pacing.pacer().leave();
        }
    }
}
