use proptest::prelude::*;

use super::*;

fn config(percent: f64, interval: Duration, min_rate: f64) -> RetryBudget {
    RetryBudget { percent, interval, min_rate }
}

/// What happens between two looks: a gap, some requests, and some that want to retry.
fn traffic() -> impl Strategy<Value = Vec<(Duration, u32, u32)>> {
    let gap = prop_oneof![
        8 => (0u64..50).prop_map(Duration::from_millis),
        3 => (50u64..3_000).prop_map(Duration::from_millis),
        1 => (3u64..1_000_000).prop_map(Duration::from_secs),
    ];
    prop::collection::vec((gap, 0u32..60, 0u32..60), 1..80)
}

#[derive(Clone, Copy)]
struct Step {
    at: Duration,
    requests: u32,
    granted: u32,
}

/// Requests first, then as many retries as are granted of those wanted.
fn run(budget: &mut Budget, start: Instant, traffic: &[(Duration, u32, u32)]) -> Vec<Step> {
    let mut at = Duration::ZERO;
    traffic
        .iter()
        .map(|&(gap, requests, wanted)| {
            at += gap;
            budget.deposit(requests, start + at);
            let granted = (0..wanted).map(|_| u32::from(budget.withdraw(start + at))).sum();
            Step { at, requests, granted }
        })
        .collect()
}

/// Sum of `count` over the steps in `(end - length, end]`.
fn within(steps: &[Step], end: Duration, length: Duration, count: impl Fn(&Step) -> u32) -> f64 {
    let inside = |s: &&Step| s.at <= end && s.at + length > end;
    f64::from(steps.iter().filter(inside).map(count).sum::<u32>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The share alone, looked back on from each retry.
    #[test]
    fn rt_5_the_share_never_grants_more_than_its_part(
        percent in 0.0..=1.0f64, secs in 1u64..=20, traffic in traffic(),
    ) {
        let interval = Duration::from_secs(secs);
        let start = Instant::now();
        let mut budget = Budget::new(&config(percent, interval, 0.0), start);
        let steps = run(&mut budget, start, &traffic);
        for step in steps.iter().filter(|step| step.granted > 0) {
            let granted = within(&steps, step.at, interval, |s| s.granted);
            let earned = percent * within(&steps, step.at, interval + interval / 10, |s| s.requests);
            prop_assert!(granted <= earned + 0.01, "{granted} granted, {earned} earned at {:?}", step.at);
        }
    }

    /// Share and floor together, over every window of every length between two retries.
    #[test]
    fn rt_5_no_window_grants_more_than_share_and_floor(
        percent in 0.0..=1.0f64, secs in 1u64..=20, min_rate in 0.0..50.0f64, traffic in traffic(),
    ) {
        let interval = Duration::from_secs(secs);
        let start = Instant::now();
        let mut budget = Budget::new(&config(percent, interval, min_rate), start);
        let steps = run(&mut budget, start, &traffic);
        for (n, last) in steps.iter().enumerate() {
            for first in &steps[..=n] {
                let length = last.at.abs_diff(first.at) + Duration::from_nanos(1);
                let granted = within(&steps, last.at, length, |s| s.granted);
                let requests = within(&steps, last.at, length + interval + interval / 10, |s| s.requests);
                let floor = min_rate * length.as_secs_f64() + f64::from(BURST);
                prop_assert!(granted <= percent * requests + floor + 0.01, "{granted} granted at {:?}", last.at);
            }
        }
    }

    #[test]
    fn rt_5_no_request_backs_two_retries(percent in 0.0..=1.0f64, traffic in traffic()) {
        let start = Instant::now();
        let mut budget = Budget::new(&config(percent, Duration::from_secs(10), 0.0), start);
        let (mut requests, mut granted) = (0, 0);
        for step in run(&mut budget, start, &traffic) {
            requests += step.requests;
            granted += step.granted;
            prop_assert!(f64::from(granted) <= percent * f64::from(requests) + 0.01);
        }
    }

    #[test]
    fn what_the_balance_says_is_granted_and_no_more(
        percent in 0.0..=1.0f64, min_rate in 0.0..50.0f64, traffic in traffic(),
    ) {
        let start = Instant::now();
        let mut budget = Budget::new(&config(percent, Duration::from_secs(10), min_rate), start);
        let end = start + run(&mut budget, start, &traffic).last().unwrap().at + Duration::from_millis(777);
        let balance = budget.balance(end);
        for _ in 0..balance {
            prop_assert!(budget.withdraw(end));
        }
        prop_assert!(!budget.withdraw(end));
    }

    #[test]
    fn an_idle_gap_costs_one_turn_and_leaves_the_floor(gap in 11u64..1_000_000_000, nanos in 0u32..1_000_000_000) {
        let start = Instant::now();
        let mut budget = Budget::new(&config(0.2, Duration::from_secs(10), 10.0), start);
        budget.deposit(1_000, start);
        let later = start + Duration::new(gap, nanos);
        prop_assert!(budget.advance(later) <= SLOTS + 1);
        prop_assert_eq!(budget.advance(later), 0);
        prop_assert_eq!(budget.balance(later), 3);
    }
}

/// 500 requests a second, each failing three times if it may, for a minute.
#[test]
fn rt_5_budget_bounds_a_storm() {
    let start = Instant::now();
    let mut budget = Budget::new(&config(0.2, Duration::from_secs(10), 10.0), start);
    let (mut received, mut refused) = (0, 0);
    for n in 0..30_000u64 {
        let now = start + Duration::from_millis(2 * n);
        budget.deposit(1, now);
        let retries = (0..3).take_while(|_| budget.withdraw(now)).count();
        received += 1 + retries;
        refused += usize::from(retries < 3);
    }
    let offered = 30_000;
    assert!(received <= offered * 12 / 10 + 600 + 3, "{received} received");
    assert!(received >= offered * 12 / 10, "the budget is there to be used: {received} received");
    assert!(refused > 20_000, "{refused} refused");
}

#[test]
fn the_floor_serves_a_quiet_upstream_but_not_a_burst() {
    let start = Instant::now();
    let mut budget = Budget::new(&config(0.2, Duration::from_secs(10), 10.0), start);
    let at_once = (0..100).filter(|_| budget.withdraw(start)).count();
    assert_eq!(at_once, 3, "no hundred retries in one instant");
    let over_ten_seconds =
        (1..=10_000).filter(|ms| budget.withdraw(start + Duration::from_millis(*ms))).count();
    assert!((99..=100).contains(&over_ten_seconds), "{over_ten_seconds}");
}

#[test]
fn a_slow_floor_still_grants_one_in_its_time() {
    let start = Instant::now();
    let mut budget = Budget::new(&config(0.0, Duration::from_secs(10), 0.05), start);
    let granted: Vec<_> = (0..60).filter(|s| budget.withdraw(start + Duration::from_secs(*s))).collect();
    assert_eq!(granted, [0, 20, 40]);
}

#[test]
fn shares_are_counted_without_rounding_loss() {
    let start = Instant::now();
    for (percent, requests, retries) in
        [(0.29, 100, 29), (0.2, 5, 1), (0.2, 4, 0), (1.0, 7, 7), (0.07, 100, 7)]
    {
        let mut budget = Budget::new(&config(percent, Duration::from_secs(10), 0.0), start);
        budget.deposit(requests, start);
        assert_eq!(budget.balance(start), retries, "{percent} of {requests}");
    }
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let start = Instant::now();
    let mut budget = Budget::new(&config(0.2, Duration::from_secs(10), 10.0), start);
    let now = start + Duration::from_secs(100);
    budget.deposit(50, now);
    assert_eq!(budget.balance(start), 13);
    assert_eq!(budget.balance(now), 13);
}
