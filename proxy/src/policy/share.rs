//! Is this part of the whole as much as the policy says? In whole numbers, so that 29 % of 100 is 29 and not 28.999….

/// Parts in which a share is kept.
const MILLION: u64 = 1_000_000;

/// A percentage of a policy, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

impl Share {
    /// Of a number in 0..=1; what lies outside is taken as the nearer end.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1 before")]
    pub fn new(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * 1e6).round() as u64)
    }

    /// Whether `part` is at least this share of `whole`.
    pub fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(MILLION) >= u128::from(whole) * u128::from(self.0)
    }

    /// The most that is no more than this share of `whole`.
    pub fn of(self, whole: usize) -> usize {
        let part = whole as u128 * u128::from(self.0) / u128::from(MILLION);
        usize::try_from(part).unwrap_or(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_allowed_is_the_last_before_too_much(share in 0.0..=1.0f64, whole in 0usize..10_000) {
            let share = Share::new(share);
            let part = share.of(whole);
            prop_assert!(part <= whole);
            let reached = |part: usize| share.is_reached(part as u64, whole as u64);
            prop_assert!(!reached(part) || share.0 * whole as u64 == part as u64 * MILLION, "no more than the share");
            prop_assert!(reached(part + 1), "one more would be");
        }
    }

    #[test]
    fn whole_numbers_are_not_lost_to_rounding() {
        for (share, whole, part) in
            [(0.29, 100, 29), (0.5, 3, 1), (0.5, 2, 1), (0.1, 10, 1), (1.0, 7, 7), (0.0, 9, 0)]
        {
            assert_eq!(Share::new(share).of(whole), part, "{share} of {whole}");
        }
        assert!(Share::new(0.29).is_reached(29, 100) && !Share::new(0.29).is_reached(28, 100));
    }
}
