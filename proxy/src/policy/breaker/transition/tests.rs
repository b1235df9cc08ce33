use std::time::Instant;

use proptest::prelude::*;

use super::super::tests::{MS, any_config, any_outcome, permit};
use super::super::{Admission, Breaker, CircuitBreaker, Permit, State};
use super::*;
use crate::policy::outcome::tests::status;
use crate::policy::outcome::{Class, Outcome};
use crate::policy::penalty;

/// What can happen to a breaker.
#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Admit,
    /// Of those that are out, the n-th has a head.
    Head(usize, Outcome, u64),
    /// The n-th ends.
    End(usize, Outcome, u64, f64),
    Cancel(usize),
    /// The n-th is never heard of again.
    Lose(usize),
    Reload(CircuitBreaker),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let nth = any::<usize>;
    let event = prop_oneof![
        3 => prop_oneof![5 => 0u64..200, 1 => 0u64..100_000].prop_map(Event::Wait),
        8 => Just(Event::Admit),
        8 => (nth(), any_outcome(), 0u64..1_000, 0.0..=1.0f64).prop_map(|(n, o, t, d)| Event::End(n, o, t, d)),
        3 => (nth(), any_outcome(), 0u64..1_000).prop_map(|(n, o, t)| Event::Head(n, o, t)),
        1 => nth().prop_map(Event::Cancel),
        1 => nth().prop_map(Event::Lose),
        1 => any_config().prop_map(Event::Reload),
    ];
    prop::collection::vec(event, 1..200)
}

/// A breaker among callers who hold permits.
struct World {
    breaker: Breaker,
    out: Vec<Permit>,
    now: Instant,
}

impl World {
    fn new(config: CircuitBreaker) -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(config, now), out: Vec::new(), now }
    }

    fn step(&mut self, event: &Event) -> Option<Transition> {
        let len = self.out.len();
        match *event {
            Event::Wait(ms) => self.now += MS(ms),
            Event::Admit => {
                let would = self.breaker.would_admit(self.now);
                let (admission, transition) = self.breaker.admit(self.now);
                assert_eq!(matches!(admission, Admission::Admitted(_)), would);
                if let Admission::Admitted(permit) = admission {
                    self.out.push(permit);
                }
                return transition;
            }
            Event::Head(n, outcome, took) if len > 0 => {
                self.breaker.on_head(&mut self.out[n % len], &outcome, MS(took), self.now);
            }
            Event::End(n, outcome, took, draw) if len > 0 => {
                let permit = self.out.swap_remove(n % len);
                return self.breaker.on_outcome(permit, &outcome, MS(took), self.now, || draw);
            }
            Event::Cancel(n) if len > 0 => self.breaker.cancel(self.out.swap_remove(n % len)),
            Event::Lose(n) if len > 0 => drop(self.out.swap_remove(n % len)),
            Event::Reload(ref config) => return self.breaker.reconfigure(config, self.now),
            Event::Head(..) | Event::End(..) | Event::Cancel(_) | Event::Lose(_) => {}
        }
        None
    }
}

proptest! {
    #[test]
    fn cb_4_never_more_trials_than_configured(config in any_config(), events in events()) {
        let mut world = World::new(config);
        // Those that a larger figure has let out may still be out under a smaller one.
        let mut most = 0;
        for event in events {
            let was = world.breaker.phase();
            world.step(&event);
            let now_allowed = world.breaker.config.trial_requests.get();
            most = if was == Phase::HalfOpen { now_allowed.max(most) } else { now_allowed };
            if let State::HalfOpen { out, passed, answered, rounds, .. } = world.breaker.state {
                let counts = |permit: &&Permit| permit.answered.is_none_or(|round| round == rounds);
                let of_now = world.out.iter().filter(|permit| permit.epoch == world.breaker.epoch);
                let held = of_now.filter(counts).count();
                prop_assert!(held <= out as usize && answered <= out, "{held} held, {answered} of {out} known");
                prop_assert!(out + passed <= most && passed < now_allowed, "{out} out, {passed} passed");
            }
        }
    }

    #[test]
    fn cb_3_open_refuses_until_its_penalty_is_served_and_says_when(config in any_config(), events in events()) {
        let mut world = World::new(config);
        for event in events {
            let before = (world.breaker.phase(), world.breaker.next_wakeup());
            let (asks, now) = (matches!(event, Event::Admit), world.now);
            let transition = world.step(&event);
            let (Phase::Open, Some(until)) = before else {
                prop_assert!(before.0 == Phase::HalfOpen || before.1.is_none());
                continue;
            };
            prop_assert_eq!(transition.is_some(), asks && now >= until, "{:?}", transition);
            if asks && now < until {
                let Admission::Refused { retry_after } = world.breaker.admit(now).0 else { panic!("open") };
                prop_assert_eq!(now + retry_after, world.breaker.next_wakeup().unwrap());
            }
        }
    }

    #[test]
    fn cb_7_every_change_of_state_is_told_once(config in any_config(), events in events()) {
        let mut world = World::new(config);
        for event in events {
            let before = world.breaker.phase();
            match world.step(&event) {
                None => prop_assert_eq!(before, world.breaker.phase()),
                Some(transition) => {
                    prop_assert_eq!(transition.from(), before);
                    prop_assert_eq!(transition.to(), world.breaker.phase());
                }
            }
        }
    }

    #[test]
    fn only_a_failure_opens(config in any_config(), events in events()) {
        let mut world = World::new(config);
        for event in events {
            let failure = match &event {
                Event::End(_, outcome, took, _) => {
                    let class = outcome.class();
                    let slow = world.breaker.config.slow_call_duration.is_some_and(|limit| MS(*took) >= limit);
                    class == Class::System || slow && matches!(class, Class::Success | Class::Neutral)
                }
                _ => false,
            };
            if let Some(Transition::Opened { .. }) = world.step(&event) {
                prop_assert!(failure, "{event:?}");
            }
        }
    }

    /// Whatever happened, even if no outcome of all that are out is ever reported: good answers close it again.
    #[test]
    fn cb_4_half_open_cannot_wedge(config in any_config(), events in events()) {
        let mut world = World::new(config);
        for event in events {
            world.step(&event);
        }
        let breaker = &mut world.breaker;
        let mut now = world.now + penalty::longest(&breaker.config.backoff);
        for _ in 0..breaker.config.trial_requests.get() {
            let Some(permit) = permit(breaker, now) else { panic!("refused: {breaker:?}") };
            breaker.on_outcome(permit, &status(200), Duration::ZERO, now, || 0.0);
            now += MS(1);
        }
        prop_assert_eq!(breaker.phase(), Phase::Closed);
    }
}
