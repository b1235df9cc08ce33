//! Does this attempt meet an injected fault? Chance by seed, so that an experiment can be repeated.
//!
//! **Question.** A rule of an experiment matches an attempt, a connect or a list of endpoints. Is the fault injected?
//!
//! **States and transitions.** *Running*, until its time is up ([`Why::Time`]) or somebody ends it ([`Why::Switch`]); an
//! ended experiment stays so. While it runs, the n-th match of a rule is faulted if the hash of seed, rule and n falls
//! below the rule's share, and fewer than `max_active` faults are at work.
//!
//! **Invariants.** The same seed and the same sequence of matches give the same faults, whatever other rules match in
//! between; the cap leaves out some but moves none. Never more than `max_active` at work. Once ended nothing is injected,
//! and [`Injector::is_on`] tells a delay or a throttle at work to stop.
//!
//! **Time.** Constant; hiding endpoints takes a look at each.
//!
//! **On reload.** An unchanged experiment goes on, a changed one begins anew.
//!
//! **Source.** Envoy's fault filter has the kinds and `max_active_faults`. Its faults lie above retries in Istio
//! (istio/istio#13705); these are asked for once an attempt, below retry and breaker, which so get to see them.

use std::time::Instant;

pub use outrigger_config::model::fault::{Experiment, Kind};

/// A running experiment.
#[derive(Debug, Clone)]
pub struct Injector {
    experiment: Experiment,
    ends: Option<Instant>,
    ended: Option<Why>,
    /// Matches so far, of each rule.
    matches: Vec<u64>,
    active: u32,
}

/// What is done about one match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The fault is injected; [`Injector::over`] must be told when it has done its work.
    Inject(Kind),
    /// It would be, but enough are at work.
    Capped,
    /// Nothing happens.
    Spared,
}

/// Why an experiment has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It lasted as long as it should.
    Time,
    /// Somebody ended it.
    Switch,
}

impl Injector {
    /// Starts an experiment.
    pub fn new(experiment: Experiment, now: Instant) -> Self {
        let (ends, matches) = (now.checked_add(experiment.lasts), vec![0; experiment.faults.len()]);
        Self { experiment, ends, ended: None, matches, active: 0 }
    }

    /// The rule at this place in [`Experiment::faults`] has matched: what now?
    pub fn decide(&mut self, rule: usize, now: Instant) -> Decision {
        let on = self.is_on(now);
        let (Some(&(share, kind)), Some(matches)) =
            (self.experiment.faults.get(rule), self.matches.get_mut(rule))
        else {
            return Decision::Spared;
        };
        let draw = draw(self.experiment.seed, [rule as u64, *matches]);
        *matches += 1;
        if !on || draw >= share {
            return Decision::Spared;
        }
        if self.active >= self.experiment.max_active {
            return Decision::Capped;
        }
        self.active += 1;
        Decision::Inject(kind)
    }

    /// An injected fault has done its work.
    pub fn over(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    /// Which endpoints, by their ids, are hidden now: the `count` with the least hashes, so that the same ones stay
    /// hidden when others come and go.
    pub fn hidden(&mut self, count: usize, endpoints: &[u64], now: Instant) -> Vec<u64> {
        let mut hidden = if self.is_on(now) { endpoints.to_vec() } else { Vec::new() };
        hidden.sort_by_key(|id| (mix(self.experiment.seed ^ mix(*id)), *id));
        hidden.truncate(count);
        hidden
    }

    /// Ends it all, for good.
    pub fn end(&mut self) {
        self.ended.get_or_insert(Why::Switch);
    }

    /// Whether faults at work may go on.
    pub fn is_on(&mut self, now: Instant) -> bool {
        if self.ends.is_some_and(|ends| now >= ends) {
            self.ended.get_or_insert(Why::Time);
        }
        self.ended.is_none()
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Option<Why> {
        self.ended
    }

    /// How many faults are at work.
    pub fn active(&self) -> u32 {
        self.active
    }
}

/// Uniform in `[0, 1)`.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn draw(seed: u64, of: [u64; 2]) -> f64 {
    let bits = of.into_iter().fold(mix(seed), |state, part| mix(state ^ mix(part)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood, 2014): fixed for ever, unlike the hash of a library.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests;
