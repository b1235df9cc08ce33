//! Which endpoints are left alone because they fail real requests? Passive ejection, with an exact maximum.
//!
//! **Question.** An endpoint may pass every health check and still answer 503 to whatever matters (LB-5). It should get
//! nothing for a while; but if many seem bad, the fault may be ours or everybody's, and to eject them all would make an
//! outage of a bad minute (LB-6).
//!
//! **States and transitions.** A [`Streak`] for each endpoint counts failures in a row; it is all that a request
//! touches. At `consecutiveFailures` the [`Ejections`] of the upstream are asked:
//!
//! ```text
//!             streak long enough, and room under the maximum
//!     Serving ──────────────────────────────────────────────→ Ejected{until}
//!        ↑              otherwise: Spared                         │
//!        └────────────────────────────────────────────────────────┘
//!             served, or too many are out for what is left of the set
//! ```
//!
//! Each ejection is a step of its endpoint's [`Penalty`]: longer each time, shorter again after good conduct. A health
//! check that passes ends none: it is what the endpoint was ejected in spite of.
//!
//! **Invariants.** After every call at most `min(⌊maxEjectionPercent · n⌋, n - 1)` of n members are ejected: of three
//! at 50 %, one; of any number, never all. That counts those who have not been announced as returned, so it holds for
//! whoever acts on what it was told. If the set shrinks or the percentage is lowered, those return first whose time is
//! up first. Attempts begun before an ejection ended count for nothing after it: those that still hang, time out and
//! fail are no new evidence.
//!
//! **Time.** A [`Streak`] is constant; [`Ejections`] takes a pass over the members, and only when somebody is ejected,
//! returns, joins or leaves.
//!
//! **On reload.** Ejections, streaks and penalties stay; [`Ejections::reconfigure`] applies the new maximum at once.
//!
//! **Source.** Envoy's outlier detection, less its surprises: a maximum of 10 % that ejected one of three all the same
//! (envoyproxy/envoy#34796), or none at all, without a word; local refusals that counted (#25487).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use outrigger_config::model::{Backoff, OutlierDetection};

use super::outcome::{Class, Outcome};
use super::penalty::Penalty;
use super::share::Share;

/// An endpoint that is ejected more often than this in [`HOUR`] has a fault of its own that somebody should look at
/// (LB-13).
const OFTEN: usize = 5;
const HOUR: Duration = Duration::from_hours(1);

/// How many attempts at one endpoint have failed in a row.
#[derive(Debug, Clone, Copy)]
pub struct Streak {
    failures: u32,
    since: Instant,
}

impl Streak {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { failures: 0, since: now }
    }

    /// An attempt ended that was begun at `began`; says how many have failed in a row.
    pub fn on_outcome(&mut self, outcome: &Outcome, began: Instant) -> u32 {
        if began >= self.since {
            match outcome.class() {
                Class::System => self.failures = self.failures.saturating_add(1),
                Class::Success | Class::Customer => self.failures = 0,
                Class::Throttled | Class::Neutral => {}
            }
        }
        self.failures
    }

    /// Counts anew, attempts that begin at `since` or later: its ejection ends then.
    pub fn restart(&mut self, since: Instant) {
        *self = Self::new(since);
    }
}

/// Who of an upstream's endpoints is ejected.
#[derive(Debug, Clone)]
pub struct Ejections {
    config: OutlierDetection,
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    id: u64,
    penalty: Penalty,
    state: State,
    /// When it was ejected, as far as that is needed to know whether it was too often.
    lately: VecDeque<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Serving { since: Instant },
    Ejected { until: Instant },
}

/// What became of a suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It gets no more requests.
    Ejected {
        /// When it returns, if nothing brings it back before.
        until: Instant,
        /// It was ejected too often lately: somebody should look at it. Said once for so many ejections (LB-13).
        chronic: bool,
    },
    /// It stays, for as many are out as may be.
    Spared,
    /// It is out, or no member.
    Unconcerned,
}

impl Ejections {
    /// Nobody is ejected, there is nobody.
    pub fn new(config: OutlierDetection) -> Self {
        Self { config, members: Vec::new() }
    }

    /// These are the members from now on; those who were keep what is known of them. Returned are those whose ejection
    /// has thereby ended although they are members.
    pub fn set_members(&mut self, ids: &[u64], now: Instant) -> Vec<u64> {
        self.members.retain(|member| ids.contains(&member.id));
        for &id in ids {
            if self.find(id).is_none() {
                let state = State::Serving { since: now };
                self.members.push(Member { id, penalty: Penalty::default(), state, lately: VecDeque::new() });
            }
        }
        self.release_excess(now)
    }

    /// A member has failed `consecutiveFailures` times in a row. `draw`, uniform in `[0, 1]`, decides on the jitter.
    pub fn eject(&mut self, id: u64, now: Instant, draw: f64) -> Verdict {
        let (room, backoff) = (self.ejected() < self.most(), self.backoff());
        let Some(member) = self.find(id) else { return Verdict::Unconcerned };
        let State::Serving { since } = member.state else { return Verdict::Unconcerned };
        if !room {
            return Verdict::Spared;
        }
        let until = now + member.penalty.impose(&backoff, now.saturating_duration_since(since), draw);
        member.state = State::Ejected { until };
        Verdict::Ejected { until, chronic: member.is_chronic(now) }
    }

    /// When the next returns.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.members.iter().filter_map(Member::until).min()
    }

    /// Lets those return whose time is up, and says who.
    pub fn on_wakeup(&mut self, now: Instant) -> Vec<u64> {
        let served =
            self.members.iter_mut().filter(|member| member.until().is_some_and(|until| until <= now));
        served.map(|member| member.release(now)).collect()
    }

    /// Another maximum, other times from now on. Returned are those whose ejection has thereby ended.
    pub fn reconfigure(&mut self, config: &OutlierDetection, now: Instant) -> Vec<u64> {
        self.config = *config;
        self.release_excess(now)
    }

    /// Whether this one is out.
    pub fn is_out(&self, id: u64) -> bool {
        self.members.iter().any(|member| member.id == id && member.until().is_some())
    }

    /// How many are out.
    pub fn ejected(&self) -> usize {
        self.members.iter().filter(|member| member.until().is_some()).count()
    }

    /// How many may be.
    pub fn most(&self) -> usize {
        let n = self.members.len();
        Share::new(self.config.max_ejection_percent).of(n).min(n.saturating_sub(1))
    }

    fn release_excess(&mut self, now: Instant) -> Vec<u64> {
        let excess = self.ejected().saturating_sub(self.most());
        let mut out: Vec<_> = self.members.iter_mut().filter(|member| member.until().is_some()).collect();
        out.sort_by_key(|member| member.until());
        out.into_iter().take(excess).map(|member| member.release(now)).collect()
    }

    fn find(&mut self, id: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn backoff(&self) -> Backoff {
        Backoff { base: self.config.base_ejection_time, max: self.config.max_ejection_time }
    }
}

impl Member {
    fn until(&self) -> Option<Instant> {
        match self.state {
            State::Serving { .. } => None,
            State::Ejected { until } => Some(until),
        }
    }

    fn release(&mut self, now: Instant) -> u64 {
        self.state = State::Serving { since: now };
        self.id
    }

    /// Notes an ejection; whether it is one too many. If so, it counts anew.
    fn is_chronic(&mut self, now: Instant) -> bool {
        self.lately.retain(|at| now.saturating_duration_since(*at) < HOUR);
        self.lately.push_back(now);
        let chronic = self.lately.len() > OFTEN;
        if chronic {
            self.lately.clear();
        }
        chronic
    }
}

#[cfg(test)]
mod tests;
