//! Whose requests go first when some must be shed? Those of callers who take more than their share.
//!
//! **Question.** There is more to do than can be done. One caller may be the reason; why should the others pay?
//!
//! **States and transitions.** Requests are counted per caller, in intervals of [`INTERVAL`]. At the end of each, the
//! *level* is set at which water would stand if what the limit can serve were poured over the callers' demands (max-min
//! fairness). From [`PRESSED`] of the limit on, a caller above the level is thinned out to it, and further the less room
//! is left, to nothing at the limit; callers below it pass. With [`Order::UncommonFirst`] the level is the demand below
//! which callers are given up, the least first, until the rest fits.
//!
//! **Invariants.** At most `capacity` callers are remembered; a new one replaces who asked the least. A demand is never
//! overrated, so nobody is accused for another. Nothing is shed below [`PRESSED`], and who asks no more than an equal
//! part of what the limit can serve is never shed by [`Order::GreedyFirst`].
//!
//! **Time.** Constant for a known caller. A new one in a full table costs a look over all, the end of an interval a sort
//! of all; hence the small table.
//!
//! **On reload.** Kept; a new order holds from the next interval on.
//!
//! **Source.** AFD: Pan, Breslau, Prabhakar, Shenker, "Approximate Fairness through Differential Dropping" (2003), with
//! the fair rate computed by water-filling instead of steered towards. Uncommon clients first is RL-3's other answer.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use outrigger_config::model::priority::Order;

use super::key_table::Key;

/// How often demands are compared.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// The part of a limit from which on shares matter.
pub const PRESSED: f64 = 0.8;

/// How much of the last interval goes into a caller's demand.
const SMOOTHING: f64 = 0.5;

/// What callers asked for lately, and what they may have.
#[derive(Debug)]
pub struct FairShare {
    order: Order,
    hasher: RandomState,
    places: HashMap<u64, usize, foldhash::fast::RandomState>,
    callers: Vec<Caller>,
    capacity: usize,
    began: Instant,
    /// Let through in this interval, and in the smoothed past.
    passed: f64,
    served: f64,
    /// Arrivals in this interval, and the sum of the pressures that they met.
    arrived: f64,
    pressure: f64,
    /// Requests an interval.
    level: f64,
    /// For the level: a request in flight is no time to ask for memory.
    demands: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Caller {
    key: u64,
    /// In this interval.
    count: f64,
    /// An interval, smoothed.
    demand: f64,
}

impl FairShare {
    /// Knows nobody; remembers up to `capacity` callers, at least one.
    pub fn new(order: Order, capacity: usize, now: Instant) -> Self {
        Self {
            order,
            hasher: RandomState::default(),
            places: HashMap::default(),
            callers: Vec::new(),
            capacity: capacity.max(1),
            began: now,
            passed: 0.0,
            served: 0.0,
            arrived: 0.0,
            pressure: 0.0,
            level: shedding_nobody(order),
            demands: Vec::new(),
        }
    }

    /// Whether a request may try for a place. `pressure` is how much of the limit is taken, 0 to 1; `draw` is uniform in
    /// `[0, 1)`.
    pub fn admit(&mut self, caller: &Key<'_>, pressure: f64, now: Instant, draw: f64) -> bool {
        self.advance(now);
        self.arrived += 1.0;
        self.pressure += pressure;
        let at = self.place(self.hasher.hash_one(caller));
        let caller = &mut self.callers[at];
        caller.count += 1.0;
        let demand = caller.demand;
        let passes = match self.order {
            _ if pressure < PRESSED => true,
            Order::UncommonFirst => demand >= self.level,
            Order::GreedyFirst if demand <= self.level => true,
            Order::GreedyFirst => {
                let room = (1.0 - pressure) / (1.0 - PRESSED);
                draw < self.level / demand * room * room
            }
        };
        self.passed += f64::from(u8::from(passes));
        passes
    }

    /// One that was admitted found no place after all.
    pub fn turned_away(&mut self) {
        self.passed = (self.passed - 1.0).max(0.0);
    }

    /// Sheds in another order.
    pub fn reload(&mut self, order: Order) {
        self.order = order;
        self.level = shedding_nobody(order);
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.began);
        if elapsed < INTERVAL {
            return;
        }
        // A long silence counts as one interval at the rate over all of it.
        let part = INTERVAL.as_secs_f64() / elapsed.as_secs_f64();
        let smooth = |was: f64, count: f64| was + SMOOTHING * (count * part - was);
        for caller in &mut self.callers {
            caller.demand = smooth(caller.demand, caller.count);
            caller.count = 0.0;
        }
        self.served = smooth(self.served, self.passed);
        // What a full limit would have served: shedding holds it below.
        let supply = self.served / (self.pressure / self.arrived.max(1.0)).clamp(PRESSED, 1.0);
        (self.began, self.passed, self.arrived, self.pressure) = (now, 0.0, 0.0, 0.0);
        self.demands.clear();
        self.demands.extend(self.callers.iter().map(|caller| caller.demand));
        self.demands.sort_unstable_by(f64::total_cmp);
        self.level = match self.order {
            Order::GreedyFirst => water_level(&self.demands, supply),
            Order::UncommonFirst => least_kept(&self.demands, supply),
        };
    }

    /// Where a caller is remembered, from now on.
    fn place(&mut self, key: u64) -> usize {
        if let Some(&at) = self.places.get(&key) {
            return at;
        }
        let caller = Caller { key, count: 0.0, demand: 0.0 };
        let at = if self.callers.len() < self.capacity {
            self.callers.push(caller);
            self.callers.len() - 1
        } else {
            let asked = |at: &usize| self.callers[*at].demand + self.callers[*at].count;
            let least = (0..self.callers.len()).min_by(|a, b| asked(a).total_cmp(&asked(b))).unwrap_or(0);
            let forgotten = std::mem::replace(&mut self.callers[least], caller);
            self.places.remove(&forgotten.key);
            least
        };
        self.places.insert(key, at);
        at
    }
}

/// The level at which nobody is shed.
fn shedding_nobody(order: Order) -> f64 {
    match order {
        Order::GreedyFirst => f64::INFINITY,
        Order::UncommonFirst => 0.0,
    }
}

/// The level `f` at which `Σ min(demand, f)` is `supply`; infinite if there is enough for all. `demands` ascend.
fn water_level(demands: &[f64], supply: f64) -> f64 {
    let (mut left, mut callers) = (supply, f64::from(u32::try_from(demands.len()).unwrap_or(u32::MAX)));
    for demand in demands {
        if left < demand * callers {
            return left / callers;
        }
        left -= demand;
        callers -= 1.0;
    }
    f64::INFINITY
}

/// The least demand that is kept if the greatest ones share `supply`. `demands` ascend.
fn least_kept(demands: &[f64], supply: f64) -> f64 {
    let mut left = supply;
    let fit = demands.iter().rev().take_while(|demand| {
        left -= **demand;
        left >= 0.0
    });
    match fit.count() {
        kept if kept == demands.len() => 0.0,
        // The one that fits in part only is kept as well, or the most common could be given up.
        kept => demands[demands.len() - kept - 1],
    }
}

#[cfg(test)]
mod tests;
