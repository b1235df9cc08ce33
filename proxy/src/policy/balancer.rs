//! Which endpoint takes the next attempt? Each in turn, or the better of two drawn at random.
//!
//! Two random choices keep the fullest endpoint at `log log n` where one choice lets it grow to `log n`, and unlike
//! "the least loaded of all" they don't send every caller to the same endpoint at the same time.
//!
//! What is excluded (tried already by this request, ejected, breaker open) is picked only when everything is (RT-11).
//!
//! Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996).

mod ewma;

use outrigger_config::model::LoadBalancer;

pub use ewma::Ewma;

/// What one endpoint is busy with, as [`pick`]'s `cost` sees it.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Attempts that it has not answered yet.
    pub in_flight: u32,
    /// Its expected latency.
    pub latency: Ewma,
}

impl Load {
    /// The price of one more attempt under a policy; less is better. `now` is the clock of [`Ewma`].
    pub fn cost(&self, policy: LoadBalancer, now: u64) -> f64 {
        let queue = f64::from(self.in_flight);
        match policy {
            LoadBalancer::RoundRobin => 0.0,
            LoadBalancer::LeastRequest => queue,
            LoadBalancer::PeakEwma => self.latency.at(now) * (queue + 1.0),
        }
    }
}

/// Picks one of `count` endpoints; `None` when there is none.
///
/// `turn` is the caller's running number, used by round robin alone; `cost` is asked for two endpoints at most, and not
/// by round robin. Without exclusions the time is constant; with them it takes a pass or two over the endpoints.
pub fn pick(
    policy: LoadBalancer,
    count: usize,
    turn: usize,
    rng: &mut fastrand::Rng,
    cost: impl Fn(usize) -> f64,
    excluded: impl Fn(usize) -> bool,
) -> Option<usize> {
    if count == 0 {
        return None;
    }
    if policy == LoadBalancer::RoundRobin {
        let (round, own) = (turn / count, turn % count);
        if !excluded(own) {
            return Some(own);
        }
        // The turns of those who are out go round too: else the next in line would bear the load of two.
        let free = || (0..count).filter(|i| !excluded(*i));
        return match free().count() {
            0 => Some(own),
            left => free().nth(round % left),
        };
    }
    let (a, b) = two_of(count, rng);
    let (a, b) =
        if excluded(a) || excluded(b) { two_free(count, rng, &excluded).unwrap_or((a, b)) } else { (a, b) };
    Some(if a == b || cost(a) <= cost(b) { a } else { b })
}

/// Two of `0..count`, different unless there is but one; every ordered pair is as likely.
fn two_of(count: usize, rng: &mut fastrand::Rng) -> (usize, usize) {
    let a = rng.usize(..count);
    if count == 1 {
        return (a, a);
    }
    let b = rng.usize(..count - 1);
    (a, if b < a { b } else { b + 1 })
}

/// As [`two_of`], among those that are not excluded; `None` when all are.
fn two_free(
    count: usize,
    rng: &mut fastrand::Rng,
    excluded: impl Fn(usize) -> bool,
) -> Option<(usize, usize)> {
    let free = || (0..count).filter(|i| !excluded(*i));
    let (a, b) = match free().count() {
        0 => return None,
        left => two_of(left, rng),
    };
    free().nth(a).zip(free().nth(b))
}

#[cfg(test)]
mod tests;
