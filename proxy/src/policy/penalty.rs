//! How long must it stay away this time? Longer every time that it relapses, less again once it has behaved.
//!
//! **Question.** Something failed and is left alone for a while: a circuit opened, an endpoint was ejected. For how
//! long?
//!
//! **States and transitions.** One number: how often it was sent away and not forgiven. The n-th penalty in a row is
//! `min(base·2^(n-1), max)`, and up to half of that more by chance, so that a hundred sidecars which lost the same
//! upstream in the same instant don't all come back to it in another. Good conduct is paid back at the same rate: as
//! long as the last penalty lasted, and the next is a step shorter. So what fails, recovers for one request and fails
//! again is not met with the shortest penalty for ever.
//!
//! **Invariants.** Never below the step, never above one and a half times `max`. Without good conduct in between no
//! penalty's step is below the one before. After good conduct for three times `max` all is forgiven, and the next is
//! `base`.
//!
//! **Time.** Durations only; at most 32 steps.
//!
//! **On reload.** The count stays, the next penalty follows the new figures.
//!
//! **Source.** Linkerd's breaker: an exponential back-off with jitter of 0.5 between probes; forgiving step by step is
//! from Envoy's outlier detection, which takes one off its multiplier for each healthy interval.

use std::time::Duration;

use outrigger_config::model::Backoff;

use super::backoff::{ceiling, guided};

/// How often it was sent away and not forgiven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Penalty {
    times: u32,
}

impl Penalty {
    /// The next penalty, `behaved` after the end of the last. `draw` is uniform in `[0, 1]`.
    pub fn impose(&mut self, backoff: &Backoff, mut behaved: Duration, draw: f64) -> Duration {
        while self.times > 0 && behaved >= ceiling(backoff, self.times) {
            behaved -= ceiling(backoff, self.times);
            self.times -= 1;
        }
        // Once at the maximum it counts no further, or forgiving would take as long as failing did.
        if self.times == 0 || (self.times < 32 && ceiling(backoff, self.times) < backoff.max) {
            self.times += 1;
        }
        guided(ceiling(backoff, self.times), draw)
    }
}

/// No penalty is longer.
pub fn longest(backoff: &Backoff) -> Duration {
    guided(backoff.max, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff() -> impl Strategy<Value = Backoff> {
        (1u64..10_000, 1u64..3_600_000).prop_map(|(base, max)| Backoff {
            base: Duration::from_millis(base),
            max: Duration::from_millis(max.max(base)),
        })
    }

    proptest! {
        #[test]
        fn cb_5_penalties_double_up_to_the_maximum_each_with_jitter(
            b in backoff(), draws in prop::collection::vec(0.0..=1.0f64, 1..50),
        ) {
            let mut penalty = Penalty::default();
            for (n, draw) in draws.into_iter().enumerate() {
                let step = b.base.saturating_mul(1 << n.min(31)).min(b.max);
                let imposed = penalty.impose(&b, Duration::ZERO, draw);
                prop_assert!(step <= imposed && imposed <= step + step / 2, "{imposed:?} of {step:?}");
                prop_assert!(imposed <= longest(&b));
            }
        }

        #[test]
        fn good_conduct_for_thrice_the_maximum_forgives_all(b in backoff(), times in 0usize..100) {
            let mut penalty = Penalty::default();
            for _ in 0..times {
                penalty.impose(&b, Duration::ZERO, 0.0);
            }
            prop_assert_eq!(penalty.impose(&b, 3 * b.max, 0.0), b.base);
        }

        #[test]
        fn more_good_conduct_never_costs_more(b in backoff(), times in 0usize..40, ms in 0u64..9_000_000, more in 0u64..9_000_000) {
            let mut penalty = Penalty::default();
            for _ in 0..times {
                penalty.impose(&b, Duration::ZERO, 0.0);
            }
            let (ms, more) = (Duration::from_millis(ms), Duration::from_millis(more));
            let (mut short, mut long) = (penalty, penalty);
            prop_assert!(long.impose(&b, ms + more, 0.0) <= short.impose(&b, ms, 0.0));
        }
    }

    #[test]
    fn a_relapse_is_dearer_than_a_first_offence() {
        const SECOND: fn(u64) -> Duration = Duration::from_secs;
        let b = Backoff { base: SECOND(1), max: SECOND(60) };
        let mut penalty = Penalty::default();
        let behaved = [0, 0, 0, 3, 8, 100];
        let imposed = behaved.map(|secs| penalty.impose(&b, SECOND(secs), 0.0).as_secs());
        assert_eq!(
            imposed,
            [1, 2, 4, 8, 8, 1],
            "3 s after 4 s is a relapse, 8 s after 8 s pays for one step"
        );
    }
}
