//! How much traffic stays in our zone? All of it while the zone can bear it, and then what it can.
//!
//! **Question.** A call within the zone is faster and cheaper, and a fault next door does not reach it. But when part of
//! the zone is gone, what is left must not drown in the whole load, nor should all of it jump to the next zone (LB-9).
//!
//! **States and transitions.** None; a function of how many endpoints of each [`level`] are fit. Levels are numbered
//! by distance: 0 the own zone, 1 the own region, 2 elsewhere. A level can bear `1.4 · fit/all` of its due, at most all
//! of it; the nearest takes what it can, the next what is left over, and so on. The factor of 1.4 says that endpoints
//! are provisioned for 1.4 times their usual load: with more than 1/1.4 = 71.4 % of a zone fit, the others carry it
//! with what they have in reserve; at 50 % the zone keeps 70 % and 30 % spill.
//!
//! Where all levels together can bear less than all, each takes its part in proportion: nothing is gained by
//! refusing what somebody must take, and [`panic`](super::panic) and the limits are there for that.
//!
//! **Invariants.** The parts add up to exactly the whole. A level without a fit endpoint gets nothing. No level gets
//! anything while a nearer one could bear more. One more fit endpoint at a level never moves traffic away from it.
//!
//! **Time.** One pass over the levels; computed when an endpoint's fitness changes, not for each request, which only
//! takes one draw from the [`Weights`].
//!
//! **On reload.** Nothing is kept.
//!
//! **Source.** Envoy's priority levels and overprovisioning factor, in millionths where Envoy rounds to per cents;
//! distances as in Istio's locality failover.

use super::weights::Weights;

/// Times its usual load that an endpoint can bear, in tenths.
const OVERPROVISIONED: u64 = 14;
/// The whole.
const WHOLE: u64 = 1_000_000;

/// How many endpoints one level has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Those that take requests.
    pub fit: u32,
    /// All.
    pub all: u32,
}

/// How far an endpoint is, from the localities `region/zone` of it and us: 0, 1 or 2. Unknown is far, but where ours is
/// unknown everything is near.
pub fn level(ours: &str, theirs: &str) -> usize {
    if ours.is_empty() || ours == theirs {
        0
    } else if !theirs.is_empty() && region(ours) == region(theirs) {
        1
    } else {
        2
    }
}

/// The part of the traffic that each level gets, nearest first, in millionths; all zero if nobody is fit.
pub fn shares(levels: &[Level]) -> Vec<u32> {
    let able = |level: &Level| {
        let all = u64::from(level.all.max(level.fit)).max(1);
        (u64::from(level.fit) * OVERPROVISIONED * WHOLE / (10 * all)).min(WHOLE)
    };
    let sum = levels.iter().map(able).sum::<u64>().min(WHOLE);
    let mut shares: Vec<u32> = Vec::with_capacity(levels.len());
    let (mut taken, mut given) = (0, 0);
    for level in levels {
        taken = (taken + able(level)).min(WHOLE);
        // From the running total, so that rounding makes no part vanish.
        let end = (taken * WHOLE).checked_div(sum).unwrap_or(0);
        shares.push(u32::try_from(end - given).unwrap_or(u32::MAX));
        given = end;
    }
    shares
}

/// As [`shares`], ready to draw a level from.
pub fn weights(levels: &[Level]) -> Weights {
    Weights::new(shares(levels))
}

fn region(locality: &str) -> &str {
    locality.split_once('/').map_or(locality, |(region, _)| region)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels() -> impl Strategy<Value = Vec<Level>> {
        let level = (0u32..1000, 0u32..1000).prop_map(|(fit, more)| Level { fit, all: fit + more });
        prop::collection::vec(
            prop_oneof![3 => level, 1 => (0u32..9).prop_map(|all| Level { fit: 0, all })],
            1..5,
        )
    }

    fn able(level: Level) -> f64 {
        (1.4 * f64::from(level.fit) / f64::from(level.all.max(1))).min(1.0) * 1e6
    }

    proptest! {
        #[test]
        fn lb_9_the_parts_are_the_whole_and_only_the_fit_get_any(levels in levels()) {
            let shares = shares(&levels);
            let anybody = levels.iter().any(|level| level.fit > 0);
            prop_assert_eq!(shares.iter().map(|share| u64::from(*share)).sum::<u64>(), if anybody { WHOLE } else { 0 });
            for (share, level) in shares.iter().zip(&levels) {
                prop_assert!(*share == 0 || level.fit > 0);
            }
            prop_assert_eq!(weights(&levels).pick(u64::MAX / 2).is_some(), anybody);
        }

        #[test]
        fn lb_9_nothing_spills_that_a_nearer_level_could_bear(levels in levels()) {
            let shares = shares(&levels);
            let spilled = shares.iter().rposition(|share| *share > 0).unwrap_or(0);
            for (share, level) in shares.iter().zip(&levels).take(spilled) {
                prop_assert!(f64::from(*share) >= able(*level) - 2.0, "{shares:?}");
            }
        }

        #[test]
        fn lb_9_too_little_everywhere_is_shared_in_proportion(levels in levels()) {
            let sum: f64 = levels.iter().copied().map(able).sum();
            prop_assume!(sum > 0.0 && sum < 1e6);
            for (share, level) in shares(&levels).iter().zip(&levels) {
                let due = able(*level) / sum * 1e6;
                // Whole millionths of what each can bear, stretched by the shortage.
                prop_assert!((f64::from(*share) - due).abs() <= 1.0 + 8e6 / sum, "{share} {due}");
            }
        }

        #[test]
        fn lb_9_one_more_fit_endpoint_moves_nothing_away(levels in levels(), nth in any::<prop::sample::Index>()) {
            let (before, nth) = (shares(&levels), nth.index(levels.len()));
            let mut levels = levels;
            prop_assume!(levels[nth].fit < levels[nth].all);
            levels[nth].fit += 1;
            prop_assert!(shares(&levels)[nth] + 1 >= before[nth]);
        }
    }

    /// The table of Envoy's manual: two levels, the second all fit.
    #[test]
    fn lb_9_a_zone_below_the_threshold_spills_in_proportion() {
        for (fit, kept) in [(100, 100), (72, 100), (71, 99), (50, 70), (25, 35), (0, 0)] {
            let shares = shares(&[Level { fit, all: 100 }, Level { fit: 10, all: 10 }]);
            assert_eq!(shares[0] / 10_000, kept, "{fit} fit: {shares:?}");
            assert_eq!(shares[0] + shares[1], 1_000_000);
        }
        let half = Level { fit: 1, all: 4 };
        assert_eq!(shares(&[half, half]), [500_000, 500_000], "35 % each, and nobody else");
        assert!(shares(&[]).is_empty());
    }

    #[test]
    fn lb_9_near_is_the_zone_then_the_region() {
        for (theirs, expected) in [("eu/a", 0), ("eu/b", 1), ("eu", 1), ("us/a", 2), ("", 2)] {
            assert_eq!(level("eu/a", theirs), expected, "{theirs}");
        }
        assert_eq!(level("", "eu/a"), 0);
    }
}
