//! When may the next request go to a server that limits its callers? As fast as it says, less what others use.
//!
//! **Question.** A server lets so many requests a second pass, tells its callers what is left, and answers 429 to the
//! rest. How many should be sent, so that hardly any is turned away and hardly any of the limit is left unused?
//!
//! **States and transitions.** *Free*: nothing was heard for [`FORGET`], everyone passes. What an answer says of a quota,
//! a 429, or a `Retry-After` makes it *paced*: requests draw numbers, and numbers are called at
//! `ceiling · share · brake` a second. Of these
//! - the *ceiling* is the rate that the server tells, less a fiftieth: `q/w` of `RateLimit-Policy`, or else the limit
//!   over the longest reset seen, or, where it only says 429, what it took of us;
//! - the *share* of several callers is found by each alone from how full the server's bucket is, which all of them see:
//!   it shrinks below [`LOW`] and grows above [`HIGH`], if somebody waited. A 429 cuts it, once in [`SETTLE`];
//! - the *brake* acts at once on a bucket below [`LOW`], so that what the share has yet to learn costs no 429s.
//!
//! A quota that is given for a while and then anew, a *window*, is known by its jump or by a reset too late for a bucket.
//! It is empty at its end by design. Where it lasts for some seconds, what remains is spread over those that are left,
//! and is too little if it is a smaller part than they are; where it is shorter, only 429s say who sends too much. A
//! `Retry-After` beyond a second, or without any quota, makes it *held*: only probes pass until then, for
//! [`LONGEST_HOLD`] at most, or until one of them is answered well.
//!
//! **Invariants.** Who waits is called in the order of coming. At least [`PROBE`] pass whatever the server says. In any `t`
//! seconds at a pace of `p` at most `p · t` and a twentieth of a second's pace more are called, retries included. A bucket
//! that is told to be empty for ever leaves a sixteenth of the ceiling. A ceiling that moves takes the pace along at
//! once. Without any fields some 429s are the price of knowing, and with a bucket of one or two and several callers most
//! of the limit is: there is nothing to see in it.
//!
//! **Time.** Constant a request and an answer; no timer. Who waits asks again when its time should have come.
//!
//! **On reload.** Nothing here is of the policy: how long a request may wait comes in with it.
//!
//! **Source.** draft-ietf-httpapi-ratelimit-headers (the fields, and that a client may pace itself by them); RFC 8257
//! (DCTCP: a queue's level that all senders see makes them share without loss; here the bucket is the queue); Chiu and
//! Jain 1989 (additive increase, multiplicative decrease); RFC 7661 (no growth that is not used).

pub mod limit;
pub mod told;

use std::time::{Duration, Instant};

use outrigger_config::model::QueueLimits;

use self::limit::{BURST, PROBE, Paced};
#[cfg(doc)]
use self::limit::{FORGET, HIGH, LONGEST_HOLD, LOW, SETTLE};
use self::told::Heard;

/// Who goes when to one upstream.
#[derive(Debug, Clone)]
pub struct Pacer {
    paced: Option<Paced>,
    /// Numbers drawn.
    drawn: f64,
    /// Numbers called. Beyond those drawn: who comes now passes at once.
    called: f64,
    /// Retries sent, and not yet paid for.
    owed: f64,
    at: Instant,
    taken: Meter,
}

/// The number that one who waits has drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(f64);

impl Pacer {
    /// Nothing heard yet.
    pub fn new(now: Instant) -> Self {
        Self {
            paced: None,
            drawn: 0.0,
            called: 0.0,
            owed: 0.0,
            at: now,
            taken: Meter { level: 0.0, began: now, at: now },
        }
    }

    /// Draws a number; with it, how long it will be until it is called. `Err`: longer than the queue allows, or as many wait
    /// as may, so none was drawn.
    pub fn draw(&mut self, queue: QueueLimits, now: Instant) -> Result<(Number, Duration), Duration> {
        self.advance(now);
        let number = Number(self.drawn + 1.0);
        let wait = self.wait(number, now);
        if let Some(paced) = &mut self.paced {
            paced.wanted |= !wait.is_zero();
            let capacity = u32::try_from(queue.capacity).unwrap_or(u32::MAX);
            if wait > queue.timeout || number.0 - self.called > f64::from(capacity) {
                return Err(paced.held.map_or(wait, |held| wait.max(held.until - now)));
            }
        }
        self.drawn = number.0;
        Ok((number, wait))
    }

    /// How long it will be until this number is called; zero: it has been.
    pub fn until(&mut self, number: Number, now: Instant) -> Duration {
        self.advance(now);
        self.wait(number, now)
    }

    /// One that waited goes away; its turn is for the next.
    pub fn leave(&mut self) {
        self.called += 1.0;
    }

    /// A request was sent that drew no number: a retry. Those after it pay, with half of the pace at most.
    pub fn spend(&mut self) {
        self.owed += 1.0;
    }

    /// What an answer to a request that was `sent` then says.
    pub fn hear(&mut self, heard: &Heard, sent: Instant, now: Instant) {
        self.advance(now);
        if !heard.refused {
            self.taken.add(now);
        }
        let first = self.paced.is_none();
        if first && heard.says_nothing() {
            return;
        }
        let (drawn, taken) = (self.drawn, self.taken.rate(now).max(PROBE));
        let paced = self.paced.get_or_insert_with(|| Paced::new(taken, now));
        if !heard.refused && paced.held.is_some_and(|held| sent > held.since) {
            paced.held = None;
        }
        if heard.says_nothing() {
            if paced.quota.is_none() {
                paced.steer(now);
            }
            return;
        }
        paced.hear(heard, taken, now);
        if first {
            self.called = drawn + paced.burst(now);
        }
    }

    /// Requests a second that pass now; `None`: as many as come.
    pub fn pace(&mut self, now: Instant) -> Option<f64> {
        self.advance(now);
        self.paced.as_ref().map(|paced| paced.pace(now))
    }

    /// Calls numbers, as time goes by.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        if self.paced.as_ref().is_some_and(|paced| paced.is_over(now)) {
            self.paced = None;
        }
        let Some(paced) = &mut self.paced else {
            (self.called, self.owed) = (self.drawn, 0.0);
            return;
        };
        paced.held = paced.held.filter(|held| now < held.until);
        let (pace, seconds) = (paced.pace(now), passed.as_secs_f64());
        let paid = self.owed.min(pace).min((pace - PROBE) * seconds / 2.0);
        self.owed = self.owed.min(pace) - paid;
        self.called = (self.called + pace * seconds - paid).min(self.drawn + paced.burst(now));
    }

    fn wait(&self, number: Number, now: Instant) -> Duration {
        match &self.paced {
            Some(paced) if number.0 > self.called => {
                Duration::from_secs_f64((number.0 - self.called) / paced.pace(now))
            }
            _ => Duration::ZERO,
        }
    }
}

/// How many requests a second the server takes of us: those of the last second, the older ones for less.
#[derive(Debug, Clone, Copy)]
struct Meter {
    level: f64,
    began: Instant,
    at: Instant,
}

impl Meter {
    fn rate(&self, now: Instant) -> f64 {
        // What a level that began at nothing has not seen yet is taken to be like what it saw.
        let seen = 1.0 - (-now.saturating_duration_since(self.began).as_secs_f64()).exp();
        self.level(now) / seen.max(BURST)
    }

    fn level(&self, now: Instant) -> f64 {
        self.level * (-now.saturating_duration_since(self.at).as_secs_f64()).exp()
    }

    fn add(&mut self, now: Instant) {
        if self.level(now) < BURST {
            *self = Self { level: 0.0, began: now, at: now };
        }
        (self.level, self.at) = (self.level(now) + 1.0, self.at.max(now));
    }
}

#[cfg(test)]
mod tests;
