//! How many requests at once can this upstream bear? A limit that finds out by itself, from how long answers take.
//!
//! **Question.** Below its capacity an upstream answers in its own time; above it, requests queue and answers take
//! longer in proportion. Where is that point now?
//!
//! **States and transitions.** Answers are gathered into windows of at least [`WINDOW`] and [`SAMPLES`] answers. Each
//! window's mean latency is held against the *baseline*, the mean when nothing queued:
//! - *Seeking*: `limit = limit · gradient + √limit`, where `gradient = tolerance · baseline / mean`, within ½ to 1, less
//!   half the share of answers that said "too much". The limit grows only if nearly all of it was in use (RFC 7661).
//! - *Probing*, at the start, every [`PROBE_EVERY`], and when the baseline must be wrong (answers are slow though the
//!   limit can fall no further, or faster than the baseline): the limit is halved and more until [`PROBE_SAMPLES`] requests that
//!   began since have ended. That empties any queue, so their mean is the new baseline. Then the limit is put back, and
//!   if the baseline fell by much the next probe comes after [`PROBE_AGAIN`]: half may not have been little enough. If
//!   all were turned away there is nothing to measure, and half becomes the limit.
//!
//! **Invariants.** `min <= limit <= max` and `min >= 1`, always. Against a server of `c` places that is kept busy, the
//! limit comes to rest between `c` and about twice that. A spell of slowness lowers it no further than `min` and, once
//! over, the limit returns: answers faster than the baseline call for a probe at once.
//!
//! **Time.** Constant; no timer: windows end with an answer. An idle upstream keeps its limit.
//!
//! **On reload.** The limit is put within the new bounds and sought on from there.
//!
//! **Source.** Netflix, "Performance Under Load" (2018), and Envoy's adaptive concurrency filter: the gradient and its
//! headroom of √limit. The probe that empties the queue is BBR's (Cardwell et al., 2016), at half the limit where
//! Envoy's falls to 3 and refuses the rest. The share of refusals is DCTCP's rule (RFC 8257 §3.3).

use std::time::{Duration, Instant};

use outrigger_config::model::AdaptiveLimit;

/// The limit before anything is known.
pub const FIRST: u32 = 32;
/// A window is at least so long.
pub const WINDOW: Duration = Duration::from_millis(100);
/// A window has at least so many answers.
pub const SAMPLES: u32 = 30;
/// A probe has at least so many.
pub const PROBE_SAMPLES: u32 = 60;
/// From one probe to the next, 15 % more or less.
pub const PROBE_EVERY: Duration = Duration::from_secs(30);
/// The same after a probe that found a queue.
pub const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// A latency so many times the baseline is still no queue, but the noise of a mean.
const TOLERANCE: f64 = 1.5;
/// The most that one window's latency takes off the limit.
const STEEPEST: f64 = 0.5;
/// A mean that is so many times lower than the baseline is no noise either.
const FARTHER: f64 = 1.25;
/// How much of a new mean goes into the smooth one that is compared so.
const SMOOTHING: f64 = 0.2;

/// How a request ended, as far as the limit cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer, so long after it was sent.
    Answered(Duration),
    /// Turned away or out of time: the upstream has too much.
    TooMuch,
}

/// The limit and what it is sought by.
#[derive(Debug, Clone)]
pub struct Limiter {
    config: AdaptiveLimit,
    /// Fractional, so that small limits can grow by parts.
    limit: f64,
    /// Seconds; infinite until the first probe has ended.
    baseline: f64,
    smooth: f64,
    probe_every: Duration,
    phase: Phase,
    window: Window,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Seeking { probe_at: Instant },
    Probing { since: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    answers: u32,
    too_much: u32,
    /// Seconds, of all answers.
    latency: f64,
    /// The most that were in flight.
    used: u32,
}

impl Limiter {
    /// Begins at [`FIRST`], if the bounds allow; `draw`, uniform in `[0, 1]`, keeps the probes of many limiters apart.
    pub fn new(config: AdaptiveLimit, now: Instant, draw: f64) -> Self {
        let config = in_order(config);
        let limit = f64::from(FIRST.clamp(config.min, config.max));
        Self {
            config,
            limit,
            baseline: f64::INFINITY,
            smooth: f64::INFINITY,
            probe_every: PROBE_EVERY.mul_f64(0.85 + 0.3 * draw),
            phase: Phase::Probing { since: now },
            window: Window::new(now),
        }
    }

    /// How many may be in flight now.
    pub fn limit(&self) -> u32 {
        let limit = match self.phase {
            Phase::Seeking { .. } => self.limit,
            // Less than half by the headroom, or a small limit would earn its headroom again at each probe.
            Phase::Probing { .. } => self.limit / 2.0 - self.limit.sqrt(),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within min and max")]
        let limit = limit as u32;
        limit.clamp(self.config.min, self.config.max)
    }

    /// A request has ended; `in_flight` counts it still. Says whether the limit was thought over.
    pub fn on_ended(&mut self, ended: Ended, in_flight: u32, now: Instant) -> bool {
        let begun = match ended {
            Ended::Answered(latency) => now.checked_sub(latency).unwrap_or(now),
            Ended::TooMuch => now,
        };
        if matches!(self.phase, Phase::Probing { since, .. } if begun < since) {
            return false;
        }
        self.window.add(ended, in_flight);
        let samples = if matches!(self.phase, Phase::Probing { .. }) { PROBE_SAMPLES } else { SAMPLES };
        let over = self.window.is_over(samples, now);
        if over {
            self.think(now);
            self.window = Window::new(now);
        }
        over
    }

    /// Takes over new bounds.
    pub fn reload(&mut self, config: AdaptiveLimit) {
        self.config = in_order(config);
        self.limit = self.bounded(self.limit);
    }

    fn think(&mut self, now: Instant) {
        self.phase = match (self.phase, self.window.mean()) {
            (Phase::Probing { .. }, None) => {
                self.limit = self.bounded(self.limit / 2.0);
                Phase::Probing { since: now }
            }
            (Phase::Probing { .. }, Some(mean)) => {
                let queued = mean * FARTHER < self.baseline;
                (self.baseline, self.smooth) = (mean, mean);
                Phase::Seeking { probe_at: now + if queued { PROBE_AGAIN } else { self.probe_every } }
            }
            (Phase::Seeking { probe_at }, mean) => {
                let astray = self.seek(mean);
                if astray || now >= probe_at {
                    Phase::Probing { since: now }
                } else {
                    Phase::Seeking { probe_at }
                }
            }
        };
    }

    /// One step; says whether the baseline must be wrong: answers are slow though the limit can fall no further, or
    /// they are faster than when nothing queued.
    fn seek(&mut self, mean: Option<f64>) -> bool {
        let mean = mean.unwrap_or(self.baseline);
        self.smooth += SMOOTHING * (mean - self.smooth);
        let gradient = (TOLERANCE * self.baseline / mean.max(f64::MIN_POSITIVE)).clamp(STEEPEST, 1.0);
        let kept = self.limit * gradient * (1.0 - self.window.share_too_much() / 2.0);
        let sought = self.bounded(kept + self.limit.sqrt());
        let slow = gradient <= STEEPEST && sought >= 0.95 * self.limit;
        let fast = self.smooth * FARTHER < self.baseline;
        let busy = f64::from(self.window.used) >= 0.9 * self.limit.floor();
        self.limit = if busy { sought } else { sought.min(self.limit) };
        slow || fast
    }

    fn bounded(&self, limit: f64) -> f64 {
        limit.clamp(f64::from(self.config.min), f64::from(self.config.max))
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { began: now, answers: 0, too_much: 0, latency: 0.0, used: 0 }
    }

    fn add(&mut self, ended: Ended, in_flight: u32) {
        self.used = self.used.max(in_flight);
        match ended {
            Ended::Answered(latency) => {
                self.answers += 1;
                self.latency += latency.as_secs_f64();
            }
            Ended::TooMuch => self.too_much += 1,
        }
    }

    fn is_over(&self, samples: u32, now: Instant) -> bool {
        self.answers + self.too_much >= samples && now.saturating_duration_since(self.began) >= WINDOW
    }

    /// Seconds; `None` if nothing was answered.
    fn mean(&self) -> Option<f64> {
        (self.answers > 0).then(|| self.latency / f64::from(self.answers))
    }

    fn share_too_much(&self) -> f64 {
        f64::from(self.too_much) / f64::from((self.answers + self.too_much).max(1))
    }
}

fn in_order(config: AdaptiveLimit) -> AdaptiveLimit {
    let min = config.min.max(1);
    AdaptiveLimit { min, max: config.max.max(min) }
}

#[cfg(test)]
mod tests;
