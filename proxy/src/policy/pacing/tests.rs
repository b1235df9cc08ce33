//! A closed loop in virtual time: callers that pace themselves, and a server whose bucket is the real one.

use std::collections::VecDeque;

use outrigger_config::model::RateLimit;
use proptest::prelude::*;

use super::*;
use crate::policy::rate_limit::{Decision, Gcra};

const TICK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_millis(500);

/// What the server tells of its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tells {
    /// All fields, and its rate.
    Rate,
    /// The three fields.
    Fields,
    /// 429, and nothing else.
    Nothing,
}

/// What a scenario is made of.
#[derive(Debug, Clone, Copy)]
struct Plan {
    clients: usize,
    /// Requests a second of all clients together.
    demand: f64,
    limit: RateLimit,
    tells: Tells,
    /// There and back.
    trip: Duration,
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
    /// Answers under way.
    coming: VecDeque<(Instant, Instant, Heard)>,
    passed: f64,
}

struct World {
    plan: Plan,
    now: Instant,
    server: Gcra,
    cell: u64,
    clients: Vec<Client>,
    chance: fastrand::Rng,
    /// Answers in its stead, if it does.
    lies: Option<fn(f64) -> Heard>,
    began: Instant,
}

impl World {
    fn new(plan: Plan, seed: u64) -> Self {
        let now = Instant::now();
        let client = || Client {
            pacer: Pacer::new(now),
            waiting: VecDeque::new(),
            coming: VecDeque::new(),
            passed: 0.0,
        };
        Self {
            plan,
            now,
            server: Gcra::new(plan.limit, now),
            cell: 0,
            clients: (0..plan.clients).map(|_| client()).collect(),
            chance: fastrand::Rng::with_seed(seed),
            lies: None,
            began: now,
        }
    }

    fn limit(&mut self, limit: RateLimit) {
        let next = Gcra::new(limit, self.began);
        self.cell = next.carry(self.cell, &self.server, self.now);
        (self.server, self.plan.limit) = (next, limit);
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
        let now = self.now;
        let each = self.plan.demand / self.plan.clients as f64 * TICK.as_secs_f64();
        // Come by chance, several at a time where they are many.
        let mut expected = each;
        while expected > 0.0 {
            if self.chance.f64() < expected.min(0.5) {
                let client = &mut self.clients[at];
                if let Ok((number, _)) = client.pacer.draw(PATIENCE, now) {
                    client.waiting.push_back((number, now + PATIENCE));
                }
            }
            expected -= 0.5;
        }
        while let Some(&(number, until)) = self.clients[at].waiting.front() {
            if self.clients[at].pacer.until(number, now).is_zero() {
                let heard = self.ask(seen);
                let client = &mut self.clients[at];
                client.passed += f64::from(u8::from(!heard.refused));
                client.coming.push_back((now + self.plan.trip, now, heard));
            } else if now >= until {
                self.clients[at].pacer.leave();
            } else {
                break;
            }
            self.clients[at].waiting.pop_front();
        }
        while let Some((_, sent, heard)) = self.clients[at].coming.pop_front_if(|(at, ..)| *at <= now) {
            self.clients[at].pacer.hear(&heard, sent, now);
        }
    }

    fn ask(&mut self, seen: &mut Seen) -> Heard {
        if let Some(lies) = self.lies {
            seen.passed += 1.0;
            return lies(self.now.duration_since(self.began).as_secs_f64());
        }
        let decision = self.server.take(self.cell, self.now);
        let refused = if let Decision::Passed { cell, .. } = decision {
            self.cell = cell;
            false
        } else {
            true
        };
        *(if refused { &mut seen.refused } else { &mut seen.passed }) += 1.0;
        let fields = self.server.fields(&decision);
        let quota = Quota {
            limit: fields.limit.into(),
            remaining: fields.remaining as f64,
            reset: (fields.reset as f64).max(1.0),
            rate: (self.plan.tells == Tells::Rate).then_some(self.plan.limit.rate),
        };
        let tells = self.plan.tells != Tells::Nothing;
        Heard {
            quota: tells.then_some(quota),
            refused,
            wait: fields.retry_after.filter(|_| tells).map(Duration::from_secs),
        }
    }

    fn pace(&mut self) -> Option<f64> {
        let now = self.now;
        self.clients[0].pacer.pace(now)
    }
}

fn limit(rate: f64, burst: u32) -> RateLimit {
    RateLimit { rate, burst }
}

fn plan(clients: usize) -> Plan {
    Plan {
        clients,
        demand: 200.0,
        limit: limit(100.0, 20),
        tells: Tells::Rate,
        trip: Duration::from_millis(5),
    }
}

#[test]
fn explore() {
    for tells in [Tells::Rate, Tells::Fields, Tells::Nothing] {
        for clients in [1, 2, 3, 5, 8] {
            for burst in [1, 5, 10, 20, 50, 100, 200] {
                for trip in [2, 20, 100] {
                    let plan = Plan {
                        limit: limit(100.0, burst),
                        tells,
                        trip: Duration::from_millis(trip),
                        ..plan(clients)
                    };
                    let mut world = World::new(plan, 7);
                    let first = world.run(Duration::from_secs(5));
                    let seen = world.run(Duration::from_secs(20));
                    let mut each: Vec<f64> = world.clients.iter().map(|client| client.passed).collect();
                    each.sort_by(f64::total_cmp);
                    println!(
                        "{tells:?} {clients} clients burst {burst} trip {trip}: first {:.1}% then {:.2}% good {:.1} spread {:.2}",
                        100.0 * first.share_refused(),
                        100.0 * seen.share_refused(),
                        seen.passed / 20.0,
                        each[0] / each[each.len() - 1],
                    );
                }
            }
        }
    }
}
