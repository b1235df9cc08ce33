//! Is there a place? A limit that is exact over all workers, and the queue before it.
//!
//! Who finds a place and an empty queue takes it with one compare-exchange and gives it back with one subtraction. The
//! lock is for the others: those who wait, those who leave while somebody waits, and limits that adapt themselves.
//!
//! Who joins the queue says so (`waiting`) before it looks for a place once more; who leaves gives the place back before
//! it looks whether somebody waits. Both in one total order, so one of the two sees the other, and no place is left
//! empty while somebody waits for it.
//!
//! Several limits may have one [`Crowd`]: then their queues together are no longer than each may be.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use outrigger_config::model::priority::{Class, Shares};
use outrigger_config::model::{AdaptiveLimit, Applied, Mode, QueueLimits, UpstreamLimits};
use tokio::sync::oneshot;

use super::crowd::{Crowd, On};
use super::guard::Refusal;
use crate::policy::concurrency::{Ended, Limiter};
use crate::policy::priority::cap;
use crate::policy::priority::queue::{Enqueued, Queue, Ticket};
use crate::telemetry::{Fill, Fills};

/// What a policy says of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The most that may be inside; `None`: as many as come.
    pub max: Option<u32>,
    /// Fewer, as latency demands.
    pub adaptive: Option<Applied<AdaptiveLimit>>,
    /// How much of it each class may fill.
    pub shares: Shares,
    /// Who may wait.
    pub queue: QueueLimits,
}

impl Rules {
    /// No limit.
    pub const NONE: Self = Self {
        max: None,
        adaptive: None,
        shares: Shares::ALL,
        queue: QueueLimits { capacity: 0, timeout: Duration::ZERO },
    };

    /// On the requests of an upstream.
    pub fn of_requests(limits: &UpstreamLimits) -> Self {
        Self {
            max: limits.max_requests,
            adaptive: limits.adaptive,
            shares: limits.shares,
            queue: limits.queue(),
        }
    }

    /// On the connections of an upstream.
    pub fn of_connections(limits: &UpstreamLimits) -> Self {
        Self { max: limits.max_connections, adaptive: None, shares: Shares::ALL, queue: limits.queue() }
    }

    fn limit_anything(&self) -> bool {
        self.max.is_some() || self.adaptive.is_some()
    }
}

/// The limit under new rules, if they are any: the one that its crowd knows, with whoever is inside, or a new one. One that
/// there was stays although there is no limit any more, and lets everybody in: whoever is inside still would else be
/// unknown to the next limit.
pub fn next(crowd: &Arc<Crowd>, on: On, rules: Rules, shown: &Fills, now: Instant) -> Option<Arc<Bulkhead>> {
    let draw = fastrand::f64();
    let known = crowd.limit(on).inspect(|known| known.reconfigure(rules, now, draw));
    let new = || Bulkhead::new(rules, Arc::clone(crowd), now, draw);
    let limit = known.or_else(|| rules.limit_anything().then(new))?;
    crowd.meet(on, &limit);
    shown.show(&limit.fill);
    Some(limit)
}

/// A limit with its queue.
#[derive(Debug)]
pub struct Bulkhead {
    fill: Arc<Fill>,
    /// Of whom all in the queue are.
    crowd: Arc<Crowd>,
    /// What each class may fill, at the limit of the moment.
    caps: [AtomicU32; Class::ALL.len()],
    adapts: AtomicBool,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    rules: Rules,
    queue: Queue<oneshot::Sender<Result<Permit, Turned>>>,
    limiter: Option<Limiter>,
}

/// Why one that waited goes without a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// There is no room in the queue, or somebody worthier has it.
    Full,
    /// It has waited for as long as it may.
    Late,
    /// What it would be let in to takes nobody.
    Shut(Refusal),
}

/// What one that comes gets.
#[derive(Debug)]
pub enum Entry {
    /// A place.
    Inside(Permit),
    /// A place in the queue.
    Waits(Waiting),
    /// Nothing.
    Refused,
}

impl Bulkhead {
    /// Nobody inside.
    pub fn new(rules: Rules, crowd: Arc<Crowd>, now: Instant, draw: f64) -> Arc<Self> {
        let limiter = rules.adaptive.map(|adaptive| Limiter::new(adaptive.policy, now, draw));
        let line = Line { rules, queue: Queue::new(rules.queue.timeout), limiter };
        let bulkhead = Self {
            fill: Arc::default(),
            crowd,
            caps: Default::default(),
            adapts: AtomicBool::new(false),
            line: Mutex::new(line),
        };
        bulkhead.set_caps(&bulkhead.line());
        Arc::new(bulkhead)
    }

    /// Takes over new rules. Who is inside stays; who waits above a smaller queue does, too.
    pub fn reconfigure(self: &Arc<Self>, rules: Rules, now: Instant, draw: f64) {
        let mut line = self.line();
        match (&mut line.limiter, rules.adaptive) {
            (Some(limiter), Some(adaptive)) => limiter.reload(adaptive.policy),
            (limiter, adaptive) => {
                *limiter = adaptive.map(|adaptive| Limiter::new(adaptive.policy, now, draw));
            }
        }
        line.queue.reload(rules.queue.timeout);
        line.rules = rules;
        self.set_caps(&line);
        self.hand_out(&mut line, now);
    }

    /// A place, or one in the queue, in which nobody stays beyond [`Waiting::until`]. If there is no room for one more, who
    /// has been let in to `outer` goes before those who wait for that.
    pub fn enter(self: &Arc<Self>, class: Class, outer: Option<&Self>) -> Entry {
        if let Some(permit) = self.try_enter(class) {
            return Entry::Inside(permit);
        }
        let now = crate::clock::now();
        let mut line = self.line();
        // What is free after this is of no use to any of those who wait.
        self.hand_out(&mut line, now);
        if self.take(class) {
            return Entry::Inside(Permit(Arc::clone(self)));
        }
        let (sender, verdict) = oneshot::channel();
        let room = self.crowd.join(line.rules.queue.capacity)
            || outer.is_some_and(|outer| Arc::ptr_eq(&outer.crowd, &self.crowd) && outer.give_way(class));
        let ticket = match line.queue.enqueue(class, sender, room, now) {
            Enqueued::Waits(ticket) => ticket,
            Enqueued::Displaced(ticket, displaced) => {
                let _ = displaced.send(Err(Turned::Full));
                ticket
            }
            Enqueued::Refused(_) => return Entry::Refused,
        };
        let until = now + line.rules.queue.timeout;
        self.count(&line);
        self.hand_out(&mut line, now);
        drop(line);
        let mut waiting = Waiting { bulkhead: Arc::clone(self), ticket, verdict, until };
        match waiting.verdict.try_recv() {
            Ok(Ok(permit)) => Entry::Inside(permit),
            Ok(Err(_)) => Entry::Refused,
            Err(_) => Entry::Waits(waiting),
        }
    }

    /// A place at once or not at all; does not pass those who wait.
    pub fn try_enter(self: &Arc<Self>, class: Class) -> Option<Permit> {
        let free = !self.is_wanted() && self.take(class);
        free.then(|| Permit(Arc::clone(self)))
    }

    /// Somebody waits.
    pub fn is_wanted(&self) -> bool {
        self.fill.waiting.load(Ordering::SeqCst) > 0
    }

    /// Nobody is let in any more: those who wait need not. Who joins after this knows, by the lock, why.
    pub fn shut(&self, why: Refusal) {
        let mut line = self.line();
        for waiting in line.queue.empty() {
            let _ = waiting.send(Err(Turned::Shut(why)));
        }
        self.count(&line);
    }

    /// Its row in the metrics is this one no more.
    pub fn hide_from(&self, shown: &Fills) {
        shown.hide(&self.fill);
    }

    /// Turns away one who waits, and leaves its room in the crowd to somebody of `class`.
    fn give_way(&self, class: Class) -> bool {
        let mut line = self.line();
        let Some(displaced) = line.queue.give_way(class) else { return false };
        let _ = displaced.send(Err(Turned::Full));
        self.crowd.relieve();
        self.count(&line);
        true
    }

    /// How much of it is taken, 0 to 1.
    pub fn pressure(&self) -> f64 {
        // The limit that is shown may be that of a dry run.
        let limit = &self.caps[Class::Critical as usize];
        let [inside, limit] = [&self.fill.inside, limit].map(|n| f64::from(n.load(Ordering::Relaxed)));
        (inside / limit.max(1.0)).min(1.0)
    }

    /// One place, if the class may have it.
    fn take(&self, class: Class) -> bool {
        let cap = self.caps[class as usize].load(Ordering::Relaxed);
        let taken = |inside: u32| (inside < cap).then(|| inside + 1);
        self.fill.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).is_ok()
    }

    fn leave(self: &Arc<Self>) {
        self.fill.inside.fetch_sub(1, Ordering::SeqCst);
        if self.is_wanted() {
            self.hand_out(&mut self.line(), crate::clock::now());
        }
    }

    /// Gives free places to those who wait.
    fn hand_out(self: &Arc<Self>, line: &mut Line, now: Instant) {
        while let Some(late) = line.queue.expire(now) {
            let _ = late.send(Err(Turned::Late));
        }
        while let Some(next) = line.queue.next(now, |class| self.take(class)) {
            // Who waits is out of the queue before it stops to listen, so it hears this.
            let _ = next.send(Ok(Permit(Arc::clone(self))));
        }
        self.count(line);
    }

    /// How many wait now. Who came has joined the crowd; who left leaves it here.
    fn count(&self, line: &Line) {
        let waiting = u32::try_from(line.queue.len()).unwrap_or(u32::MAX);
        let before = self.fill.waiting.swap(waiting, Ordering::SeqCst);
        self.crowd.leave(before.saturating_sub(waiting) as usize);
    }

    fn set_caps(&self, line: &Line) {
        let max = line.rules.max.unwrap_or(u32::MAX);
        let adapted = line.limiter.as_ref().map_or(max, |limiter| limiter.limit().min(max));
        // What a dry run would allow is shown, and allowed is what is written.
        let acts = line.rules.adaptive.is_none_or(|adaptive| adaptive.mode == Mode::Enforce);
        let limit = if acts { adapted } else { max };
        let shown = if line.rules.limit_anything() { adapted } else { 0 };
        self.fill.limit.store(shown, Ordering::Relaxed);
        self.adapts.store(line.limiter.is_some(), Ordering::Relaxed);
        for (class, slot) in Class::ALL.into_iter().zip(&self.caps) {
            slot.store(cap(&line.rules.shares, class, limit), Ordering::Relaxed);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside, until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Bulkhead>);

impl Permit {
    /// Whether the limit wants to know how it went.
    pub fn adapts(&self) -> bool {
        self.0.adapts.load(Ordering::Relaxed)
    }

    /// How it went, for a limit that adapts itself.
    pub fn ended(&self, ended: Ended, now: Instant) {
        let mut line = self.0.line();
        let inside = self.0.fill.inside.load(Ordering::Relaxed);
        let Some(limiter) = &mut line.limiter else { return };
        if limiter.on_ended(ended, inside, now) {
            self.0.set_caps(&line);
            self.0.hand_out(&mut line, now);
        }
    }

    /// Somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }

    /// Within which it is a place.
    pub fn limit(&self) -> Arc<Bulkhead> {
        Arc::clone(&self.0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A place in the queue; dropped, it is somebody else's.
#[derive(Debug)]
pub struct Waiting {
    bulkhead: Arc<Bulkhead>,
    ticket: Ticket,
    verdict: oneshot::Receiver<Result<Permit, Turned>>,
    /// When its time is over.
    pub until: Instant,
}

impl Future for Waiting {
    type Output = Result<Permit, Turned>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody drops a sender without a word.
        Pin::new(&mut self.verdict).poll(cx).map(|verdict| verdict.unwrap_or(Err(Turned::Full)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = self.bulkhead.line();
        let gone = line.queue.cancel(self.ticket);
        self.bulkhead.count(&line);
        drop((line, gone));
    }
}

#[cfg(test)]
mod tests;
