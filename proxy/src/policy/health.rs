//! Is this endpoint alive, and does it want work? What active checks say of it.
//!
//! **Question.** A check that fails once may be a lost packet, one that fails three times is a dead endpoint. And one
//! that answers "not ready" is neither: it lives, it is loading or about to end, and should only get nothing new (LB-4).
//!
//! **States and transitions.** The first check decides at once; before it nothing is known against the endpoint, and it
//! serves.
//!
//! ```text
//!                    ┌────── healthyAfter signs of life in a row ──────┐
//!                    ↓                                                 │
//!     Unknown ──→ Up{failures, ready} ─── unhealthyAfter failures ──→ Down{signs}
//!        │             in a row                                        ↑
//!        └───────────────────── the first check failed ────────────────┘
//! ```
//!
//! Both "ready" and "not ready" are signs of life. Readiness itself has no threshold in either direction: it is what the
//! endpoint says of itself and no inference of ours.
//!
//! **Invariants.** Down and not ready are told apart in state and event: only [`Change::Died`] is a crash to anybody
//! who counts. An endpoint [takes requests](Health::takes_requests) unless it is Down or has said that it is not ready.
//! A change is told when it happens and only then.
//!
//! **Time.** Constant. The next check is due between 85 % and 115 % of the interval after the end of the last, each time
//! by another draw, so that the sidecars of a fleet don't check in step; the first within 15 % of the interval.
//!
//! **On reload.** State and counts stay; the next check comes no later than the new interval would have it.
//!
//! **Source.** `HAProxy`'s `fall 3`, `rise 2` and `inter 2s`, and its servers that are up until shown otherwise; from
//! Envoy that at the start one check is enough. Kubernetes' distinction of liveness and readiness.

use std::time::{Duration, Instant};

use outrigger_config::model::HealthCheck;

/// How far an interval may be from its mean, either way.
const JITTER: f64 = 0.15;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It lives and wants work.
    Ready,
    /// It lives and says that it wants none: a refusing readiness path, gRPC's `NOT_SERVING`.
    NotReady,
    /// No answer in time, or not the right one.
    Failed,
}

/// What changed with a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It takes no requests any more: it has failed too often.
    Died,
    /// It takes no requests any more: it said so itself.
    BecameUnready,
    /// It takes requests again.
    Recovered,
    /// It lives again, but does not want work yet.
    LivesUnready,
}

/// What is known of one endpoint.
#[derive(Debug, Clone)]
pub struct Health {
    config: HealthCheck,
    state: State,
    next: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Up { ready: bool, failures: u32 },
    Down { signs: u32 },
}

impl State {
    fn takes_requests(self) -> bool {
        matches!(self, Self::Unknown | Self::Up { ready: true, .. })
    }
}

impl Health {
    /// Nothing is known; the first check is due soon. `draw` is uniform in `[0, 1]`, here and below.
    pub fn new(config: HealthCheck, now: Instant, draw: f64) -> Self {
        Self { config, state: State::Unknown, next: now + config.interval.mul_f64(JITTER * draw) }
    }

    /// When the next check is due.
    pub fn next_wakeup(&self) -> Instant {
        self.next
    }

    /// A check ended.
    pub fn on_check(&mut self, check: Check, now: Instant, draw: f64) -> Option<Change> {
        self.next = now + jittered(self.config.interval, draw);
        let before = self.state;
        self.state = self.after(check);
        change(before, self.state)
    }

    /// Whether it may get new requests; those that it has go on.
    pub fn takes_requests(&self) -> bool {
        self.state.takes_requests()
    }

    /// Whether a check has ended yet.
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Whether it is alive, as far as is known.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, State::Down { .. })
    }

    /// Other thresholds and another interval from now on.
    pub fn reconfigure(&mut self, config: &HealthCheck, now: Instant, draw: f64) {
        self.config = *config;
        self.next = self.next.min(now + jittered(config.interval, draw));
    }

    fn after(&self, check: Check) -> State {
        let ready = check == Check::Ready;
        match (self.state, check) {
            (State::Unknown | State::Down { .. }, Check::Failed) => State::Down { signs: 0 },
            (State::Unknown | State::Up { .. }, Check::Ready | Check::NotReady) => {
                State::Up { ready, failures: 0 }
            }
            (State::Up { ready, failures }, Check::Failed) => {
                let failures = failures.saturating_add(1);
                if failures >= self.config.unhealthy_after.get() {
                    State::Down { signs: 0 }
                } else {
                    State::Up { ready, failures }
                }
            }
            (State::Down { signs }, Check::Ready | Check::NotReady) => {
                let signs = signs.saturating_add(1);
                if signs >= self.config.healthy_after.get() {
                    State::Up { ready, failures: 0 }
                } else {
                    State::Down { signs }
                }
            }
        }
    }
}

fn change(before: State, after: State) -> Option<Change> {
    match (before, after) {
        (State::Down { .. }, State::Down { .. }) => None,
        (_, State::Down { .. }) => Some(Change::Died),
        (State::Down { .. }, State::Up { ready: false, .. }) => Some(Change::LivesUnready),
        _ => match (before.takes_requests(), after.takes_requests()) {
            (true, false) => Some(Change::BecameUnready),
            (false, true) => Some(Change::Recovered),
            _ => None,
        },
    }
}

fn jittered(interval: Duration, draw: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * draw)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::Check::{Failed, NotReady, Ready};
    use super::*;

    fn config(unhealthy: u32, healthy: u32) -> HealthCheck {
        HealthCheck {
            interval: Duration::from_secs(2),
            unhealthy_after: NonZeroU32::new(unhealthy).unwrap(),
            healthy_after: NonZeroU32::new(healthy).unwrap(),
        }
    }

    fn checks() -> impl Strategy<Value = Vec<Check>> {
        prop::collection::vec(prop::sample::select(vec![Ready, Ready, NotReady, Failed, Failed]), 1..80)
    }

    proptest! {
        /// Against the definition, read off the list of all checks so far.
        #[test]
        fn lb_3_lb_4_alive_and_ready_are_what_the_last_checks_say(
            unhealthy in 1u32..5, healthy in 1u32..5, checks in checks(),
        ) {
            let now = Instant::now();
            let mut health = Health::new(config(unhealthy, healthy), now, 0.0);
            prop_assert!(health.takes_requests() && health.is_alive());
            let mut alive = checks[0] != Failed;
            for (n, check) in checks.iter().enumerate() {
                health.on_check(*check, now, 0.5);
                let row = |failed: bool| checks[..=n].iter().rev().take_while(|c| (**c == Failed) == failed).count();
                if n > 0 {
                    alive = if alive { row(true) < unhealthy as usize } else { row(false) >= healthy as usize };
                }
                prop_assert_eq!(health.is_alive(), alive);
                let last_said = checks[..=n].iter().rev().find(|check| **check != Failed);
                prop_assert_eq!(health.takes_requests(), alive && last_said == Some(&Ready));
            }
        }

        /// Who only listens to the changes knows as much as who asks; and only a death is a death.
        #[test]
        fn lb_4_changes_tell_all_and_a_crash_from_a_pause(
            unhealthy in 1u32..5, healthy in 1u32..5, checks in checks(),
        ) {
            let now = Instant::now();
            let mut health = Health::new(config(unhealthy, healthy), now, 0.0);
            let (mut takes, mut alive) = (true, true);
            for check in checks {
                match health.on_check(check, now, 0.5) {
                    Some(Change::Died) => {
                        prop_assert!(alive && check == Failed);
                        (takes, alive) = (false, false);
                    }
                    Some(Change::BecameUnready) => {
                        prop_assert!(takes && check == NotReady);
                        takes = false;
                    }
                    Some(Change::Recovered) => {
                        prop_assert!(!takes && check == Ready);
                        (takes, alive) = (true, true);
                    }
                    Some(Change::LivesUnready) => {
                        prop_assert!(!alive && check == NotReady);
                        alive = true;
                    }
                    None => {}
                }
                prop_assert_eq!((takes, alive), (health.takes_requests(), health.is_alive()));
            }
        }

        #[test]
        fn lb_3_checks_are_due_within_15_percent_of_the_interval(millis in 1u64..100_000, draw in 0.0..=1.0f64) {
            let (now, interval) = (Instant::now(), Duration::from_millis(millis));
            let mut health = Health::new(HealthCheck { interval, ..config(3, 2) }, now, draw);
            let nano = Duration::from_nanos(1);
            prop_assert!(health.next_wakeup() <= now + interval.mul_f64(0.15) + nano, "the first soon");
            health.on_check(Ready, now, draw);
            let gap = health.next_wakeup() - now;
            prop_assert!(gap + nano >= interval.mul_f64(0.85) && gap <= interval.mul_f64(1.15) + nano, "{gap:?}");
        }
    }

    fn run(checks: &[Check]) -> Vec<Option<Change>> {
        let now = Instant::now();
        let mut health = Health::new(config(3, 2), now, 0.0);
        checks.iter().map(|check| health.on_check(*check, now, 0.5)).collect()
    }

    #[test]
    fn lb_3_three_failures_remove_it_and_two_successes_bring_it_back() {
        assert_eq!(run(&[Ready, Failed, Failed, Ready, Failed, Failed, Failed])[6], Some(Change::Died));
        let back = run(&[Failed, Ready, Failed, Ready, Ready]);
        assert_eq!(back, [Some(Change::Died), None, None, None, Some(Change::Recovered)]);
    }

    #[test]
    fn lb_3_the_first_check_decides() {
        assert_eq!(run(&[Failed]), [Some(Change::Died)]);
        assert_eq!(run(&[NotReady]), [Some(Change::BecameUnready)]);
        assert_eq!(run(&[Ready]), [None]);
    }

    #[test]
    fn lb_4_not_ready_is_no_crash_and_ends_at_a_word() {
        let changes = run(&[Ready, NotReady, NotReady, NotReady, NotReady, Ready]);
        assert_eq!(changes[1], Some(Change::BecameUnready));
        assert_eq!(changes[2..5], [None; 3], "however long");
        assert_eq!(changes[5], Some(Change::Recovered));
        assert_eq!(run(&[Failed, NotReady, NotReady])[2], Some(Change::LivesUnready));
    }

    #[test]
    fn lb_3_a_reload_keeps_the_count_and_hastens_the_next_check() {
        let now = Instant::now();
        let mut health = Health::new(config(3, 2), now, 0.0);
        assert_eq!([Ready, Failed].map(|check| health.on_check(check, now, 0.5)), [None; 2]);
        let faster = HealthCheck { interval: Duration::from_millis(100), ..config(2, 2) };
        health.reconfigure(&faster, now, 0.5);
        assert_eq!(health.next_wakeup(), now + Duration::from_millis(100));
        assert_eq!(health.on_check(Failed, now, 0.5), Some(Change::Died));
    }
}
