//! How long will this endpoint take? A moving average that jumps to a peak at once and forgets it slowly.
//!
//! **Question.** What latency to expect of an endpoint, so that one that turns slow is left alone within a request or
//! two, and one that recovers is noticed without anybody asking?
//!
//! **States and transitions.** One value and the time of its last sample. A sample above the value replaces it; one
//! below is averaged in, with a weight that grows with the time since the last (`1 - e^(-t/10 s)`). Unobserved, the
//! value decays towards zero, so an endpoint that was avoided is tried again. An answer 429 is scored as a slow one
//! (BP-3), a failure is averaged in as a slow one: neither may attract traffic by being fast, and a failing endpoint
//! costs its latency and its failure rate times five seconds.
//!
//! **Invariants.** The value is finite and not negative. No answer but a success or a customer error lowers it below
//! what its decay alone would.
//!
//! **Time.** Nanoseconds since an epoch that the owner chooses and never changes; constant time, one `exp`. A `now`
//! before the last sample counts as that sample's.
//!
//! **On reload.** Kept with its endpoint.
//!
//! **Source.** Finagle's `PeakEwma` (decay 10 s), Linkerd's default of 30 ms for the unknown, and its load biaser.

use std::time::Duration;

use super::super::outcome::{Class, Outcome};

/// What is expected of an endpoint that nobody has asked yet.
const DEFAULT: Duration = Duration::from_millis(30);

/// How an answer is scored that is fast but no use: 429 without `Retry-After`, or a failure.
const PENALTY: Duration = Duration::from_secs(5);

/// Bounds of what a `Retry-After` can make of a score: its smallest unit, and what is still believed.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Time in which a value falls to 1/e, in nanoseconds.
const DECAY: f64 = 10e9;

/// Expected latency of one endpoint. Two words, so that an owner can keep it in two shared cells; should it read them
/// torn, one pick is made on a value decayed too much or too little, and no more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ewma {
    /// Nanoseconds.
    value: f64,
    /// When the value was sampled.
    stamp: u64,
}

impl Ewma {
    /// Nothing known.
    pub fn new(now: u64) -> Self {
        Self { value: nanos(DEFAULT), stamp: now }
    }

    /// The two words: value, time of the last sample.
    pub fn to_words(self) -> [u64; 2] {
        [self.value.to_bits(), self.stamp]
    }

    /// From [`to_words`](Self::to_words).
    pub fn from_words([value, stamp]: [u64; 2]) -> Self {
        Self { value: f64::from_bits(value), stamp }
    }

    /// The expected latency, in nanoseconds.
    pub fn at(&self, now: u64) -> f64 {
        self.value * self.kept(now)
    }

    /// An attempt ended after `took`.
    pub fn on_outcome(&mut self, outcome: &Outcome, took: Duration, now: u64) {
        match outcome.class() {
            Class::Success | Class::Customer => self.sample(nanos(took), nanos(took), now),
            Class::Throttled => {
                let asked = outcome.asked_wait();
                let asked = asked.map_or(PENALTY, |asked| asked.clamp(RETRY_AFTER.0, RETRY_AFTER.1));
                self.sample(nanos(asked), nanos(asked), now);
            }
            Class::System => self.sample(nanos(took), nanos(took.max(PENALTY)), now),
            Class::Neutral => {}
        }
    }

    /// Rises at once to `peak`, drifts towards `mean`.
    fn sample(&mut self, peak: f64, mean: f64, now: u64) {
        let kept = self.kept(now);
        self.value = (self.value * kept + mean * (1.0 - kept)).max(peak);
        self.stamp = self.stamp.max(now);
    }

    /// The part of the value that is left at `now`.
    fn kept(&self, now: u64) -> f64 {
        (-float(now.saturating_sub(self.stamp)) / DECAY).exp()
    }
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a latency needs no more than 53 bits")]
fn float(nanos: u64) -> f64 {
    nanos as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::outcome::tests::{SILENT, status};

    const SECOND: u64 = 1_000_000_000;

    proptest! {
        #[test]
        fn only_good_answers_make_an_endpoint_look_faster(
            start in 0u64..10_000_000, took in 0u64..60_000_000, gap in 0u64..100 * SECOND,
            outcome in prop_oneof![(100u16..600).prop_map(status), prop::sample::select(SILENT.to_vec())],
        ) {
            let mut ewma = Ewma::new(0);
            ewma.on_outcome(&status(200), Duration::from_micros(start), 0);
            let before = ewma.at(gap);
            ewma.on_outcome(&outcome, Duration::from_micros(took), gap);
            let after = ewma.at(gap);
            prop_assert!(after.is_finite() && after >= 0.0);
            match outcome.class() {
                Class::Success | Class::Customer => prop_assert!(after + 1.0 >= before.min(float(took) * 1e3)),
                Class::Neutral => prop_assert!((after - before).abs() < 1.0),
                Class::Throttled | Class::System => prop_assert!(after + 1.0 >= before.min(nanos(PENALTY))),
            }
            prop_assert!(after + 1.0 >= float(took) * 1e3 || outcome.class() != Class::System, "a peak counts at once");
        }

        #[test]
        fn two_words_hold_it(value in 0.0..1e12f64, stamp in any::<u64>()) {
            let ewma = Ewma { value, stamp };
            prop_assert_eq!(Ewma::from_words(ewma.to_words()), ewma);
        }

        #[test]
        fn time_that_runs_backwards_stands_still(now in 0u64..100, took in 0u64..1000) {
            let mut ewma = Ewma::new(100);
            ewma.on_outcome(&status(200), Duration::from_secs(took), now);
            prop_assert_eq!(ewma.stamp, 100);
            prop_assert!(ewma.at(now) >= nanos(DEFAULT));
        }
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let mut ewma = Ewma::new(0);
        assert!((ewma.at(0) - 30e6).abs() < 1.0);
        ewma.on_outcome(&status(200), Duration::from_secs(1), SECOND);
        assert!((ewma.at(SECOND) - 1e9).abs() < 1.0, "at once");
        ewma.on_outcome(&status(200), Duration::from_millis(1), 2 * SECOND);
        let tenth = 1e9 * (-0.1f64).exp();
        assert!((ewma.at(2 * SECOND) - tenth).abs() < 1e6, "slowly");
        assert!(ewma.at(200 * SECOND) < 1e4, "unobserved, it is forgotten");
    }

    #[test]
    fn bp_3_a_429_is_scored_as_slow() {
        for (retry_after, score) in [(None, 5), (Some(0), 1), (Some(1), 1), (Some(60), 60), (Some(3600), 300)]
        {
            let mut ewma = Ewma::new(0);
            let retry_after = retry_after.map(Duration::from_secs);
            let status = http::StatusCode::TOO_MANY_REQUESTS;
            let outcome = Outcome::Response { status, retry_after, settled_below: false };
            ewma.on_outcome(&outcome, Duration::from_millis(1), SECOND);
            assert!(
                (ewma.at(SECOND) - float(score * SECOND)).abs() < 1.0,
                "{retry_after:?}: {}",
                ewma.at(SECOND)
            );
        }
    }

    #[test]
    fn failures_cost_their_rate() {
        let mut ewma = Ewma::new(0);
        let mut now = 0;
        for n in 0..10_000 {
            now += SECOND / 100;
            let code = if n % 10 == 0 { 503 } else { 200 };
            ewma.on_outcome(&status(code), Duration::from_millis(1), now);
        }
        assert!((0.45e9..0.55e9).contains(&ewma.at(now)), "a tenth of 5 s: {}", ewma.at(now));
    }
}
