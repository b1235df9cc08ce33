//! Which of several weighted backends takes the request? Each its share, by one draw.

/// Weights, added up once so that a choice is one multiplication and a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Where each one's part of the line ends; the last is the sum.
    ends: Box<[u64]>,
}

impl Weights {
    /// Of the backends in their order. They need not add up to 100.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let add = |sum: &mut u64, weight| {
            *sum += u64::from(weight);
            Some(*sum)
        };
        Self { ends: weights.into_iter().scan(0, add).collect() }
    }

    /// The position of the backend that `draw`, uniform over all `u64`, falls on; `None` when no weight is above 0.
    /// Weight 0 gets nothing (PD-1).
    pub fn pick(&self, draw: u64) -> Option<usize> {
        let sum = *self.ends.last()?;
        // The high word of the product is uniform in 0..sum, to within sum/2^64 (Lemire, 2019).
        let point = u64::try_from((u128::from(draw) * u128::from(sum)) >> 64).ok()?;
        (sum > 0).then(|| self.ends.partition_point(|end| *end <= point))
    }
}

impl Weights {
    /// The part of all requests that goes to this position, 0..=1.
    #[expect(clippy::cast_precision_loss, reason = "for people; a sum of 32-bit weights is exact below 2^53")]
    pub fn share(&self, nth: usize) -> f64 {
        let before = nth.checked_sub(1).map_or(0, |last| self.ends[last]);
        let sum = self.ends.last().copied().unwrap_or(0).max(1);
        (self.ends[nth] - before) as f64 / sum as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pd_1_every_pick_has_weight(weights in prop::collection::vec(prop_oneof![Just(0u32), any::<u32>()], 0..6), draw in any::<u64>()) {
            match Weights::new(weights.iter().copied()).pick(draw) {
                Some(i) => prop_assert!(weights[i] > 0),
                None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
            }
        }

        /// Evenly spaced draws hit each backend in proportion, to within one.
        #[test]
        fn pd_1_shares_are_proportional(weights in prop::collection::vec(0u32..1000, 1..6)) {
            let sum: u32 = weights.iter().sum();
            prop_assume!(sum > 0);
            let line = Weights::new(weights.iter().copied());
            let mut picked = vec![0u32; weights.len()];
            let step = u64::MAX / u64::from(sum * 4);
            for n in 0..sum * 4 {
                picked[line.pick(u64::from(n) * step + step / 2).unwrap()] += 1;
            }
            for (picked, weight) in picked.iter().zip(&weights) {
                prop_assert!(picked.abs_diff(4 * weight) <= 1);
            }
        }
    }

    #[test]
    fn pd_1_ninety_five_to_five() {
        let mut rng = fastrand::Rng::with_seed(1);
        let line = Weights::new([95, 5, 0]);
        let mut picked = [0i32; 3];
        for _ in 0..100_000 {
            picked[line.pick(rng.u64(..)).unwrap()] += 1;
        }
        assert!((picked[0] - 95_000).abs() <= 300, "{picked:?}");
        assert_eq!(picked[2], 0);
    }

    #[test]
    fn the_ends_of_the_line() {
        let line = Weights::new([0, 1, 0, 1, 0]);
        assert_eq!((line.pick(0), line.pick(u64::MAX)), (Some(1), Some(3)));
        assert_eq!(Weights::new([7]).pick(u64::MAX), Some(0));
        assert_eq!((Weights::new([]).pick(0), Weights::new([0, 0]).pick(9)), (None, None));
    }
}
