//! When may the next request go to a server that limits its callers? As fast as it says, less what others use.
//!
//! **Question.** A server lets so many requests a second pass, tells its callers what is left, and answers 429 to the
//! rest. How many should be sent, so that hardly any is turned away and hardly any of the limit is left unused?
//!
//! **States and transitions.** *Free*: nothing was heard for [`FORGET`], everyone passes. What an answer says of a quota, a
//! 429, or a `Retry-After` makes it *paced*: requests draw numbers, and numbers are called at
//! `ceiling · share · brake` a second. Of these
//! - the *ceiling* is the rate that the server tells, less [`HEADROOM`]: `q/w` of `RateLimit-Policy`, or else the limit
//!   over the longest reset seen, or, where it only says 429, what it took of us;
//! - the *share* of several callers is found by each alone from how full the server's bucket is, which all of them see:
//!   it shrinks below [`LOW`] and grows above [`HIGH`], if somebody waited. A 429 cuts it, once in [`SETTLE`];
//! - the *brake* acts at once on a bucket below [`LOW`], so that what the share has yet to learn costs no 429s.
//!
//! A quota that is given for a while and then anew, a *window*, is known by its jump or by a reset too late for a bucket. It
//! is empty at its end by design. Where it lasts for some seconds, what remains is spread over those that are left, and
//! is too little if it is less than they are of the window; where it is shorter, only 429s say who sends too much. A `Retry-After` beyond a second, or without any quota, makes it *held*: only probes pass until then, for
//! [`LONGEST_HOLD`] at most, or until one of them is answered well.
//!
//! **Invariants.** Who waits is called in the order of coming. At least [`PROBE`] pass whatever the server says. In any `t`
//! seconds at a pace of `p` at most `p · t` and a twentieth of a second's pace more are called. A bucket that
//! is told to be empty for ever costs no more than `1/16` of the ceiling's whole. A ceiling that rises or falls takes the
//! pace along at once.
//!
//! **Time.** Constant a request and an answer; no timer. Who waits asks again when its time should have come.
//!
//! **On reload.** Nothing here is of the policy: how long a request may wait comes in with it.
//!
//! **Source.** draft-ietf-httpapi-ratelimit-headers (the fields, and that a client may pace itself by them); RFC 8257
//! (DCTCP: a queue's level that all senders see makes them share without loss; here the bucket is the queue); Chiu and
//! Jain 1989 (additive increase, multiplicative decrease); RFC 7661 (no growth that is not used).

pub mod told;

use std::time::{Duration, Instant};

use outrigger_config::model::QueueLimits;

use self::told::{Heard, Quota};

/// What was heard so long ago is forgotten.
pub const FORGET: Duration = Duration::from_secs(5);
/// Requests a second that always pass.
pub const PROBE: f64 = 1.0;
/// Held no longer, whatever `Retry-After` says.
pub const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// From one cut to the next: the 429s in between answer what was sent before the first.
pub const SETTLE: Duration = Duration::from_millis(250);
/// A bucket that is less full than this has too many callers.
pub const LOW: f64 = 0.25;
/// One that is fuller has room for more.
pub const HIGH: f64 = 0.35;

/// Of a rate that was told: its own rounding, and clocks that differ.
const HEADROOM: f64 = 0.02;
/// More than any sidecar sends; above it a number is absurd.
const MOST: f64 = 1e6;
/// What may be called at once after a pause, in seconds of the pace.
const BURST: f64 = 0.05;
/// The least that a bucket's level makes of a share; 429s may make less.
const LEAST_SHARE: f64 = 0.125;
/// The least that the brake leaves.
const LEAST_BRAKE: f64 = 0.5;
/// An empty bucket takes so much of a share in a second (as `e^-SHRINK`).
const SHRINK: f64 = 2.0;
/// A full one adds so much of the whole.
const GROW: f64 = 0.1;
/// What grows in a second, as a part of itself, where nothing tells how full the bucket is.
const GROW_BLINDLY: f64 = 0.05;
/// What a 429 leaves of a share.
const CUT: f64 = 0.8;
/// The limits of fewer requests tell nothing by what remains of them.
const COARSE: f64 = 4.0;
/// Resets are whole seconds, so what remains of a window that is shorter cannot be divided by them.
const PRECISE: f64 = 3.0;

/// Who goes when to one upstream.
#[derive(Debug, Clone)]
pub struct Pacer {
    paced: Option<Paced>,
    /// Numbers drawn.
    drawn: f64,
    /// Numbers called. Beyond those drawn: who comes now passes at once.
    called: f64,
    at: Instant,
    taken: Meter,
}

/// What is known of a server's limit.
#[derive(Debug, Clone)]
struct Paced {
    quota: Option<Quota>,
    ceiling: f64,
    share: f64,
    brake: f64,
    is_window: bool,
    /// The longest reset of this quota, in seconds.
    longest: f64,
    /// Somebody had to wait since the share was last thought of.
    wanted: bool,
    held: Option<Held>,
    heard_at: Instant,
    steered_at: Instant,
    cut_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    until: Instant,
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
            if wait > queue.timeout || number.0 - self.called > queue.capacity as f64 {
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

    /// A request was sent that drew no number: a retry. Those after it pay.
    pub fn spend(&mut self) {
        self.called -= 1.0;
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
        match &mut self.paced {
            Some(paced) => {
                paced.held = paced.held.filter(|held| now < held.until);
                let most = self.drawn + paced.burst(now);
                self.called = (self.called + paced.pace(now) * passed.as_secs_f64()).min(most);
            }
            None => self.called = self.drawn,
        }
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

impl Paced {
    fn new(ceiling: f64, now: Instant) -> Self {
        Self {
            quota: None,
            ceiling,
            share: 1.0,
            brake: 1.0,
            is_window: false,
            longest: 0.0,
            wanted: false,
            held: None,
            heard_at: now,
            steered_at: now,
            cut_at: None,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let held = self.held.is_some_and(|held| now < held.until);
        !held && now.saturating_duration_since(self.heard_at) >= FORGET
    }

    fn pace(&self, now: Instant) -> f64 {
        if self.held.is_some_and(|held| now < held.until) {
            return PROBE;
        }
        let whole = match &self.quota {
            Some(quota) if self.is_window && self.longest >= PRECISE => quota.remaining / quota.reset,
            _ => self.ceiling,
        };
        (whole * (1.0 - HEADROOM) * self.share * self.brake).clamp(PROBE, MOST)
    }

    /// What may be called at once, never more than a quarter of a small bucket; a window has nothing to spare.
    fn burst(&self, now: Instant) -> f64 {
        if self.is_window {
            return 1.0;
        }
        let quarter = self.quota.map_or(f64::INFINITY, |quota| quota.limit / 4.0);
        (self.pace(now) * BURST).min(quarter).max(1.0)
    }

    fn hear(&mut self, heard: &Heard, taken: f64, now: Instant) {
        if let Some(quota) = heard.quota {
            self.learn(quota, now);
        }
        if heard.refused {
            self.cut(taken, now);
        } else {
            self.steer(now);
        }
        self.heard_at = now;
        let wait = heard.wait.filter(|wait| self.quota.is_none() || *wait > Duration::from_secs(1));
        if let Some(wait) = wait {
            let until = now + wait.min(LONGEST_HOLD);
            let (since, until) = self.held.map_or((now, until), |held| (held.since, held.until.max(until)));
            self.held = Some(Held { since, until });
        }
    }

    /// What the server tells of its limit.
    fn learn(&mut self, told: Quota, now: Instant) {
        match self.quota.filter(|quota| quota.is_same(&told)) {
            None => {
                (self.is_window, self.longest) = (false, told.reset);
                self.share = self.share.min(1.0);
            }
            Some(last) => {
                let passed = now.saturating_duration_since(self.heard_at).as_secs_f64();
                let refilled = self.ceiling * passed + told.limit / 4.0;
                self.is_window |= told.remaining - last.remaining > refilled;
                self.longest = self.longest.max(told.reset);
            }
        }
        let ceiling = told.rate.unwrap_or(told.limit / self.longest).clamp(PROBE, MOST);
        self.is_window |= told.reset > (told.limit - told.remaining) / ceiling + 1.0;
        (self.ceiling, self.quota) = (ceiling, Some(told));
        self.brake = self.level().map_or(1.0, |level| (level / LOW).clamp(LEAST_BRAKE, 1.0));
    }

    /// How full the bucket is, 0 to 1, if that tells anything. A window that is as full as its age demands is in between
    /// [`LOW`] and [`HIGH`].
    fn level(&self) -> Option<f64> {
        let quota = self.quota.filter(|quota| quota.limit >= COARSE)?;
        let level = quota.remaining / quota.limit;
        match (self.is_window, self.longest >= PRECISE) {
            (false, _) => Some(level),
            (true, true) => Some((level * self.longest / quota.reset * f64::midpoint(LOW, HIGH)).min(1.0)),
            (true, false) => None,
        }
    }

    /// The server has taken a request.
    fn steer(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.steered_at).as_secs_f64().min(1.0);
        self.steered_at = now;
        let wanted = std::mem::take(&mut self.wanted);
        // A rate that was told is nobody's to exceed; one that was guessed may be too low.
        let told = self.is_window || self.quota.is_some_and(|quota| quota.rate.is_some());
        let most = if told { 1.0 } else { MOST / self.ceiling };
        match self.level() {
            Some(level) if level < LOW => {
                let shrunk = self.share * (-SHRINK * (1.0 - level / LOW) * passed).exp();
                self.share = shrunk.max(LEAST_SHARE.min(self.share));
            }
            Some(level) if level > HIGH && wanted => {
                let step = GROW * self.share.max(1.0) * passed;
                let grown = self.share + step * (level - HIGH) / (1.0 - HIGH);
                self.share = grown.min(most);
            }
            None if wanted => self.share = (self.share * (1.0 + GROW_BLINDLY * passed)).min(most),
            Some(_) | None => {}
        }
    }

    /// The server has turned a request away.
    fn cut(&mut self, taken: f64, now: Instant) {
        if self.cut_at.is_some_and(|at| now.saturating_duration_since(at) < SETTLE) {
            return;
        }
        (self.cut_at, self.steered_at) = (Some(now), now);
        if self.quota.is_none() {
            self.ceiling = taken.min(self.ceiling * self.share);
            self.share = 1.0;
        }
        self.share = (self.share * CUT).max(PROBE / self.ceiling);
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
