use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::policy::outcome::tests::{SILENT, status};

const SECOND: fn(u64) -> Duration = Duration::from_secs;

fn config(percent: f64) -> OutlierDetection {
    OutlierDetection {
        consecutive_failures: NonZeroU32::new(7).unwrap(),
        base_ejection_time: SECOND(1),
        max_ejection_time: SECOND(60),
        max_ejection_percent: percent,
    }
}

/// The ejections of members `0..n`.
fn ejections(n: u64, percent: f64, now: Instant) -> Ejections {
    let mut ejections = Ejections::new(config(percent));
    assert!(ejections.set_members(&(0..n).collect::<Vec<_>>(), now).is_empty());
    ejections
}

#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Eject(u64, f64),
    Wake,
    Members(Vec<u64>),
    Reload(f64),
}

fn percent() -> impl Strategy<Value = f64> {
    prop_oneof![3 => 0.0..=1.0f64, 1 => Just(1.0), 1 => Just(0.5)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let members = prop::collection::btree_set(0u64..12, 0..12).prop_map(|ids| ids.into_iter().collect());
    let event = prop_oneof![
        2 => (0u64..10_000).prop_map(Event::Wait),
        8 => (0u64..12, 0.0..=1.0f64).prop_map(|(id, draw)| Event::Eject(id, draw)),
        2 => Just(Event::Wake),
        1 => members.prop_map(Event::Members),
        1 => percent().prop_map(Event::Reload),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    /// Those who act on what they are told see the same ejections as the machine, and never too many.
    #[test]
    fn lb_6_never_more_than_the_maximum_and_never_all(percent in percent(), events in events()) {
        let mut now = Instant::now();
        let mut machine = ejections(12, percent, now);
        let (mut members, mut percent) = ((0..12).collect::<Vec<u64>>(), percent);
        let mut told = std::collections::BTreeSet::new();
        for event in events {
            let returned = match event {
                Event::Wait(ms) => {
                    now += Duration::from_millis(ms);
                    Vec::new()
                }
                Event::Eject(id, draw) => {
                    let before = told.len();
                    match machine.eject(id, now, draw) {
                        Verdict::Ejected { until, .. } => {
                            prop_assert!(until > now && members.contains(&id) && told.insert(id));
                        }
                        Verdict::Spared => prop_assert!(before >= machine.most(), "spared although there was room"),
                        Verdict::Unconcerned => prop_assert!(told.contains(&id) || !members.contains(&id)),
                    }
                    Vec::new()
                }
                Event::Wake => {
                    let returned = machine.on_wakeup(now);
                    prop_assert!(machine.next_wakeup().is_none_or(|next| next > now));
                    returned
                }
                Event::Members(ids) => {
                    members.clone_from(&ids);
                    told.retain(|id| ids.contains(id));
                    machine.set_members(&ids, now)
                }
                Event::Reload(p) => {
                    percent = p;
                    machine.reconfigure(&config(p), now)
                }
            };
            for id in returned {
                prop_assert!(told.remove(&id), "{id} returned from nowhere");
            }
            let n = members.len();
            #[expect(clippy::cast_precision_loss, reason = "a dozen")]
            let share = told.len() as f64 / n.max(1) as f64;
            prop_assert!(share <= percent + 1e-6, "{} of {n} at {percent}", told.len());
            prop_assert!(n == 0 || told.len() < n, "all");
            prop_assert_eq!(told.len(), machine.ejected());
        }
    }

    #[test]
    fn lb_5_only_failures_in_a_row_count(outcomes in prop::collection::vec(prop_oneof![
        prop::sample::select([200, 503, 503, 404, 429].map(status).to_vec()), prop::sample::select(SILENT.to_vec()),
    ], 0..60)) {
        let now = Instant::now();
        let mut streak = Streak::new(now);
        let mut expected = 0;
        for outcome in outcomes {
            match outcome.class() {
                Class::System => expected += 1,
                Class::Success | Class::Customer => expected = 0,
                Class::Throttled | Class::Neutral => {}
            }
            prop_assert_eq!(streak.on_outcome(&outcome, now), expected);
        }
    }
}

#[test]
fn lb_6_the_maximum_is_exact_after_rounding() {
    let now = Instant::now();
    let rounded = [
        (3, 0.5, 1),
        (2, 0.5, 1),
        (4, 0.5, 2),
        (1, 1.0, 0),
        (3, 1.0, 2),
        (10, 0.1, 1),
        (9, 0.1, 0),
        (5, 0.0, 0),
        (100, 0.29, 29),
        (0, 1.0, 0),
    ];
    for (n, percent, most) in rounded {
        let mut ejections = ejections(n, percent, now);
        assert_eq!(ejections.most(), most);
        let out =
            (0..n).filter(|id| matches!(ejections.eject(*id, now, 0.5), Verdict::Ejected { .. })).count();
        assert_eq!(out, most, "{n} at {percent}");
    }
}

#[test]
fn lb_6_when_the_set_shrinks_those_return_whose_time_is_up_first() {
    let now = Instant::now();
    let mut ejections = ejections(4, 0.5, now);
    ejections.eject(2, now, 0.0);
    ejections.eject(1, now, 1.0);
    assert_eq!(ejections.set_members(&[1, 2, 3], now), [2], "one of three");
    assert_eq!(ejections.set_members(&[1], now), [1], "never the last");
    assert_eq!((ejections.ejected(), ejections.next_wakeup()), (0, None));
}

#[test]
fn lb_6_a_lower_maximum_applies_at_once() {
    let now = Instant::now();
    let mut ejections = ejections(4, 0.5, now);
    ejections.eject(0, now, 1.0);
    ejections.eject(1, now, 0.0);
    assert_eq!(ejections.reconfigure(&config(0.25), now), [1]);
}

#[test]
fn lb_5_ejections_grow_and_are_forgiven() {
    let mut now = Instant::now();
    let mut ejections = ejections(2, 0.5, now);
    let seconds = [0, 0, 0, 4, 100].map(|behaved| {
        now += SECOND(behaved);
        let Verdict::Ejected { until, .. } = ejections.eject(0, now, 0.0) else { panic!("there is room") };
        assert!(ejections.on_wakeup(until.checked_sub(Duration::from_nanos(1)).unwrap()).is_empty());
        assert_eq!(ejections.on_wakeup(until), [0]);
        let away = until - now;
        now = until;
        away.as_secs()
    });
    assert_eq!(seconds, [1, 2, 4, 4, 1]);
}

#[test]
fn lb_5_attempts_begun_before_the_end_of_an_ejection_count_for_nothing() {
    let now = Instant::now();
    let mut streak = Streak::new(now);
    (1..=7).for_each(|n| assert_eq!(streak.on_outcome(&status(503), now), n));
    let until = now + SECOND(1);
    streak.restart(until);
    (0..9).for_each(|_| assert_eq!(streak.on_outcome(&Outcome::AttemptTimeout, now), 0));
    assert_eq!(streak.on_outcome(&status(503), until), 1);
    assert_eq!(streak.on_outcome(&status(200), now), 1, "an old success is no evidence either");
}

#[test]
fn lb_13_one_that_is_ejected_over_and_over_is_reported_once() {
    let start = Instant::now();
    let mut ejections = ejections(2, 0.5, start);
    let mut now = start;
    let mut told = Vec::new();
    for n in 1..=12 {
        let Verdict::Ejected { until, chronic } = ejections.eject(0, now, 0.0) else {
            panic!("there is room")
        };
        told.extend(chronic.then_some(n));
        ejections.on_wakeup(until);
        now = until;
    }
    assert_eq!(told, [6, 12], "more than five");

    let mut rarely = ejections_of_once_in(Duration::from_mins(12), start);
    assert!(!rarely.any(|chronic| chronic), "five in an hour are not");
}

/// Whether each of a dozen ejections, so far apart, is reported as chronic.
fn ejections_of_once_in(gap: Duration, start: Instant) -> impl Iterator<Item = bool> {
    let mut ejections = ejections(2, 0.5, start);
    (1..=12).map(move |n| {
        ejections.on_wakeup(start + gap * n);
        matches!(ejections.eject(0, start + gap * n, 0.0), Verdict::Ejected { chronic: true, .. })
    })
}
