//! Which endpoint has what belongs to this key? Always the same one, unless it has more than its share already.
//!
//! **Question.** Some requests are better served by the endpoint that served the last one of the same user or key: its
//! cache is warm (LB-10). If endpoints come and go, few keys may move; if one key is the whole world's favourite, its
//! endpoint must not drown.
//!
//! **States and transitions.** None; a ring of points, 160 for each endpoint, in places that depend on its address
//! alone. A key belongs to the endpoint of the first point at or after its own place. Of those that follow, the
//! first is taken that may be picked and has room: fewer requests in flight than `⌈1.25 · (m + 1) / n⌉`, where m are in
//! flight at all n that may be picked.
//!
//! **Invariants.** As long as all have room, a key's endpoint depends on key and addresses only, so every sidecar picks
//! the same. An endpoint that joins takes keys from the others and moves none between them; one that leaves or is
//! excluded gives its own away and moves no others. With equal luck that is 1/n of the keys, and with 160 points it is
//! within a few tenths of that. None is picked that would then have more than 1.25 times the mean, rounded up;
//! there is always one that would not. What overflows goes to the next on the ring, the same for all, and comes back as
//! soon as there is room.
//!
//! **Time.** Logarithmic in the points, and one look at each endpoint's load; longer only while endpoints are full.
//! A new ring is sorted once when the set changes.
//!
//! **On reload.** Built anew from the addresses; it is the same for the same addresses in any order.
//!
//! **Source.** D. Karger et al., "Consistent Hashing and Random Trees" (1997); V. Mirrokni, M. Thorup, M. Zadimoghaddam,
//! "Consistent Hashing with Bounded Loads" (2016): with a factor of 1 + ε one change moves O(1/ε²) requests in the mean
//! beyond its own. 160 points as in Ketama. The hash is [ours](hash): it must be the same in every process and version.

use std::net::SocketAddr;

use super::hash::{hash, mix};

/// Points of each endpoint.
const POINTS: u64 = 160;
/// The factor, 1.25 = 5/4.
const FACTOR: (u64, u64) = (5, 4);

/// Endpoints on a ring, each named by its position among the addresses.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Place and endpoint, sorted.
    points: Vec<(u64, usize)>,
    count: usize,
}

impl Ring {
    /// Of these addresses.
    pub fn new(addrs: &[SocketAddr]) -> Self {
        let of = |(n, addr): (usize, &SocketAddr)| {
            let seed = hash(addr.to_string().as_bytes());
            (0..POINTS).map(move |point| (mix(seed.wrapping_add(point)), n))
        };
        let mut points: Vec<_> = addrs.iter().enumerate().flat_map(of).collect();
        points.sort_unstable();
        Self { points, count: addrs.len() }
    }

    /// Picks for a key's [`hash()`]; `None` when there is no endpoint. `in_flight` says how many requests one has,
    /// `excluded` who is not to be picked while another can be.
    pub fn pick(
        &self,
        key: u64,
        in_flight: impl Fn(usize) -> u32,
        excluded: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let first = self.points.partition_point(|(place, _)| *place < key);
        let mut onwards = self.points[first..].iter().chain(&self.points[..first]).map(|(_, n)| *n);
        let free = (0..self.count).filter(|n| !excluded(*n));
        let (free, load) = free.fold((0, 0), |(free, load), n| (free + 1, load + u64::from(in_flight(n))));
        if free == 0 {
            return onwards.next();
        }
        let most = ((load + 1) * FACTOR.0).div_ceil(free * FACTOR.1);
        let mut free = onwards.filter(|n| !excluded(*n));
        let owner = free.next()?;
        let has_room = |n: &usize| u64::from(in_flight(*n)) < most;
        // Loads that change under our eyes may leave nobody with room; then the owner bears one more.
        std::iter::once(owner).chain(free).find(has_room).or(Some(owner))
    }
}

#[cfg(test)]
mod tests;
