//! Which addresses serve, and when is DNS asked again?
//!
//! # Question
//! Given what the resolver said and when, which endpoints may be called now (LB-11), and at what time is
//! there something to do?
//!
//! # States and transitions
//! ```text
//!            answer                     failure
//!  Unknown ─────────▶ Fresh ──────────────────────▶ Stale
//!     │ ▲               ▲ ◀──────── answer ────────── │ │
//!     └─┘ failure       │ answer                      └─┘ failure: later the next try
//!                       │                              │
//!                     Empty ◀── `stale_for` is over ───┘
//! ```
//! `Unknown` and `Empty` serve nothing, `Fresh` and `Stale` the last good answer. A failure is whatever gives
//! no address: NXDOMAIN, SERVFAIL, a time-out, and an empty answer too, for nobody scales to zero by emptying
//! a record, but resolvers that lost their data do answer like that.
//!
//! # Invariants
//! - A good answer serves until the next one, or until `stale_for` after the first failure that followed it.
//! - The next refresh lies after `now`: an answer is asked for again after its TTL, clamped to `Bounds`, plus
//!   at most a tenth; a failure after a back-off that doubles from `first_retry` to `max_retry`, of which the
//!   jitter takes at most half.
//! - Endpoints are sorted and unique, so the order of a reply changes nothing.
//!
//! # Time
//! An argument, like the jitter (0 to 1). [`Schedule::next_wakeup`] says when to come back; coming back early
//! or late breaks nothing.
//!
//! # On reload
//! Goes on where it was, but for a question that is asked at once; a change of name or port starts anew.
//!
//! # Source
//! RFC 8767 (serving stale data; its maximum stale timer is `stale_for`), RFC 2308 (negative answers; their
//! TTL is not used: we would rather recover soon).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Update;

/// Limits on the times between two questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A shorter TTL counts as this.
    pub min_ttl: Duration,
    /// A longer TTL counts as this.
    pub max_ttl: Duration,
    /// Wait after the first failure.
    pub first_retry: Duration,
    /// Longest wait between failures.
    pub max_retry: Duration,
}

impl Bounds {
    /// What production uses. A TTL of 0 is common behind load balancers and must not make a query storm; a
    /// day is common too, and an address that was taken away must not be called for a day.
    pub const DEFAULT: Self = Self {
        min_ttl: Duration::from_secs(5),
        max_ttl: Duration::from_mins(5),
        first_retry: Duration::from_secs(1),
        max_retry: Duration::from_secs(30),
    };
}

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Ask DNS.
    Refresh,
    /// The stale set has served long enough: nothing serves any more.
    Expired,
    /// Nothing yet.
    Nothing,
}

/// The last good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Sorted, unique, not empty.
    pub endpoints: Vec<SocketAddr>,
    /// When it came.
    pub at: Instant,
    /// Its TTL, clamped.
    pub ttl: Duration,
}

#[derive(Debug, Clone)]
enum State {
    Unknown { retry: Retry },
    Fresh { answer: Answer, refresh_at: Instant },
    Stale { answer: Answer, since: Instant, retry: Retry },
    Empty { answered_at: Instant, since: Instant, retry: Retry },
}

/// When to ask again while the resolver fails, and how long to wait if it fails then.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    next_wait: Duration,
}

/// The endpoints of one name over time.
#[derive(Debug, Clone)]
pub struct Schedule {
    bounds: Bounds,
    stale_for: Duration,
    state: State,
}

impl Schedule {
    /// Knows nothing, and wants to ask at once.
    pub fn new(stale_for: Duration, bounds: Bounds, now: Instant) -> Self {
        let retry = Retry { at: now, next_wait: bounds.first_retry };
        Self { bounds, stale_for, state: State::Unknown { retry } }
    }

    /// Goes on with what was `known`, and wants to ask at once.
    pub fn resume(known: Option<Update>, stale_for: Duration, bounds: Bounds, now: Instant) -> Self {
        let mut schedule = Self::new(stale_for, bounds, now);
        let Some((known, at)) = known.and_then(|known| known.answered_at.map(|at| (known, at))) else {
            return schedule;
        };
        let retry = Retry { at: now, next_wait: bounds.first_retry };
        let answer = Answer { endpoints: known.endpoints, at, ttl: known.ttl };
        schedule.state = match known.failing_since {
            Some(since) if answer.endpoints.is_empty() => State::Empty { answered_at: at, since, retry },
            Some(since) => State::Stale { answer, since, retry },
            None => State::Fresh { answer, refresh_at: now },
        };
        schedule
    }

    /// The resolver gave addresses. None at all counts as a failure.
    pub fn on_answer(&mut self, mut endpoints: Vec<SocketAddr>, ttl: Duration, now: Instant, jitter: f64) {
        if endpoints.is_empty() {
            return self.on_failure(now, jitter);
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        let ttl = ttl.clamp(self.bounds.min_ttl, self.bounds.max_ttl);
        let refresh_at = now + ttl + ttl.mul_f64(0.1 * jitter);
        self.state = State::Fresh { answer: Answer { endpoints, at: now, ttl }, refresh_at };
    }

    /// The resolver gave no address, for whatever reason.
    pub fn on_failure(&mut self, now: Instant, jitter: f64) {
        let wait = match &self.state {
            State::Fresh { .. } => self.bounds.first_retry,
            State::Unknown { retry } | State::Stale { retry, .. } | State::Empty { retry, .. } => {
                retry.next_wait
            }
        };
        let at = now + wait.mul_f64(0.5 + 0.5 * jitter);
        let retry = Retry { at, next_wait: (wait * 2).min(self.bounds.max_retry) };
        self.state = match self.state.clone() {
            State::Unknown { .. } => State::Unknown { retry },
            State::Fresh { answer, .. } => State::Stale { answer, since: now, retry },
            State::Stale { answer, since, .. } => State::Stale { answer, since, retry },
            State::Empty { answered_at, since, .. } => State::Empty { answered_at, since, retry },
        };
        self.expire(now);
    }

    /// What is to be done at `now`. `Expired` is said once.
    pub fn due(&mut self, now: Instant) -> Due {
        if self.expire(now) {
            Due::Expired
        } else if now >= self.next_refresh() {
            Due::Refresh
        } else {
            Due::Nothing
        }
    }

    /// When DNS is to be asked next.
    pub fn next_refresh(&self) -> Instant {
        match &self.state {
            State::Fresh { refresh_at, .. } => *refresh_at,
            State::Unknown { retry } | State::Stale { retry, .. } | State::Empty { retry, .. } => retry.at,
        }
    }

    /// When [`Schedule::due`] has something to say next.
    pub fn next_wakeup(&self) -> Instant {
        match &self.state {
            State::Stale { since, retry, .. } => retry.at.min(*since + self.stale_for),
            State::Unknown { .. } | State::Fresh { .. } | State::Empty { .. } => self.next_refresh(),
        }
    }

    /// The answer that serves.
    pub fn serving(&self) -> Option<&Answer> {
        match &self.state {
            State::Fresh { answer, .. } | State::Stale { answer, .. } => Some(answer),
            State::Unknown { .. } | State::Empty { .. } => None,
        }
    }

    /// When the last good answer came, though it may serve no more.
    pub fn answered_at(&self) -> Option<Instant> {
        match &self.state {
            State::Fresh { answer, .. } | State::Stale { answer, .. } => Some(answer.at),
            State::Empty { answered_at, .. } => Some(*answered_at),
            State::Unknown { .. } => None,
        }
    }

    /// When the resolver first failed after the last good answer, if it did.
    pub fn failing_since(&self) -> Option<Instant> {
        match &self.state {
            State::Stale { since, .. } | State::Empty { since, .. } => Some(*since),
            State::Unknown { .. } | State::Fresh { .. } => None,
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        match &self.state {
            State::Stale { answer, since, retry } if now >= *since + self.stale_for => {
                self.state = State::Empty { answered_at: answer.at, since: *since, retry: *retry };
                true
            }
            State::Unknown { .. } | State::Fresh { .. } | State::Stale { .. } | State::Empty { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STALE_FOR: Duration = Duration::from_mins(10);
    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 80))
    }

    #[derive(Debug, Clone)]
    enum Said {
        Answer(Vec<u8>, u64),
        Failure,
        Nothing,
        Reload,
    }

    /// What the resolver said, how many milliseconds after the event before, and the jitter.
    fn history() -> impl Strategy<Value = Vec<(Said, u64, f64)>> {
        let said = prop_oneof![
            (prop::collection::vec(any::<u8>(), 0..4), 0..100_000_u64)
                .prop_map(|(a, ttl)| Said::Answer(a, ttl)),
            Just(Said::Failure),
            Just(Said::Failure),
            Just(Said::Nothing),
            Just(Said::Reload),
        ];
        prop::collection::vec((said, 0..400_000_u64, 0.0..=1.0), 1..60)
    }

    fn tell(schedule: &mut Schedule, said: &Said, now: Instant, jitter: f64) {
        match said {
            Said::Answer(hosts, ttl) => {
                let endpoints = hosts.iter().map(|n| endpoint(*n)).collect();
                schedule.on_answer(endpoints, Duration::from_secs(*ttl), now, jitter);
            }
            Said::Failure => schedule.on_failure(now, jitter),
            Said::Nothing => {
                schedule.due(now);
            }
            Said::Reload => {
                let known = super::super::snapshot(schedule, None);
                *schedule = Schedule::resume(Some(known), STALE_FOR, Bounds::DEFAULT, now);
                schedule.due(now);
            }
        }
    }

    proptest! {
        /// Against a model that remembers the last good answer and the first failure after it.
        #[test]
        fn lb_11_serves_the_last_good_answer_until_stale_for_is_over(history in history()) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(STALE_FOR, Bounds::DEFAULT, now);
            let mut good: Vec<SocketAddr> = Vec::new();
            let mut failing_since = None;
            for (said, pause, jitter) in history {
                now += Duration::from_millis(pause);
                match &said {
                    Said::Answer(hosts, _) if !hosts.is_empty() => {
                        good = hosts.iter().map(|n| endpoint(*n)).collect();
                        good.sort_unstable();
                        good.dedup();
                        failing_since = None;
                    }
                    Said::Answer(..) | Said::Failure => failing_since = failing_since.or(Some(now)),
                    Said::Nothing | Said::Reload => {}
                }
                tell(&mut schedule, &said, now, jitter);
                let over = failing_since.is_some_and(|since| now >= since + STALE_FOR);
                let expected = if over { &[] } else { good.as_slice() };
                prop_assert_eq!(schedule.serving().map_or(&[][..], |answer| &answer.endpoints), expected);
                prop_assert_eq!(schedule.failing_since().is_some(), failing_since.is_some() && !good.is_empty());
            }
        }

        #[test]
        fn lb_11_the_next_refresh_is_ahead_and_within_the_bounds(history in history()) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(STALE_FOR, Bounds::DEFAULT, now);
            for (said, pause, jitter) in history {
                now += Duration::from_millis(pause);
                tell(&mut schedule, &said, now, jitter);
                let wait = schedule.next_refresh().saturating_duration_since(now);
                match said {
                    Said::Answer(hosts, ttl) if !hosts.is_empty() => {
                        let ttl = Duration::from_secs(ttl.clamp(5, 300));
                        prop_assert!(wait >= ttl && wait <= ttl.mul_f64(1.1), "{wait:?} for a TTL of {ttl:?}");
                    }
                    Said::Answer(..) | Said::Failure => {
                        prop_assert!(wait >= SECOND / 2 && wait <= 30 * SECOND, "{wait:?} after a failure");
                    }
                    Said::Nothing | Said::Reload => {}
                }
                prop_assert!(schedule.next_wakeup() <= schedule.next_refresh());
            }
        }

        /// A driver that sleeps until `next_wakeup` never spins: each wake-up has something to do.
        #[test]
        fn every_wakeup_is_due(history in history()) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(STALE_FOR, Bounds::DEFAULT, now);
            for (said, _, jitter) in history {
                now = now.max(schedule.next_wakeup());
                match schedule.due(now) {
                    Due::Refresh => tell(&mut schedule, &said, now, jitter),
                    Due::Expired => prop_assert_ne!(schedule.due(now), Due::Expired),
                    Due::Nothing => prop_assert!(false, "woken for nothing"),
                }
            }
        }
    }

    #[test]
    fn lb_11_failures_back_off_from_one_second_to_thirty_and_an_answer_forgets_them() {
        let now = Instant::now();
        let mut schedule = Schedule::new(STALE_FOR, Bounds::DEFAULT, now);
        schedule.on_answer(vec![endpoint(1)], SECOND, now, 0.0);
        let mut waits = Vec::new();
        for _ in 0..7 {
            schedule.on_failure(now, 1.0);
            waits.push((schedule.next_refresh() - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        schedule.on_answer(vec![endpoint(1)], SECOND, now, 0.0);
        schedule.on_failure(now, 1.0);
        assert_eq!(schedule.next_refresh() - now, SECOND);
    }

    #[test]
    fn lb_11_becoming_empty_is_explicit_on_time_and_said_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(10 * SECOND, Bounds::DEFAULT, now);
        schedule.on_answer(vec![endpoint(1)], SECOND, now, 0.0);
        for _ in 0..6 {
            schedule.on_failure(now, 1.0);
        }
        let end = now + 10 * SECOND;
        assert_eq!(schedule.next_wakeup(), end, "not as late as the next try");
        assert_eq!(schedule.due(now + 9 * SECOND), Due::Nothing);
        assert!(schedule.serving().is_some());
        assert_eq!(schedule.due(end), Due::Expired);
        assert_eq!(schedule.serving(), None);
        assert_eq!(schedule.answered_at(), Some(now));
        assert_eq!(schedule.due(end), Due::Nothing);
    }
}
