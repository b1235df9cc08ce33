//! Who is called where each connection says it? Endpoints at the addresses that captured connections were meant for, made
//! as they are asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::endpoint::{Endpoint, InFlight};
use super::guard::{Owed, Refusal};

/// Addresses that are known at one time. What is over is called all the same, but nothing is remembered of it.
const MAX: usize = 1024;

/// The endpoints that were asked for lately.
#[derive(Debug, Default)]
pub struct Originals(Mutex<HashMap<SocketAddr, Arc<Endpoint>>>);

impl Originals {
    /// The endpoint that was `meant`, with the right to call it once.
    pub fn pick(&self, meant: Option<SocketAddr>, now: Instant) -> Result<InFlight, Refusal> {
        let addr = meant.ok_or(Refusal::NoEndpoint)?;
        Ok(InFlight::new(self.at(addr, now), Owed::nothing(now)))
    }

    fn at(&self, addr: SocketAddr, now: Instant) -> Arc<Endpoint> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = known.get(&addr) {
            return Arc::clone(endpoint);
        }
        let endpoint = Endpoint::new(addr, now);
        if known.len() >= MAX {
            known.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        if known.len() < MAX {
            known.insert(addr, Arc::clone(&endpoint));
        }
        endpoint
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn nth(nth: u32) -> SocketAddr {
        (Ipv4Addr::from_bits(0x0a00_0000 + nth), 80).into()
    }

    #[test]
    fn an_address_keeps_its_endpoint_while_there_is_room() {
        let (known, now) = (Originals::default(), Instant::now());
        let id = |addr| known.pick(Some(addr), now).unwrap().id;
        assert_eq!(id(nth(1)), id(nth(1)));
        assert_ne!(id(nth(1)), id(nth(2)));
        assert_eq!(known.pick(None, now).unwrap_err(), Refusal::NoEndpoint);
    }

    #[test]
    fn ob_11_a_million_addresses_are_not_all_remembered() {
        let (known, now) = (Originals::default(), Instant::now());
        let held = known.pick(Some(nth(0)), now).unwrap();
        for addr in (1..5000).map(nth) {
            drop(known.pick(Some(addr), now));
        }
        assert!(known.0.lock().unwrap().len() <= MAX);
        assert_eq!(known.pick(Some(nth(0)), now).unwrap().id, held.id, "one that is being called stays");
        let all: Vec<_> = (0..5000).map(|addr| known.pick(Some(nth(addr)), now).unwrap()).collect();
        assert_eq!((all.len(), known.0.lock().unwrap().len()), (5000, MAX));
    }
}
