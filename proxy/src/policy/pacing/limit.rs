//! How fast may the server be asked? What its answers made of its limit, and of our share in it.

use std::time::{Duration, Instant};

use super::told::{Heard, Quota};

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
pub(super) const MOST: f64 = 1e6;
/// What may be called at once after a pause, in seconds of the pace.
pub(super) const BURST: f64 = 0.05;
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
pub(super) const CUT: f64 = 0.8;
/// The limits of fewer requests tell nothing by what remains of them.
const COARSE: f64 = 4.0;
/// Resets are whole seconds, so what remains of a window that is shorter cannot be divided by them.
const PRECISE: f64 = 3.0;

/// What is known of a server's limit.
#[derive(Debug, Clone)]
pub(super) struct Paced {
    pub(super) quota: Option<Quota>,
    ceiling: f64,
    share: f64,
    brake: f64,
    is_window: bool,
    /// The longest reset of this quota, in seconds.
    longest: f64,
    /// Somebody had to wait since the share was last thought of.
    pub(super) wanted: bool,
    pub(super) held: Option<Held>,
    heard_at: Instant,
    steered_at: Instant,
    cut_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) since: Instant,
    pub(super) until: Instant,
}

impl Paced {
    pub(super) fn new(ceiling: f64, now: Instant) -> Self {
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

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let held = self.held.is_some_and(|held| now < held.until);
        !held && now.saturating_duration_since(self.heard_at) >= FORGET
    }

    pub(super) fn pace(&self, now: Instant) -> f64 {
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
    pub(super) fn burst(&self, now: Instant) -> f64 {
        if self.is_window {
            return 1.0;
        }
        let quarter = self.quota.map_or(f64::INFINITY, |quota| quota.limit / 4.0);
        (self.pace(now) * BURST).min(quarter).max(1.0)
    }

    pub(super) fn hear(&mut self, heard: &Heard, taken: f64, now: Instant) {
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
    pub(super) fn steer(&mut self, now: Instant) {
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
