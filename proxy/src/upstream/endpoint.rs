//! Who can be called, and how busy is it? Endpoints are shared by all workers; their load is exact across them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::condition::Condition;
use super::guard::Owed;
use crate::policy::balancer::{Ewma, Load};
use crate::policy::outcome::{Class, Outcome};
use crate::policy::patience::{Patience, Wait};

/// For how long a lesson about an endpoint's idle limit, or about what it speaks, holds.
const REMEMBERED: Duration = Duration::from_mins(5);
/// The shortest idle limit that is believed.
const SHORTEST_KEPT: Duration = Duration::from_millis(50);

/// One address of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Unique in the process; says which pool of a worker is its own.
    pub id: u64,
    in_flight: AtomicU32,
    latency: AtomicU64,
    latency_at: AtomicU64,
    patience: AtomicU64,
    /// When the first deadline ran out after its last good answer; 0: none has.
    silent_since: AtomicU64,
    kept_millis: AtomicU64,
    learned_at: AtomicU64,
    survived_millis: AtomicU64,
    /// When it has answered HTTP/2's preface with something else; 0: it has not.
    foreign_at: AtomicU64,
    /// What is known for and against it.
    pub condition: Condition,
    epoch: Instant,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Endpoint {
    /// An endpoint about which nothing is known.
    pub fn new(addr: SocketAddr, now: Instant) -> Arc<Self> {
        let [value, stamp] = Ewma::new(0).to_words();
        Arc::new(Self {
            addr,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new(value),
            latency_at: AtomicU64::new(stamp),
            patience: AtomicU64::new(Patience::UNKNOWN.to_word()),
            silent_since: AtomicU64::new(0),
            kept_millis: AtomicU64::new(u64::MAX),
            learned_at: AtomicU64::new(0),
            survived_millis: AtomicU64::new(0),
            foreign_at: AtomicU64::new(0),
            condition: Condition::new(now),
            epoch: now,
        })
    }

    /// Attempts that have begun and not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What it is busy with, and how long it is expected to take.
    pub fn load(&self) -> Load {
        let words = [self.latency.load(Ordering::Relaxed), self.latency_at.load(Ordering::Relaxed)];
        Load { in_flight: self.in_flight(), latency: Ewma::from_words(words) }
    }

    /// Nanoseconds since it was made, the clock of its [`Ewma`].
    pub fn stamp(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// An attempt ended. `took`: since the endpoint had all that it needed; `None`: it never had, so nothing is learned of
    /// how fast its answers are. Two workers that observe at once may lose one observation, never more.
    pub fn on_outcome(&self, outcome: &Outcome, took: Option<Duration>, now: Instant) {
        if matches!(outcome.class(), Class::Success | Class::Customer) {
            if self.silent_since.load(Ordering::Relaxed) != 0 {
                self.silent_since.store(0, Ordering::Relaxed);
            }
            let Some(took) = took else { return };
            self.patience.store(self.patience().on_answer(took).to_word(), Ordering::Relaxed);
        }
        let mut latency = self.load().latency;
        latency.on_outcome(outcome, took.unwrap_or_default(), self.stamp(now));
        let [value, stamp] = latency.to_words();
        self.latency.store(value, Ordering::Relaxed);
        self.latency_at.store(stamp, Ordering::Relaxed);
    }

    /// A deadline has run out on it after it was waited for so long, where the route allows so much; whether it had a fair
    /// chance.
    pub fn had_a_chance(&self, given: Duration, allowed: Duration, now: Instant) -> bool {
        let now = self.stamp(now).max(1);
        let found = self.silent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        let silent = Duration::from_nanos(now.saturating_sub(found.err().unwrap_or(now)));
        self.patience().is_over(Wait { given, allowed, silent })
    }

    fn patience(&self) -> Patience {
        Patience::from_word(self.patience.load(Ordering::Relaxed))
    }

    /// As far as is known, it speaks HTTP/1 alone.
    pub fn is_http1_only(&self, now: Instant) -> bool {
        let at = self.foreign_at.load(Ordering::Relaxed);
        at != 0 && u128::from(self.stamp(now).saturating_sub(at)) <= REMEMBERED.as_nanos()
    }

    /// It has answered HTTP/2's preface with something else. Forgotten after a while, as another process may be at its
    /// address then.
    pub fn on_foreign(&self, now: Instant) {
        self.foreign_at.store(self.stamp(now).max(1), Ordering::Relaxed);
    }

    /// What it speaks is to be found out anew.
    pub fn forget_version(&self) {
        self.foreign_at.store(0, Ordering::Relaxed);
    }

    /// For how long it keeps an idle connection, as far as its closes have taught us lately (REQUIREMENTS U5).
    pub fn kept_for(&self, now: Instant) -> Duration {
        let age = self.stamp(now).saturating_sub(self.learned_at.load(Ordering::Relaxed));
        if u128::from(age) > REMEMBERED.as_nanos() {
            return Duration::MAX;
        }
        Duration::from_millis(self.kept_millis.load(Ordering::Relaxed))
    }

    /// It closed a connection that had been idle for so long. Where others have lived longer it has no idle limit of
    /// that length, but was restarted, say: nothing is learned. A lesson is forgotten after a while, and none makes reuse
    /// impossible.
    pub fn closed_after(&self, idle: Duration, now: Instant) {
        // A tenth for the time that the close was on its way.
        if millis(idle) * 10 < self.survived_millis.load(Ordering::Relaxed) * 9 {
            return;
        }
        // Half of what was seen, so that no request is on its way when the close is.
        let kept = (idle / 2).max(SHORTEST_KEPT).min(self.kept_for(now));
        self.kept_millis.store(millis(kept), Ordering::Relaxed);
        self.learned_at.store(self.stamp(now), Ordering::Relaxed);
    }

    /// A connection that had been idle for so long was still good.
    pub fn kept_open_for(&self, idle: Duration) {
        let idle = millis(idle);
        if idle > self.survived_millis.load(Ordering::Relaxed) {
            self.survived_millis.fetch_max(idle, Ordering::Relaxed);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 10)
}

/// The right to call an endpoint once; counts as its load until dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<Endpoint>,
    /// What it still owes to those who learn from it.
    pub owes: Owed,
}

impl InFlight {
    /// Begins an attempt.
    pub fn new(endpoint: Arc<Endpoint>, owes: Owed) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint, owes }
    }
}

impl Deref for InFlight {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Self::Target {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn u_5_an_idle_limit_is_learned_from_closes_and_forgotten() {
        let start = Instant::now();
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), start);
        endpoint.kept_open_for(MS(198));
        endpoint.closed_after(MS(200), start);
        assert_eq!(endpoint.kept_for(start), MS(100));
        assert_eq!(endpoint.kept_for(start + REMEMBERED + MS(1)), Duration::MAX);
    }

    #[test]
    fn u_5_a_restart_teaches_no_idle_limit() {
        let start = Instant::now();
        let endpoint = Endpoint::new(([127, 0, 0, 1], 1).into(), start);
        endpoint.kept_open_for(MS(20_000));
        endpoint.closed_after(MS(300), start);
        assert!(endpoint.kept_for(start) > Duration::from_hours(1));
    }
}
