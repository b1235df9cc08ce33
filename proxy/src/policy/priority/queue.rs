//! Who waits, and who is next? A bounded queue with a timeout, the worthiest first.
//!
//! **Question.** All places are taken. Who may wait for one, for how long, and who gets it?
//!
//! **States and transitions.** A line for each [`Class`]. A request joins the end of its line; it leaves it by being
//! *next*, *expired* after `timeout`, *cancelled* since its caller has gone, *emptied* with all others since nobody is let
//! in any more, or *displaced*: if the queue is full, a newcomer takes the place of the oldest in the lowest line below its
//! own. The next one is of the highest line that fits; within a line the oldest, or the newest once the oldest has waited a
//! [`STANDS`]th of the timeout.
//!
//! **Invariants.** None joins without room: who calls knows how much there is, since several queues may share it. None
//! waits longer than `timeout`, the least class neither, which may well get nothing else; each leaves once, by one way. None
//! is passed over for one of a lower class that needs the same place.
//!
//! **Time.** Constant for each step; `cancel` looks through one line. The caller wakes up at [`Queue::next_wakeup`].
//!
//! **On reload.** [`Queue::reload`]: a new timeout holds for those who wait, too.
//!
//! **Source.** Adaptive LIFO: B. Maurer, "Fail at Scale" (ACM Queue 13:8, 2015). First come, first served is fair, and
//! kept while the queue is a buffer for bursts. Once it stands, it would make every request wait nearly the whole
//! timeout before it is served, to callers who are about to give up; the newest first serves the same number in no
//! time, and lets expire those who would have had the least use of an answer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use outrigger_config::model::priority::Class;

/// A queue stands once its oldest has waited this part of the timeout.
pub const STANDS: u32 = 10;

/// Requests that wait for a place; `T` is what wakes one up.
#[derive(Debug)]
pub struct Queue<T> {
    timeout: Duration,
    lines: [VecDeque<Waiting<T>>; Class::ALL.len()],
    tickets: u64,
}

/// One place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    class: Class,
    number: u64,
}

/// What became of one that wanted to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Enqueued<T> {
    /// It waits.
    Waits(Ticket),
    /// It waits in place of another, which must be turned away.
    Displaced(Ticket, T),
    /// There is no room for it.
    Refused(T),
}

#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    since: Instant,
    item: T,
}

impl<T> Queue<T> {
    /// An empty queue, in which one may wait so long.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, lines: [const { VecDeque::new() }; Class::ALL.len()], tickets: 0 }
    }

    /// Lets one wait, if there is `room` or one of less worth.
    pub fn enqueue(&mut self, class: Class, item: T, room: bool, now: Instant) -> Enqueued<T> {
        let displaced = if room {
            None
        } else {
            match self.displaceable(class, now) {
                Some(displaced) => Some(displaced),
                None => return Enqueued::Refused(item),
            }
        };
        self.tickets += 1;
        let ticket = Ticket { class, number: self.tickets };
        self.lines[class as usize].push_back(Waiting { number: ticket.number, since: now, item });
        match displaced {
            Some(displaced) => Enqueued::Displaced(ticket, displaced),
            None => Enqueued::Waits(ticket),
        }
    }

    /// Who gets a place; `enter` takes one for a class, if it may have one.
    pub fn next(&mut self, now: Instant, mut enter: impl FnMut(Class) -> bool) -> Option<T> {
        for class in Class::ALL {
            let stands = self.stands(class, now);
            let timeout = self.timeout;
            let line = &mut self.lines[class as usize];
            let candidate = if stands { line.back() } else { line.front() };
            let in_time = |waiting: &Waiting<T>| now.saturating_duration_since(waiting.since) < timeout;
            if candidate.is_some_and(in_time) && enter(class) {
                let waiting = if stands { line.pop_back() } else { line.pop_front() };
                return waiting.map(|waiting| waiting.item);
            }
        }
        None
    }

    /// One whose time is over, until there is none.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let timeout = self.timeout;
        let is_over = |waiting: &Waiting<T>| now.saturating_duration_since(waiting.since) >= timeout;
        let line = self.lines.iter_mut().find(|line| line.front().is_some_and(is_over))?;
        line.pop_front().map(|waiting| waiting.item)
    }

    /// Takes out one whose caller has gone, if it still waits.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let line = &mut self.lines[ticket.class as usize];
        let at = line.binary_search_by_key(&ticket.number, |waiting| waiting.number).ok()?;
        line.remove(at).map(|waiting| waiting.item)
    }

    /// Takes out one for somebody of `class` who goes before all of them: the oldest of the lowest line, if it is not worth
    /// more.
    pub fn give_way(&mut self, class: Class) -> Option<T> {
        let lowest = self.lowest().filter(|lowest| *lowest >= class)?;
        self.lines[lowest as usize].pop_front().map(|waiting| waiting.item)
    }

    /// Takes out all.
    pub fn empty(&mut self) -> impl Iterator<Item = T> {
        self.lines.iter_mut().flat_map(|line| line.drain(..)).map(|waiting| waiting.item)
    }

    /// When the next one expires.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let oldest = self.lines.iter().filter_map(|line| line.front()).map(|waiting| waiting.since).min()?;
        oldest.checked_add(self.timeout)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum()
    }

    /// Whether nobody waits; who arrives then need not either, if there is a place.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over a new timeout.
    pub fn reload(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Puts out the oldest of the lowest line, for one of a higher class, or of the same if the newest goes first.
    fn displaceable(&mut self, class: Class, now: Instant) -> Option<T> {
        let lowest = self.lowest()?;
        let yields = lowest > class || lowest == class && self.stands(class, now);
        let line = &mut self.lines[lowest as usize];
        if yields { line.pop_front().map(|waiting| waiting.item) } else { None }
    }

    /// The least class of which somebody waits.
    fn lowest(&self) -> Option<Class> {
        Class::ALL.into_iter().rev().find(|class| !self.lines[*class as usize].is_empty())
    }

    /// Whether a line stands, so that its newest goes first.
    fn stands(&self, class: Class, now: Instant) -> bool {
        let oldest = self.lines[class as usize].front();
        oldest.is_some_and(|oldest| now.saturating_duration_since(oldest.since) >= self.timeout / STANDS)
    }
}
