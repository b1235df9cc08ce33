use proptest::prelude::*;

use super::*;

const PLACES: f64 = 100.0;
/// Seconds.
const SERVICE: f64 = 0.02;
/// Requests a second.
const CAPACITY: f64 = PLACES / SERVICE;

fn key(name: &str) -> Key<'_> {
    Key { identity: Some(name), header: None, source: None }
}

/// What callers with these rates get of a server that is shared so, each as a part of what it asked for. `None`: whoever
/// comes first.
fn shares(order: Option<Order>, rates: &[f64], seed: u64) -> Vec<f64> {
    let (start, mut rng) = (Instant::now(), fastrand::Rng::with_seed(seed));
    let mut fair = FairShare::new(order.unwrap_or_default(), 256, start);
    let names: Vec<_> = (0..rates.len()).map(|n| n.to_string()).collect();
    let total: f64 = rates.iter().sum();
    let (mut now, mut busy) = (0.0, 0.0);
    let (mut offered, mut served) = (vec![0.0; rates.len()], vec![0.0; rates.len()]);
    while now < 12.0 {
        let events = total + busy / SERVICE;
        now -= (1.0 - rng.f64()).ln() / events;
        if rng.f64() * events >= total {
            busy -= 1.0;
            continue;
        }
        let mut draw = rng.f64() * total;
        let who = rates.iter().position(|rate| {
            draw -= rate;
            draw < 0.0
        });
        let who = who.unwrap_or(0);
        let at = start + Duration::from_secs_f64(now);
        let admitted = order.is_none() || fair.admit(&key(&names[who]), busy / PLACES, at, rng.f64());
        let enters = admitted && busy < PLACES;
        if admitted && !enters {
            fair.turned_away();
        }
        busy += f64::from(u8::from(enters));
        // The first intervals are for getting to know each other.
        if now > 2.0 {
            offered[who] += 1.0;
            served[who] += f64::from(u8::from(enters));
        }
    }
    served.iter().zip(offered).map(|(served, offered)| served / offered).collect()
}

fn gini(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let differences: f64 = values.iter().flat_map(|a| values.iter().map(move |b| (a - b).abs())).sum();
    differences / (2.0 * f64::from(u32::try_from(values.len()).unwrap()) * sum)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn rl_5_one_caller_at_ten_times_costs_the_others_nothing(
        others in 3usize..30, load in 0.3..0.65f64, seed in any::<u64>(),
    ) {
        let rate = load * CAPACITY / f64::from(u32::try_from(others).unwrap());
        let mut rates = vec![rate; others];
        rates.push((10.0 * rate).max(2.0 * CAPACITY * (1.0 - load)));
        let got = shares(Some(Order::GreedyFirst), &rates, seed);
        let mean = got[..others].iter().sum::<f64>() / f64::from(u32::try_from(others).unwrap());
        prop_assert!(mean >= 0.99, "{others} others got {mean}");
        for (n, part) in got[..others].iter().enumerate() {
            prop_assert!(*part >= 0.97, "caller {n} of {others} got {part}");
        }
        let left = (1.0 - load) * CAPACITY;
        prop_assert!(got[others] * rates[others] > left / 2.0, "what is left is his: {}", got[others]);
    }

    #[test]
    fn rl_5_memory_is_bounded_and_a_great_caller_is_not_forgotten(capacity in 2usize..40, strangers in 1u32..20) {
        let start = Instant::now();
        let mut fair = FairShare::new(Order::GreedyFirst, capacity, start);
        for n in 0..2_000 {
            let now = start + Duration::from_millis(n);
            fair.admit(&key("great"), 0.0, now, 0.0);
            for stranger in 0..strangers.min(u32::try_from(capacity).unwrap() - 1) {
                fair.admit(&key(&format!("{n} {stranger}")), 0.0, now, 0.0);
            }
            prop_assert!(fair.callers.len() <= capacity && fair.places.len() == fair.callers.len());
        }
        let great = fair.places[&fair.hasher.hash_one(key("great"))];
        prop_assert!((400.0..=501.0).contains(&fair.callers[great].demand), "{}", fair.callers[great].demand);
    }
}

proptest! {
    #[test]
    fn rl_5_the_water_level_pours_out_what_there_is(
        mut demands in prop::collection::vec(0.0..100.0f64, 1..50), supply in 0.0..3_000.0f64,
    ) {
        demands.sort_by(f64::total_cmp);
        let level = water_level(&demands, supply);
        let poured: f64 = demands.iter().map(|demand| demand.min(level)).sum();
        let wanted: f64 = demands.iter().sum();
        prop_assert!((poured - supply.min(wanted)).abs() < 1e-6, "{poured} of {supply}");
        let equal = supply / f64::from(u32::try_from(demands.len()).unwrap());
        prop_assert!(level >= equal - 1e-9, "nobody below an equal part is shed");
    }

    #[test]
    fn rl_3_the_greatest_callers_that_fit_are_kept(
        mut demands in prop::collection::vec(1.0..100.0f64, 1..50), supply in 0.0..3_000.0f64,
    ) {
        demands.sort_by(f64::total_cmp);
        let least = least_kept(&demands, supply);
        let above: f64 = demands.iter().filter(|demand| **demand > least).sum();
        let kept: f64 = demands.iter().filter(|demand| **demand >= least).sum();
        prop_assert!(above <= supply + 1e-9);
        prop_assert!(kept >= supply.min(demands.iter().sum()) - 1e-9);
    }
}

/// Shedding holds the limit below its brim; what is served there must not be taken for all there is.
#[test]
fn rl_5_callers_just_below_an_equal_part_keep_theirs() {
    let got = shares(Some(Order::GreedyFirst), &[0.22, 0.22, 0.22, 2.2].map(|part| part * CAPACITY), 1);
    assert!(got[..3].iter().all(|part| *part >= 0.97), "{got:?}");
}

/// Twenty callers, the n-th with a demand of 1/n; together twice the capacity.
#[test]
fn rl_3_the_order_of_shedding_shows_in_the_gini_coefficient() {
    let rates: Vec<f64> = (1..=20).map(|n| 1.0 / f64::from(n)).collect();
    let sum: f64 = rates.iter().sum();
    let rates: Vec<f64> = rates.iter().map(|rate| rate / sum * 2.0 * CAPACITY).collect();
    let served = |order| {
        let got = shares(order, &rates, 3);
        got.iter().zip(&rates).map(|(part, rate)| part * rate).collect::<Vec<_>>()
    };
    let (before, fair, common) =
        (served(None), served(Some(Order::GreedyFirst)), served(Some(Order::UncommonFirst)));
    assert!(gini(&fair) < gini(&before) - 0.15, "{} before, {} fair", gini(&before), gini(&fair));
    assert!(gini(&common) > gini(&before) + 0.15, "{} before, {} common", gini(&before), gini(&common));
    for served in [fair, common] {
        let goodput = served.iter().sum::<f64>() / CAPACITY;
        assert!(goodput > 0.75, "{goodput} of capacity");
    }
}

#[test]
fn rl_5_nothing_is_shed_while_there_is_room() {
    let start = Instant::now();
    let mut fair = FairShare::new(Order::GreedyFirst, 4, start);
    for n in 0..10_000 {
        let now = start + Duration::from_millis(n);
        assert!(fair.admit(&key("one"), 0.79, now, 0.99));
        fair.turned_away();
    }
    assert!(!fair.admit(&key("one"), 0.9, start + 10 * 1000 * INTERVAL / 500, 0.99), "nothing got through");
    fair.reload(Order::UncommonFirst);
    assert!(fair.admit(&key("one"), 1.0, start + 20 * INTERVAL, 0.99), "an unknown level sheds nobody");
}
