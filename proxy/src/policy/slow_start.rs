//! How much of its share does a new or returned endpoint take? A tenth at first, all of it after a while.
//!
//! **Question.** An endpoint that just started has cold caches, an empty pool and code that is not compiled yet. Its
//! queue is empty too, so a balancer that looks at load sends it everything at once. How to let it warm up (LB-8)?
//!
//! **States and transitions.** None; its age since it was first or again fit for requests is the state. The factor
//! grows in a straight line from 10 % to 100 % over the window.
//!
//! The factor is a share, so it thins out the endpoint's chances of being looked at, rather than dividing its cost: of
//! two choices the dearer is never taken, so an endpoint at ten times the cost would get not a tenth but nothing, and
//! stay cold. [`holds_back`] says for one pick whether it sits out, and in the mean over many picks an endpoint takes
//! part in as many of a hundred as its factor says. That works for every policy, also for those without a cost.
//!
//! **Invariants.** In `[0.1, 1]`, never falling with age, 1 from the end of the window on and everywhere without one.
//! Within one pick the same endpoint gets the same answer, however often it is asked. To sit out is a wish, weaker than
//! any other exclusion: where only such endpoints are left, as when all have just started, they serve.
//!
//! **Time.** Constant.
//!
//! **On reload.** Nothing is kept but the age, which is the endpoint's.
//!
//! **Source.** `HAProxy`'s `slowstart`, linear; the floor of 10 % is Envoy's `min_weight_percent`.

use std::time::Duration;

use super::hash::{mix, unit};

/// What it gets at first.
const FLOOR: f64 = 0.1;

/// The part of its full share that an endpoint takes which has been fit for `age`.
pub fn factor(age: Duration, window: Duration) -> f64 {
    if age >= window {
        return 1.0;
    }
    (FLOOR + (1.0 - FLOOR) * age.as_secs_f64() / window.as_secs_f64()).min(1.0)
}

/// Whether the endpoint `id` sits this pick out. `pick` is a number drawn anew for each pick.
pub fn holds_back(factor: f64, id: u64, pick: u64) -> bool {
    factor < 1.0 && unit(mix(pick ^ mix(id))) >= factor
}

#[cfg(test)]
mod tests {
    use outrigger_config::model::LoadBalancer;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::balancer::pick;

    proptest! {
        #[test]
        fn lb_8_grows_from_a_tenth_to_all(age in 0u64..200_000, more in 0u64..200_000, window in 0u64..100_000) {
            let [age, older, window] = [age, age + more, window].map(Duration::from_millis);
            let factor_now = factor(age, window);
            prop_assert!((FLOOR..=1.0).contains(&factor_now));
            prop_assert!(factor(older, window) >= factor_now);
            prop_assert!(age < window || factor_now >= 1.0);
        }
    }

    #[test]
    fn lb_8_the_line_is_straight() {
        let window = Duration::from_secs(30);
        for (secs, expected) in [(0, 0.1), (10, 0.4), (15, 0.55), (20, 0.7), (30, 1.0), (99, 1.0)] {
            let factor = factor(Duration::from_secs(secs), window);
            assert!((factor - expected).abs() < 1e-9, "{secs} s: {factor}");
        }
        assert!(factor(Duration::ZERO, Duration::ZERO) >= 1.0, "no window, no ramp");
    }

    /// One of four endpoints is new: in each tenth of the window, its part of what the others get.
    #[test]
    fn lb_8_the_balancer_gives_it_its_factor() {
        let window = Duration::from_secs(10);
        for policy in [LoadBalancer::LeastRequest, LoadBalancer::PeakEwma, LoadBalancer::RoundRobin] {
            let mut rng = fastrand::Rng::with_seed(8);
            for tenth in 0..=10u32 {
                let factor = factor(window * tenth / 10, window);
                let mut picked = [0u32; 4];
                for turn in 0..40_000 {
                    let draw = rng.u64(..);
                    let held = |i: usize| i == 2 && holds_back(factor, 2, draw);
                    picked[pick(policy, 4, turn, &mut rng, |_| 1.0, held).unwrap()] += 1;
                }
                let share = f64::from(picked[2]) / 10_000.0;
                assert!((share - factor).abs() < 0.05, "{policy:?} {tenth}: {share} for {factor}");
            }
        }
    }

    #[test]
    fn lb_8_one_sits_out_whatever_the_other_does() {
        let mut rng = fastrand::Rng::with_seed(2);
        let both = (0..10_000)
            .map(|_| rng.u64(..))
            .filter(|draw| [1, 2].iter().all(|id| holds_back(0.5, *id, *draw)));
        assert!((2_300..2_700).contains(&both.count()), "a quarter");
    }

    #[test]
    fn lb_8_all_that_are_new_serve_alike() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut picked = [0u32; 3];
        for _ in 0..9_000 {
            let draw = rng.u64(..);
            let held = |i: usize| holds_back(FLOOR, i as u64, draw);
            picked[pick(LoadBalancer::LeastRequest, 3, 0, &mut rng, |_| 1.0, held).unwrap()] += 1;
        }
        assert!(picked.iter().all(|n| (2_700..3_300).contains(n)), "{picked:?}");
    }
}
