use proptest::prelude::*;

use super::*;

fn addrs() -> impl Strategy<Value = Vec<SocketAddr>> {
    prop::collection::btree_set((any::<[u8; 4]>(), any::<u16>()), 1..12)
        .prop_map(|set| set.into_iter().map(SocketAddr::from).collect())
        .prop_shuffle()
}

fn key(n: u32) -> u64 {
    hash(&n.to_be_bytes())
}

/// Whose the first `keys` keys are while nobody is busy.
fn owners(addrs: &[SocketAddr], keys: u32, excluded: Option<SocketAddr>) -> Vec<SocketAddr> {
    let ring = Ring::new(addrs);
    let owner = |n| ring.pick(key(n), |_| 0, |n| Some(addrs[n]) == excluded);
    (0..keys).map(|n| addrs[owner(n).unwrap()]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lb_10_who_joins_takes_its_part_and_moves_no_other_key(addrs in addrs()) {
        const KEYS: u32 = 4_000;
        prop_assume!(addrs.len() > 1);
        let (newcomer, before) = addrs.split_last().unwrap();
        let (old, new) = (owners(before, KEYS, None), owners(&addrs, KEYS, None));
        let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        prop_assert!(old.iter().zip(&new).all(|(old, new)| old == new || new == newcomer));
        #[expect(clippy::cast_precision_loss, reason = "a dozen")]
        let most = 1.0 / before.len() as f64 + 0.03;
        prop_assert!(f64::from(u32::try_from(moved).unwrap()) / f64::from(KEYS) <= most, "{moved} moved");
    }

    #[test]
    fn lb_10_who_leaves_or_is_excluded_gives_away_its_own_keys_only(addrs in addrs()) {
        prop_assume!(addrs.len() > 1);
        let (gone, rest) = addrs.split_last().unwrap();
        let (old, excluded) = (owners(&addrs, 500, None), owners(&addrs, 500, Some(*gone)));
        for (old, new) in old.iter().zip(&excluded) {
            prop_assert_eq!(old != new, old == gone);
        }
        prop_assert_eq!(excluded, owners(rest, 500, None), "to be excluded is to be gone");
    }

    #[test]
    fn lb_10_the_order_of_addresses_does_not_matter((addrs, shuffled) in addrs().prop_flat_map(|addrs| {
        (Just(addrs.clone()), Just(addrs).prop_shuffle())
    })) {
        prop_assert_eq!(owners(&addrs, 200, None), owners(&shuffled, 200, None));
    }

    /// Requests come and end, all with a few keys: whoever takes one has room for it.
    #[test]
    fn lb_10_no_endpoint_bears_more_than_its_bound(
        addrs in addrs(), requests in prop::collection::vec((0u32..3, any::<bool>(), any::<prop::sample::Index>()), 1..300),
    ) {
        let ring = Ring::new(&addrs);
        let mut loads = vec![0u32; addrs.len()];
        let mut out = Vec::new();
        for (n, ends, nth) in requests {
            if ends && !out.is_empty() {
                let done: usize = out.swap_remove(nth.index(out.len()));
                loads[done] -= 1;
            }
            let picked = ring.pick(key(n), |n| loads[n], |_| false).unwrap();
            loads[picked] += 1;
            out.push(picked);
            let most = (5 * out.len()).div_ceil(4 * addrs.len());
            prop_assert!(loads[picked] as usize <= most, "{loads:?}");
        }
    }

    #[test]
    fn lb_10_the_excluded_is_picked_only_when_all_are(addrs in addrs(), excluded in any::<u16>(), n in any::<u32>()) {
        let is_excluded = |n: usize| excluded >> n & 1 == 1;
        let picked = Ring::new(&addrs).pick(key(n), |_| 9, is_excluded).unwrap();
        prop_assert!(!is_excluded(picked) || (0..addrs.len()).all(is_excluded));
    }
}

#[test]
fn lb_10_parts_are_about_equal() {
    let addrs: Vec<_> = (1..=10u8).map(|n| SocketAddr::from(([10, 0, 0, n], 8000))).collect();
    let owners = owners(&addrs, 20_000, None);
    for addr in &addrs {
        let part = owners.iter().filter(|owner| *owner == addr).count();
        assert!((1_500..2_600).contains(&part), "{addr}: {part} of 20000");
    }
}

#[test]
fn lb_10_a_favourite_overflows_to_its_neighbour_and_comes_back() {
    let addrs: Vec<_> = (1..=4u8).map(|n| SocketAddr::from(([10, 0, 0, n], 8000))).collect();
    let ring = Ring::new(&addrs);
    let mut loads = [0u32; 4];
    let owner = ring.pick(key(1), |n| loads[n], |_| false).unwrap();
    for _ in 0..100 {
        loads[ring.pick(key(1), |n| loads[n], |_| false).unwrap()] += 1;
    }
    assert_eq!(loads[owner], 32, "1.25 × 25, rounded up: {loads:?}");
    loads[owner] -= 1;
    assert_eq!(ring.pick(key(1), |n| loads[n], |_| false), Some(owner));
}

#[test]
fn an_empty_ring_has_nobody() {
    assert_eq!(Ring::new(&[]).pick(7, |_| 0, |_| false), None);
}
