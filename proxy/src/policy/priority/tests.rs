use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::queue::{Enqueued, STANDS};
use super::*;
use crate::policy::in_flight::InFlight;

const MILLI: Duration = Duration::from_millis(1);

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(Class),
    /// A place that only classes up to this one may take.
    Free(Class),
    Expire,
    /// To one of this class who goes before all.
    GiveWay(Class),
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        5 => class().prop_map(Step::Arrive),
        3 => class().prop_map(Step::Free),
        1 => Just(Step::Expire),
        1 => class().prop_map(Step::GiveWay),
        1 => any::<usize>().prop_map(Step::Cancel),
    ];
    prop::collection::vec((0u64..30, step), 1..300)
}

proptest! {
    /// Every request is a number; who waits is kept beside the queue, in the order of arrival.
    #[test]
    fn bh_3_nobody_is_lost_waits_too_long_or_is_passed_over(
        capacity in 0usize..12, timeout in 1u32..200, steps in steps(),
    ) {
        let timeout = MILLI * timeout;
        let mut queue = Queue::new(timeout);
        let (mut now, mut waiting, mut tickets) = (Instant::now(), Vec::new(), HashMap::new());
        for (id, (later, step)) in steps.into_iter().enumerate() {
            now += MILLI * u32::try_from(later).unwrap();
            match step {
                Step::Arrive(class) => {
                    let full = waiting.len() >= capacity;
                    match queue.enqueue(class, id, !full, now) {
                        Enqueued::Waits(ticket) => {
                            prop_assert!(!full);
                            tickets.insert(id, ticket);
                            waiting.push((id, class, now));
                        }
                        Enqueued::Displaced(ticket, gone) => {
                            let at = waiting.iter().position(|(id, ..)| *id == gone).expect("unknown");
                            let lowest = waiting.iter().map(|(_, class, _)| *class).max();
                            prop_assert!(full && waiting[at].1 >= class && Some(waiting[at].1) == lowest);
                            waiting.remove(at);
                            tickets.insert(id, ticket);
                            waiting.push((id, class, now));
                        }
                        Enqueued::Refused(refused) => {
                            prop_assert!(full && refused == id);
                            prop_assert!(waiting.iter().all(|(_, other, _)| *other <= class));
                            let own = waiting.iter().find(|(_, other, _)| *other == class);
                            prop_assert!(own.is_none_or(|(_, _, since)| now - *since < timeout / STANDS));
                        }
                    }
                }
                Step::Free(lowest) => {
                    let served = queue.next(now, |class| class <= lowest);
                    let line = |class| {
                        let of = waiting.iter().filter(|(_, other, _)| *other == class).collect::<Vec<_>>();
                        let stands = of.first().is_some_and(|(_, _, since)| now - *since >= timeout / STANDS);
                        let first = if stands { of.last() } else { of.first() };
                        first.filter(|(_, _, since)| now - *since < timeout).map(|(id, ..)| *id)
                    };
                    let expected = Class::ALL.into_iter().filter(|class| *class <= lowest).find_map(line);
                    prop_assert_eq!(served, expected);
                    waiting.retain(|(id, ..)| Some(*id) != served);
                }
                Step::Expire => {
                    prop_assert_eq!(queue.next_wakeup(), waiting.first().map(|(_, _, since)| *since + timeout));
                    while let Some(id) = queue.expire(now) {
                        let at = waiting.iter().position(|(other, ..)| *other == id).expect("unknown");
                        prop_assert!(now - waiting.remove(at).2 >= timeout);
                    }
                    prop_assert!(waiting.iter().all(|(_, _, since)| now - *since < timeout));
                }
                Step::GiveWay(class) => {
                    let lowest = waiting.iter().map(|(_, class, _)| *class).max().filter(|lowest| *lowest >= class);
                    let oldest = waiting.iter().find(|(_, other, _)| Some(*other) == lowest).map(|(id, ..)| *id);
                    prop_assert_eq!(queue.give_way(class), oldest);
                    waiting.retain(|(id, ..)| Some(*id) != oldest);
                }
                Step::Cancel(which) => {
                    let id = which % (id + 1);
                    let waits = waiting.iter().any(|(other, ..)| *other == id);
                    let cancelled = tickets.get(&id).and_then(|ticket| queue.cancel(*ticket));
                    prop_assert_eq!(cancelled, waits.then_some(id));
                    waiting.retain(|(other, ..)| *other != id);
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
            prop_assert!(queue.len() <= capacity);
        }
    }

    #[test]
    fn bh_4_the_partition_of_the_critical_ones_is_held_by_nobody_else(
        limit in 0u32..200, default in 0.0..=1.2f64, sheddable in 0.0..=1.2f64,
        arrivals in prop::collection::vec(class(), 0..400),
    ) {
        let shares = Shares { default, sheddable };
        let caps = Class::ALL.map(|class| cap(&shares, class, limit));
        prop_assert!(caps[0] == limit && caps[0] >= caps[1] && caps[1] >= caps[2]);
        prop_assert!(limit == 0 || caps[2] > 0);
        let (mut places, mut inside) = (InFlight::default(), [0; 3]);
        for class in arrivals {
            inside[class as usize] += u32::from(places.enter(cap(&shares, class, limit)));
        }
        prop_assert!(inside.iter().sum::<u32>() <= limit);
        prop_assert!(inside[1] + inside[2] <= caps[1]);
        prop_assert!(inside[2] <= caps[2]);
    }
}

/// A server of 50 places, 10 ms exponentially, offered twice what it can do, through a queue of 50.
fn overload(mix: [f64; 3], seed: u64) -> ([f64; 3], f64) {
    let (start, mut rng, mut now) = (Instant::now(), fastrand::Rng::with_seed(seed), 0.0);
    let mut queue = Queue::new(100 * MILLI);
    let (mut places, limit) = (InFlight::default(), 50);
    let (mut offered, mut served) = ([0.0; 3], [0.0; 3]);
    let (seconds, service, arrivals) = (20.0, 0.01, 10_000.0);
    while now < seconds {
        let busy = f64::from(places.count()) / service;
        now -= (1.0 - rng.f64()).ln() / (arrivals + busy);
        let at = start + Duration::from_secs_f64(now);
        while queue.expire(at).is_some() {}
        if rng.f64() * (arrivals + busy) < arrivals {
            let draw = rng.f64();
            let class = Class::ALL[usize::from(draw >= mix[0]) + usize::from(draw >= mix[0] + mix[1])];
            offered[class as usize] += 1.0;
            if queue.is_empty() && places.enter(limit) {
                served[class as usize] += 1.0;
            } else {
                let room = queue.len() < 50;
                queue.enqueue(class, class, room, at);
            }
        } else {
            places.leave();
            let next = queue.next(at, |_| places.enter(limit));
            next.inspect(|class| served[*class as usize] += 1.0);
        }
    }
    let goodput = served.iter().sum::<f64>() / (f64::from(limit) / service * seconds);
    ([0, 1, 2].map(|class| 1.0 - served[class] / offered[class]), goodput)
}

#[test]
fn rl_2_at_twice_the_capacity_critical_requests_lose_less_than_one_percent() {
    for (seed, mix) in [[0.2, 0.4, 0.4], [0.45, 0.35, 0.2], [0.05, 0.05, 0.9]].into_iter().enumerate() {
        let ([critical, default, sheddable], goodput) = overload(mix, seed as u64);
        assert!(critical < 0.01, "{critical} of {mix:?} lost");
        assert!(default <= sheddable && sheddable > 0.5, "{default} and {sheddable} of {mix:?} lost");
        assert!(goodput > 0.95, "{goodput} of capacity");
    }
}

/// 100 a second are served, 200 come; one line.
#[test]
fn bh_3_in_a_standing_queue_the_newest_wait_little() {
    let start = Instant::now();
    let mut queue = Queue::new(1000 * MILLI);
    let mut waits = Vec::new();
    for n in 0..4_000u32 {
        let now = start + 5 * n * MILLI;
        while queue.expire(now).is_some() {}
        let room = queue.len() < 100;
        queue.enqueue(Class::Default, now, room, now);
        if n % 2 == 0 {
            waits.extend(queue.next(now, |_| true).map(|since| now - since));
        }
    }
    assert!(waits.len() > 1_950, "{} served", waits.len());
    waits.sort();
    assert!(waits[waits.len() / 2] <= 10 * MILLI, "{:?}", waits[waits.len() / 2]);
}

#[test]
fn bh_3_a_burst_is_served_in_its_order() {
    let start = Instant::now();
    let mut queue = Queue::new(1000 * MILLI);
    for n in 0..3 {
        assert!(matches!(queue.enqueue(Class::Default, n, true, start), Enqueued::Waits(_)));
    }
    assert_eq!(queue.enqueue(Class::Default, 3, false, start), Enqueued::Refused(3));
    assert_eq!(queue.enqueue(Class::Sheddable, 4, false, start), Enqueued::Refused(4));
    assert!(matches!(queue.enqueue(Class::Critical, 5, false, start), Enqueued::Displaced(_, 0)));
    let soon = start + 99 * MILLI;
    let order: Vec<_> = std::iter::from_fn(|| queue.next(soon, |_| true)).collect();
    assert_eq!(order, [5, 1, 2]);
    assert!(queue.is_empty());
}

#[test]
fn bh_2_a_place_is_taken_only_for_who_gets_it() {
    let start = Instant::now();
    let mut queue = Queue::new(100 * MILLI);
    let mut places = InFlight::default();
    assert_eq!(queue.next(start, |_| places.enter(1)), None);
    queue.enqueue(Class::Default, 'a', true, start);
    assert_eq!(queue.next(start + 100 * MILLI, |_| places.enter(1)), None, "too late");
    assert_eq!(places.count(), 0);
    queue.enqueue(Class::Sheddable, 'b', true, start + 100 * MILLI);
    assert_eq!(queue.next(start + 100 * MILLI, |_| places.enter(1)), Some('b'));
    queue.reload(50 * MILLI);
    assert_eq!(queue.enqueue(Class::Default, 'c', false, start), Enqueued::Refused('c'));
    assert_eq!(queue.expire(start + 50 * MILLI), Some('a'));
}
