//! Had the endpoint a fair chance to answer? What its silence until a deadline is worth as evidence.
//!
//! **Question.** A caller's deadline ran out. Was the endpoint too slow, or the caller too hasty?
//!
//! **State.** Mean and mean deviation of how long good answers took, in one word.
//!
//! **The rule.** It had a fair chance if it was waited for
//! - for the mean and four deviations, at least twice the mean: TCP's way to tell silence from loss (RFC 6298 §2); or
//! - for nine tenths of what the route itself allows, which is no caller's haste; or
//! - for however long, if it has answered nobody in time for five seconds although it was asked: so one that hangs is
//!   found although all its callers are hasty. Who answers anybody well in between is not silent.
//!
//! **Invariants.** A longer wait is never less fair. Who was not asked at all had no chance: that is the caller's to know.
//!
//! **Time.** Microseconds, constant time. **On reload.** Kept with its endpoint.

use std::time::Duration;

/// For how long an endpoint must have answered nobody before any deadline counts.
const SILENCE: Duration = Duration::from_secs(5);

/// What is known of an endpoint's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    mean: u32,
    deviation: u32,
}

/// How one attempt waited in vain.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Since the endpoint had all that it needed.
    pub given: Duration,
    /// What the route allows for an answer.
    pub allowed: Duration,
    /// Since the first deadline that ran out after the endpoint's last good answer.
    pub silent: Duration,
}

impl Patience {
    /// With an endpoint that has answered nobody yet: as if it took 30 ms, give or take 15.
    pub const UNKNOWN: Self = Self { mean: 30_000, deviation: 15_000 };

    /// As one word, for a shared cell.
    pub fn to_word(self) -> u64 {
        u64::from(self.mean) << 32 | u64::from(self.deviation)
    }

    /// From [`to_word`](Self::to_word).
    pub fn from_word(word: u64) -> Self {
        let [mean, deviation] = [word >> 32, word & u64::from(u32::MAX)];
        let half = |half| u32::try_from(half).unwrap_or(u32::MAX);
        Self { mean: half(mean), deviation: half(deviation) }
    }

    /// A good answer took so long.
    #[must_use]
    pub fn on_answer(self, took: Duration) -> Self {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        // RFC 6298 §2.2 and §2.3, with its weights of an eighth and a quarter; the deviation is by the old mean.
        if self == Self::UNKNOWN {
            return Self { mean: took, deviation: took / 2 };
        }
        Self {
            mean: self.mean - self.mean / 8 + took / 8,
            deviation: self.deviation - self.deviation / 4 + self.mean.abs_diff(took) / 4,
        }
    }

    /// Whether nothing having come in that time counts against the endpoint.
    pub fn is_over(self, wait: Wait) -> bool {
        let [mean, deviation] = [self.mean, self.deviation].map(u64::from);
        let expected = Duration::from_micros(mean + mean.max(4 * deviation));
        wait.given >= expected || wait.given >= wait.allowed.mul_f64(0.9) || wait.silent >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn hasty(given: Duration) -> Wait {
        Wait { given, allowed: MS(15_000), silent: Duration::ZERO }
    }

    /// With one that always takes so long.
    fn with(took: Duration) -> Patience {
        (0..100).fold(Patience::UNKNOWN, |patience, _| patience.on_answer(took))
    }

    proptest! {
        #[test]
        fn a_longer_wait_is_never_less_fair(
            took in prop::collection::vec(0u64..5_000_000, 0..20), given in 0u64..20_000_000, more in 0u64..1_000_000,
        ) {
            let mut patience = Patience::UNKNOWN;
            for took in took {
                patience = patience.on_answer(Duration::from_micros(took));
                prop_assert_eq!(Patience::from_word(patience.to_word()), patience);
            }
            let [less, more] = [given, given + more].map(|given| patience.is_over(hasty(Duration::from_micros(given))));
            prop_assert!(more >= less);
        }
    }

    #[test]
    fn ec_1_twice_the_usual_time_is_fair_and_less_is_not() {
        assert!(!with(MS(20)).is_over(hasty(MS(2))));
        assert!(!with(MS(20)).is_over(hasty(MS(30))));
        assert!(with(MS(20)).is_over(hasty(MS(41))));
        assert!(!Patience::UNKNOWN.is_over(hasty(MS(80))) && Patience::UNKNOWN.is_over(hasty(MS(90))));
    }

    #[test]
    fn ec_1_who_varies_is_given_more() {
        let varies = (0..100).fold(Patience::UNKNOWN, |patience, nth| patience.on_answer(MS(nth % 2 * 40)));
        assert!(!varies.is_over(hasty(MS(60))) && varies.is_over(hasty(MS(120))));
    }

    #[test]
    fn ec_1_what_the_route_allows_is_fair() {
        let wait = Wait { given: MS(90), allowed: MS(100), silent: Duration::ZERO };
        assert!(with(MS(300)).is_over(wait));
        assert!(!with(MS(300)).is_over(Wait { given: MS(80), ..wait }));
    }

    #[test]
    fn ec_1_who_answers_nobody_is_found() {
        let wait = Wait { silent: SILENCE, ..hasty(MS(1)) };
        assert!(with(MS(300)).is_over(wait));
    }
}
