use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;

use super::*;

const ABORT: Kind = Kind::Abort(StatusCode::SERVICE_UNAVAILABLE);

fn experiment(seed: u64, max_active: u32, faults: Vec<(f64, Kind)>) -> Experiment {
    Experiment { seed, lasts: Duration::from_mins(1), max_active, faults }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Delay(Duration::from_millis(5)),
        ABORT,
        Kind::Reset,
        Kind::PartialBody(10),
        Kind::Throttle(1000),
        Kind::Sever,
        Kind::Hide(1),
    ])
}

proptest! {
    #[test]
    fn ch_1_the_same_seed_faults_the_same_matches(
        seed in any::<u64>(), faults in prop::collection::vec((0.0..=1.0f64, kind()), 1..4),
        matched in prop::collection::vec(0usize..4, 0..200),
    ) {
        let now = Instant::now();
        let run = |injector: &mut Injector, matched: &[usize]| {
            matched.iter().map(|rule| (*rule, injector.decide(*rule, now))).collect::<Vec<_>>()
        };
        let new = |seed| Injector::new(experiment(seed, u32::MAX, faults.clone()), now);
        let all = run(&mut new(seed), &matched);
        prop_assert_eq!(&run(&mut new(seed), &matched), &all);
        let only: Vec<_> = matched.iter().copied().filter(|rule| *rule == 0).collect();
        let of_first: Vec<_> = all.into_iter().filter(|(rule, _)| *rule == 0).collect();
        prop_assert_eq!(run(&mut new(seed), &only), of_first, "other rules in between change nothing");
    }

    #[test]
    fn ch_1_the_share_of_matches_is_faulted(seed in any::<u64>(), share in 0.0..=1.0f64) {
        let now = Instant::now();
        let mut injector = Injector::new(experiment(seed, u32::MAX, vec![(share, ABORT)]), now);
        let faulted = (0..2_000).filter(|_| injector.decide(0, now) == Decision::Inject(ABORT)).count();
        let (faulted, deviation) = (f64::from(u32::try_from(faulted).unwrap()), (2_000.0 * share * (1.0 - share)).sqrt());
        prop_assert!((faulted - 2_000.0 * share).abs() <= 5.0 * deviation + 1.0, "{faulted} of {share}");
    }

    #[test]
    fn ch_1_the_cap_holds_and_moves_no_fault(
        seed in any::<u64>(), cap in 0u32..5, steps in prop::collection::vec(any::<bool>(), 1..300),
    ) {
        let now = Instant::now();
        let new = |cap| Injector::new(experiment(seed, cap, vec![(0.5, ABORT)]), now);
        let (mut capped, mut free, mut active) = (new(cap), new(u32::MAX), 0);
        for matches in steps {
            if matches {
                let expected = match free.decide(0, now) {
                    Decision::Inject(_) if active >= cap => Decision::Capped,
                    other => other,
                };
                active += u32::from(matches!(expected, Decision::Inject(_)));
                prop_assert_eq!(capped.decide(0, now), expected);
            } else if active > 0 {
                capped.over();
                active -= 1;
            }
            prop_assert!(capped.active() == active && active <= cap);
        }
    }

    #[test]
    fn ch_2_endpoints_stay_hidden_when_others_come_and_go(
        seed in any::<u64>(), count in 0usize..6, mut ids in prop::collection::hash_set(any::<u64>(), 1..20),
    ) {
        let now = Instant::now();
        let mut injector = Injector::new(experiment(seed, 1, Vec::new()), now);
        let all: Vec<_> = ids.iter().copied().collect();
        let hidden = injector.hidden(count, &all, now);
        prop_assert_eq!(hidden.len(), count.min(all.len()));
        let shown = all.iter().find(|id| !hidden.contains(id));
        shown.inspect(|id| assert!(ids.remove(id)));
        let rest: Vec<_> = ids.into_iter().collect();
        prop_assert_eq!(injector.hidden(count, &rest, now), hidden);
    }
}

#[test]
fn ch_1_another_seed_faults_others() {
    let now = Instant::now();
    let run = |seed| {
        let mut injector = Injector::new(experiment(seed, u32::MAX, vec![(0.5, ABORT)]), now);
        (0..100).map(|_| injector.decide(0, now)).collect::<Vec<_>>()
    };
    assert_ne!(run(1), run(2));
    let mut injector = Injector::new(experiment(1, u32::MAX, vec![(0.5, ABORT), (0.5, ABORT)]), now);
    let second: Vec<_> = (0..100).map(|_| injector.decide(1, now)).collect();
    assert_ne!(run(1), second, "one rule is not the shadow of another");
    let hidden = |seed| {
        Injector::new(experiment(seed, 1, Vec::new()), now).hidden(5, &(0..10).collect::<Vec<_>>(), now)
    };
    assert_ne!(hidden(1), hidden(2));
    let (inject, spared) = (Decision::Inject(ABORT), Decision::Spared);
    assert_eq!(run(1)[..4], [inject, inject, spared, inject], "the same in every release");
}

/// Half of the attempts fail, three are made: an eighth of the requests fails. Above retries it would be half.
#[test]
fn ch_3_faults_lie_below_retries() {
    let now = Instant::now();
    let mut injector = Injector::new(experiment(7, u32::MAX, vec![(0.5, ABORT)]), now);
    let requests = 20_000;
    let failed = (0..requests)
        .filter(|_| (0..3).all(|_| matches!(injector.decide(0, now), Decision::Inject(_))))
        .count();
    assert!((requests * 115 / 1000..=requests * 135 / 1000).contains(&failed), "{failed}");
}

#[test]
fn ch_2_one_switch_ends_all() {
    let now = Instant::now();
    let mut injector = Injector::new(experiment(0, 9, vec![(1.0, Kind::Sever), (1.0, Kind::Hide(1))]), now);
    assert_eq!(injector.decide(0, now), Decision::Inject(Kind::Sever));
    assert_eq!(injector.hidden(1, &[4, 5], now).len(), 1);
    injector.end();
    assert!(!injector.is_on(now));
    assert_eq!(injector.decide(0, now), Decision::Spared);
    assert!(injector.hidden(1, &[4, 5], now).is_empty());
    assert_eq!(injector.ended(), Some(Why::Switch));
    assert_eq!(injector.active(), 1, "it is told to stop, and then says so");
    injector.over();
    assert_eq!(injector.active(), 0);
}

#[test]
fn ch_2_time_ends_it_for_good() {
    let start = Instant::now();
    let mut injector = Injector::new(experiment(0, 9, vec![(1.0, Kind::Reset)]), start);
    let ends = start + Duration::from_mins(1);
    assert_eq!(injector.decide(0, start + Duration::from_millis(59_999)), Decision::Inject(Kind::Reset));
    assert_eq!(injector.decide(0, ends), Decision::Spared);
    assert_eq!(injector.decide(0, start), Decision::Spared);
    assert_eq!(injector.ended(), Some(Why::Time));
    injector.end();
    assert_eq!(injector.ended(), Some(Why::Time));
    assert_eq!(injector.decide(5, start), Decision::Spared, "no such rule");
}
