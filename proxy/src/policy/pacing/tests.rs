//! A closed loop in virtual time: callers that pace themselves, and a server whose bucket is the real one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use outrigger_config::model::RateLimit;
use proptest::prelude::*;

use super::limit::*;
use super::told::Quota;
use super::*;
use crate::policy::rate_limit::{Decision, Gcra};

const TICK: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const QUEUE: QueueLimits = QueueLimits { capacity: 1024, timeout: Duration::from_millis(500) };

/// Decides about a request that came then.
type Server = Box<dyn FnMut(Instant) -> Heard>;

/// What a server tells of its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tells {
    /// Its rate, and how it stands.
    Rate,
    /// How it stands.
    Fields,
    /// 429, and nothing else.
    Nothing,
}

/// Our own server, with a limit that may change.
fn bucket(limit: Rc<Cell<RateLimit>>, tells: Tells) -> Server {
    let began = Instant::now();
    let (mut known, mut cell) = (limit.get(), 0);
    Box::new(move |now| {
        let gcra = Gcra::new(limit.get(), began);
        cell = gcra.carry(cell, &Gcra::new(known, began), now);
        known = limit.get();
        let decision = gcra.take(cell, now);
        let refused = matches!(decision, Decision::Denied { .. });
        if let Decision::Passed { cell: next, .. } = decision {
            cell = next;
        }
        let fields = gcra.fields(&decision);
        let quota = quota(fields.limit, number(fields.remaining), number(fields.reset));
        let rate = (tells == Tells::Rate).then_some(known.rate);
        let wait = fields.retry_after.filter(|_| tells != Tells::Nothing).map(Duration::from_secs);
        Heard { quota: (tells != Tells::Nothing).then_some(Quota { rate, ..quota }), refused, wait }
    })
}

/// A server that gives so many for each window.
fn window(limit: u32, length: Duration) -> Server {
    let (mut ends, mut used) = (Instant::now(), 0);
    Box::new(move |now| {
        while now >= ends {
            (ends, used) = (ends + length, 0);
        }
        used += 1;
        let reset = (ends - now).as_secs_f64().ceil();
        let wait = (used > limit).then(|| Duration::from_secs_f64(reset));
        Heard {
            quota: Some(quota(limit, f64::from(limit.saturating_sub(used)), reset)),
            refused: wait.is_some(),
            wait,
        }
    })
}

/// A server that takes everything and says this.
fn saying(quota: Option<Quota>) -> Server {
    Box::new(move |_| Heard { quota, ..Heard::default() })
}

fn quota(limit: u32, remaining: f64, reset: f64) -> Quota {
    Quota { limit: limit.into(), remaining, reset: reset.max(1.0), rate: None }
}

fn number(whole: u64) -> f64 {
    u32::try_from(whole).unwrap().into()
}

fn refusal() -> Heard {
    Heard { refused: true, ..Heard::default() }
}

fn of(rate: f64, burst: u32) -> Rc<Cell<RateLimit>> {
    Rc::new(Cell::new(RateLimit { rate, burst }))
}

/// What the server saw in a while.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    passed: f64,
    refused: f64,
}

impl Seen {
    fn share_refused(self) -> f64 {
        self.refused / (self.passed + self.refused).max(1.0)
    }
}

struct Client {
    pacer: Pacer,
    waiting: VecDeque<(Number, Instant)>,
    /// When answers come, when they were asked for, and what they say.
    coming: VecDeque<(Instant, Instant, Heard)>,
    passed: f64,
}

struct World {
    now: Instant,
    server: Server,
    clients: Vec<Client>,
    /// Requests a second of each client.
    demand: f64,
    /// There and back.
    trip: Duration,
    chance: fastrand::Rng,
}

impl World {
    fn new(clients: u32, demand: f64, server: Server) -> Self {
        let now = Instant::now();
        let client = |_| Client {
            pacer: Pacer::new(now),
            waiting: VecDeque::new(),
            coming: VecDeque::new(),
            passed: 0.0,
        };
        Self {
            now,
            server,
            clients: (0..clients).map(client).collect(),
            demand: demand / f64::from(clients),
            trip: Duration::from_millis(5),
            chance: fastrand::Rng::with_seed(7),
        }
    }

    fn run(&mut self, time: Duration) -> Seen {
        let mut seen = Seen::default();
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for at in 0..self.clients.len() {
                self.step(at, &mut seen);
            }
        }
        seen
    }

    fn step(&mut self, at: usize, seen: &mut Seen) {
        let (now, client) = (self.now, &mut self.clients[at]);
        let mut expected = self.demand * TICK.as_secs_f64();
        while expected > 0.0 {
            if self.chance.f64() < expected
                && let Ok((number, _)) = client.pacer.draw(QUEUE, now)
            {
                client.waiting.push_back((number, now + QUEUE.timeout));
            }
            expected -= 1.0;
        }
        while let Some(&(number, until)) = client.waiting.front() {
            if client.pacer.until(number, now).is_zero() {
                let heard = (self.server)(now);
                let count = if heard.refused { &mut seen.refused } else { &mut seen.passed };
                *count += 1.0;
                client.passed += f64::from(u8::from(!heard.refused));
                client.coming.push_back((now + self.trip, now, heard));
            } else if now >= until {
                client.pacer.leave();
            } else {
                break;
            }
            client.waiting.pop_front();
        }
        while let Some((_, sent, heard)) = client.coming.pop_front_if(|(at, ..)| *at <= now) {
            client.pacer.hear(&heard, sent, now);
        }
    }

    fn pace(&mut self) -> Option<f64> {
        self.clients[0].pacer.pace(self.now)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn bp_2_hardly_any_429_and_hardly_any_waste(
        clients in 1u32..=8,
        (rate, percent) in (50u32..500, 10u32..150),
        surplus in 1.3..4.0f64,
        trip in 1u64..100,
        seed: u64,
    ) {
        let (burst, rate) = ((rate * percent / 100).max(10), f64::from(rate));
        let mut world = World::new(clients, rate * surplus, bucket(of(rate, burst), Tells::Rate));
        (world.trip, world.chance) = (Duration::from_millis(trip), fastrand::Rng::with_seed(seed));
        world.run(5 * SECOND);
        let seen = world.run(20 * SECOND);
        prop_assert!(seen.share_refused() < 0.01, "{seen:?}");
        prop_assert!(seen.passed >= 0.95 * 20.0 * rate, "{seen:?}");
        let each = || world.clients.iter().map(|client| client.passed);
        let (least, most) = (each().fold(f64::INFINITY, f64::min), each().fold(0.0, f64::max));
        prop_assert!(least >= 0.5 * most, "{least} and {most}");
    }

    #[test]
    fn bp_2_who_may_go_at_once_does(burst in 20u32..500, clients in 1u32..=8, seed: u64) {
        let rate = f64::from(burst);
        let mut world = World::new(clients, rate * 0.6, bucket(of(rate, burst), Tells::Rate));
        world.chance = fastrand::Rng::with_seed(seed);
        let seen = world.run(20 * SECOND);
        prop_assert!(seen.share_refused() < 0.01, "{seen:?}");
        prop_assert!(seen.passed >= 0.5 * 20.0 * rate, "{seen:?}");
    }

    /// Whatever answers say: probes pass, waits end, and nothing of it lasts.
    #[test]
    fn bp_2_no_lie_is_an_outage(
        lies in prop::collection::vec((any_heard(), 0u64..2_000), 1..100),
        demand in 2usize..20,
    ) {
        let mut now = Instant::now();
        let mut pacer = Pacer::new(now);
        for (heard, millis) in lies {
            now += Duration::from_millis(millis);
            pacer.hear(&heard, now, now);
            prop_assert!(pacer.pace(now).is_none_or(|pace| (PROBE..=MOST).contains(&pace)), "{pacer:?}");
        }
        let mut passed = 0;
        for _ in 0..10 * demand {
            now += SECOND / u32::try_from(demand).unwrap();
            passed += u32::from(pacer.draw(QUEUE, now).is_ok());
        }
        prop_assert!(passed >= 9, "{passed} in ten seconds: {pacer:?}");
        now += LONGEST_HOLD;
        prop_assert_eq!(pacer.pace(now), None, "forgotten");
    }

    #[test]
    fn bp_2_numbers_are_called_in_their_order(paces in prop::collection::vec(1u32..200, 1..50)) {
        let mut now = Instant::now();
        let mut pacer = Pacer::new(now);
        let patient = QueueLimits { timeout: Duration::MAX, ..QUEUE };
        let mut waiting = VecDeque::new();
        for pace in paces {
            pacer.hear(&Heard { quota: Some(quota(pace, pace.into(), 1.0)), ..Heard::default() }, now, now);
            waiting.extend((0..9).map(|_| pacer.draw(patient, now).unwrap().0));
            now += Duration::from_millis(20);
            let waits: Vec<_> = waiting.iter().map(|number| pacer.until(*number, now)).collect();
            prop_assert!(waits.is_sorted(), "{waits:?}");
            let called = waits.iter().filter(|wait| wait.is_zero()).count();
            waiting.drain(..called);
        }
    }
}

fn any_heard() -> impl Strategy<Value = Heard> {
    let number = || prop_oneof![Just(1.0), 1.0..1e3f64, Just(1e15)];
    let quota =
        (number(), prop_oneof![Just(0.0), number()], number(), prop::option::of((number(), number())));
    let quota = quota.prop_map(|(limit, remaining, reset, policy)| Quota {
        limit,
        remaining: remaining.min(limit),
        reset,
        rate: policy.map(|(quota, window)| quota / window),
    });
    let wait = prop::option::of((0u64..1_000_000).prop_map(Duration::from_secs));
    (prop::option::of(quota), any::<bool>(), wait).prop_map(|(quota, refused, wait)| Heard {
        quota,
        refused,
        wait,
    })
}

#[test]
fn bp_2_the_pace_follows_the_limit() {
    let limit = of(100.0, 20);
    let mut world = World::new(4, 600.0, bucket(Rc::clone(&limit), Tells::Rate));
    world.run(10 * SECOND);
    for rate in [300.0, 50.0, 100.0] {
        limit.set(RateLimit { rate, burst: 20 });
        world.run(3 * SECOND);
        let seen = world.run(5 * SECOND);
        assert!(seen.passed >= 0.95 * 5.0 * rate && seen.share_refused() < 0.01, "{rate}: {seen:?}");
    }
}

#[test]
fn bp_2_what_is_heard_no_more_is_forgotten() {
    let mut world = World::new(1, 200.0, bucket(of(100.0, 20), Tells::Rate));
    world.run(5 * SECOND);
    assert!(world.pace().is_some_and(|pace| pace < 100.0));
    world.server = saying(None);
    world.run(FORGET + SECOND);
    assert_eq!(world.pace(), None);
    assert!(world.run(5 * SECOND).passed > 900.0);
}

#[test]
fn bp_2_a_bucket_that_is_always_empty_costs_a_bounded_share() {
    let told = Quota { rate: Some(160.0), ..quota(20, 0.0, 1.0) };
    let mut world = World::new(1, 200.0, saying(Some(told)));
    world.run(60 * SECOND);
    assert!(world.pace().is_some_and(|pace| pace >= 9.8), "{:?}", world.pace());
}

#[test]
fn bp_2_what_remains_of_a_long_window_is_spread_over_it() {
    for clients in [1, 4] {
        let mut world = World::new(clients, 20.0, window(600, 60 * SECOND));
        world.run(60 * SECOND);
        let seen = world.run(120 * SECOND);
        assert!(seen.share_refused() < 0.01 && seen.passed >= 0.95 * 1200.0, "{clients}: {seen:?}");
    }
}

#[test]
fn bp_2_a_short_window_is_used_to_its_end() {
    let mut world = World::new(1, 200.0, window(100, SECOND));
    world.run(5 * SECOND);
    let seen = world.run(20 * SECOND);
    assert!(seen.share_refused() < 0.01 && seen.passed >= 0.95 * 2000.0, "{seen:?}");
}

#[test]
fn bp_2_a_server_that_tells_no_rate_is_felt_for() {
    for clients in [1, 3, 8] {
        let mut world = World::new(clients, 200.0, bucket(of(100.0, 50), Tells::Fields));
        world.run(10 * SECOND);
        let seen = world.run(20 * SECOND);
        assert!(seen.share_refused() < 0.01 && seen.passed >= 0.95 * 2000.0, "{clients}: {seen:?}");
        let mut world = World::new(clients, 200.0, bucket(of(100.0, 50), Tells::Nothing));
        world.run(5 * SECOND);
        let seen = world.run(20 * SECOND);
        // A quarter of the excess would still be 25 %.
        assert!(seen.share_refused() < 0.1 && seen.passed >= 0.9 * 2000.0, "{clients}: {seen:?}");
    }
}

#[test]
fn bp_2_who_is_told_to_wait_probes_until_it_is_over() {
    let start = Instant::now();
    let mut pacer = Pacer::new(start);
    let busy = |seconds| Heard { wait: Some(Duration::from_secs(seconds)), ..Heard::default() };
    pacer.hear(&busy(10), start, start);
    assert_eq!(pacer.pace(start + 9 * SECOND), Some(PROBE));
    assert!(pacer.clone().draw(QUEUE, start).is_ok_and(|(_, wait)| wait.is_zero()), "a probe");
    assert_eq!(pacer.clone().pace(start + 10 * SECOND), None, "it is over");
    pacer.hear(&Heard::default(), start, start + SECOND);
    assert_eq!(pacer.pace(start + SECOND), Some(PROBE), "what was sent before says nothing");
    pacer.hear(&Heard::default(), start + SECOND, start + 2 * SECOND);
    assert_ne!(pacer.pace(start + 2 * SECOND), Some(PROBE), "a probe was answered");
    pacer.hear(&busy(1_000_000), start, start + 2 * SECOND);
    assert_eq!(pacer.pace(start + 2 * SECOND + LONGEST_HOLD), None);
}

#[test]
fn bp_2_one_wave_of_429s_is_one_cut() {
    let start = Instant::now();
    let mut pacer = Pacer::new(start);
    let told = Quota { rate: Some(100.0), ..quota(3, 0.0, 1.0) };
    pacer.hear(&Heard { quota: Some(told), ..Heard::default() }, start, start);
    let before = pacer.pace(start).unwrap();
    let mut wave = |at| {
        (0..50).for_each(|_| pacer.hear(&Heard { quota: Some(told), ..refusal() }, start, at));
        pacer.pace(at).unwrap()
    };
    assert!((wave(start) - CUT * before).abs() < 0.1);
    assert!((wave(start + SETTLE) - CUT * CUT * before).abs() < 0.1);
}

#[test]
fn bp_2_a_retry_is_paid_for_and_a_place_left_is_used() {
    let start = Instant::now();
    let mut pacer = Pacer::new(start);
    let told = Quota { rate: Some(10.0), ..quota(10, 10.0, 1.0) };
    pacer.hear(&Heard { quota: Some(told), ..Heard::default() }, start, start);
    let gap = Duration::from_secs_f64(1.0 / 9.8);
    let near = |wait: Duration, gaps| assert!(wait.abs_diff(gap * gaps) < TICK, "{wait:?}");
    near(pacer.draw(QUEUE, start).unwrap().1, 0);
    let (number, wait) = pacer.draw(QUEUE, start).unwrap();
    near(wait, 1);
    let (last, wait) = pacer.draw(QUEUE, start).unwrap();
    near(wait, 2);
    assert!(pacer.draw(QueueLimits { capacity: 2, timeout: SECOND }, start).is_err(), "two wait");
    pacer.leave();
    near(pacer.until(last, start), 1);
    assert!(pacer.until(number, start).is_zero());
    pacer.spend();
    assert!(!pacer.until(last, start + gap * 3 / 2).is_zero(), "half a number for a retry");
    assert!(pacer.until(last, start + gap * 5 / 2).is_zero());
}
