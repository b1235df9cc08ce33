use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::policy::outcome::tests::status;

const POLICIES: [LoadBalancer; 3] =
    [LoadBalancer::RoundRobin, LoadBalancer::LeastRequest, LoadBalancer::PeakEwma];

proptest! {
    #[test]
    fn rt_11_the_excluded_is_never_picked_while_another_is_free(
        costs in prop::collection::vec((prop_oneof![0.0..9.0f64, Just(f64::NAN)], any::<bool>()), 0..9),
        policy in prop::sample::select(POLICIES.to_vec()), turn in any::<usize>(), seed in any::<u64>(),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        match pick(policy, costs.len(), turn, &mut rng, |i| costs[i].0, |i| costs[i].1) {
            None => prop_assert!(costs.is_empty()),
            Some(i) => prop_assert!(!costs[i].1 || costs.iter().all(|(_, excluded)| *excluded)),
        }
    }

    #[test]
    fn two_choices_never_take_the_dearest(costs in prop::collection::vec(0u32..1000, 2..9), seed in any::<u64>()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cost = |i: usize| f64::from(costs[i]);
        let i = pick(LoadBalancer::PeakEwma, costs.len(), 0, &mut rng, cost, |_| false).unwrap();
        let dearest = costs.iter().max().unwrap();
        prop_assert!(costs[i] < *dearest || costs.iter().filter(|c| *c == dearest).count() > 1);
    }
}

/// How often each of `n` is picked in 3000 turns when all cost the same.
fn shares(policy: LoadBalancer, n: usize, excluded: &[usize]) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut shares = vec![0; n];
    for turn in 0..3000 {
        shares[pick(policy, n, turn, &mut rng, |_| 1.0, |i| excluded.contains(&i)).unwrap()] += 1;
    }
    shares
}

#[test]
fn lb_1_the_turns_of_the_excluded_go_round() {
    assert_eq!(shares(LoadBalancer::RoundRobin, 4, &[1]), [1000, 0, 1000, 1000]);
    assert_eq!(shares(LoadBalancer::RoundRobin, 4, &[1, 2]), [1500, 0, 0, 1500]);
}

#[test]
fn lb_1_equal_endpoints_get_equal_shares() {
    assert_eq!(shares(LoadBalancer::RoundRobin, 3, &[]), [1000; 3]);
    for policy in [LoadBalancer::LeastRequest, LoadBalancer::PeakEwma] {
        for (n, excluded) in [(3, &[][..]), (5, &[1, 4])] {
            let shares = shares(policy, n, excluded);
            for (i, share) in shares.iter().enumerate() {
                let free = !excluded.contains(&i);
                assert!(
                    if free { (850..=1150).contains(share) } else { *share == 0 },
                    "{policy:?} {shares:?}"
                );
            }
        }
    }
}

/// Requests at 1 kHz for a minute of virtual time; endpoint `i` answers `answers[i]`. The shares in per cent.
fn simulate(policy: LoadBalancer, answers: [(u16, u64); 3]) -> [f64; 3] {
    const REQUESTS: u32 = 60_000;
    let mut rng = fastrand::Rng::with_seed(11);
    let mut loads = [Load { in_flight: 0, latency: Ewma::new(0) }; 3];
    let mut ends: BinaryHeap<(std::cmp::Reverse<u64>, usize)> = BinaryHeap::new();
    let mut picked = [0u32; 3];
    for n in 0..REQUESTS {
        let now = u64::from(n) * 1_000_000;
        while ends.peek().is_some_and(|(end, _)| end.0 <= now) {
            let (end, i) = ends.pop().unwrap();
            let (code, millis) = answers[i];
            loads[i].in_flight -= 1;
            loads[i].latency.on_outcome(&status(code), Duration::from_millis(millis), end.0);
        }
        let i = pick(policy, 3, n as usize, &mut rng, |i| loads[i].cost(policy, now), |_| false).unwrap();
        loads[i].in_flight += 1;
        picked[i] += 1;
        ends.push((std::cmp::Reverse(now + answers[i].1 * 1_000_000), i));
    }
    picked.map(|n| 100.0 * f64::from(n) / f64::from(REQUESTS))
}

#[test]
fn lb_2_a_slow_endpoint_is_left_alone() {
    let answers = [(200, 10), (200, 100), (200, 10)];
    let shares = POLICIES.map(|policy| simulate(policy, answers)[1]);
    assert!(shares[0] > 33.0, "round robin does not look: {shares:?}");
    assert!(shares[1] < 10.0, "{shares:?}");
    assert!(shares[2] < 1.0, "so few that the 99th percentile stays with the healthy: {shares:?}");
}

#[test]
fn bp_3_a_pushed_back_endpoint_does_not_attract_traffic_by_being_fast() {
    let shares = simulate(LoadBalancer::PeakEwma, [(200, 10), (429, 1), (200, 10)]);
    assert!(shares[1] < 1.0, "{shares:?}");
}

#[test]
fn a_failing_endpoint_does_not_attract_traffic_by_being_fast() {
    let shares = simulate(LoadBalancer::PeakEwma, [(200, 10), (503, 1), (200, 10)]);
    assert!(shares[1] < 5.0, "{shares:?}");
}
