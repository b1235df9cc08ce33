//! Among which endpoints is one chosen, and by what? All of `loadBalancer` beyond its policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::HeaderName;

/// What `loadBalancer` says beside the policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Balancing {
    /// `policy: ring-hash`: a request with this key goes where its key belongs; one without it goes by the policy.
    pub hash_on: Option<HashOn>,
    /// How long a new or returned endpoint takes to get its full share; zero: none.
    pub slow_start: Duration,
    /// Below this share of fit endpoints all of them get requests; 0: never.
    pub panic_threshold: f64,
    /// Where endpoints are.
    pub localities: Localities,
}

/// What a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// The address of the caller's connection.
    Source,
    /// The value of a header field.
    Header(HeaderName),
}

/// Which addresses are where, the longest prefixes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Localities(pub(crate) Vec<(Network, Locality)>);

impl Localities {
    /// Whether nothing is known of any address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where an address is, `region/zone`; empty where nobody said.
    pub fn of(&self, address: IpAddr) -> &str {
        let found = self.0.iter().find(|(network, _)| network.contains(address));
        found.map_or("", |(_, locality)| locality.as_str())
    }

    /// Each network with its locality.
    pub fn iter(&self) -> impl Iterator<Item = (&Network, &Locality)> {
        self.0.iter().map(|(network, locality)| (network, locality))
    }
}

/// `region/zone`, or a region alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locality(pub(crate) String);

impl Locality {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Addresses with a common prefix: `10.0.1.0/24`; a single address is its own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Network {
    /// One address alone.
    pub fn of(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The same addresses, each in one network alone.
    pub fn merged(networks: &[Self]) -> Vec<Self> {
        let within =
            |inner: &Self, outer: &Self| outer.prefix <= inner.prefix && outer.contains(inner.address);
        let mut merged: Vec<Self> = Vec::new();
        for network in networks {
            if !merged.iter().any(|known| within(network, known)) {
                merged.retain(|known| !within(known, network));
                merged.push(*network);
            }
        }
        merged
    }

    /// Whether its addresses are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The least of them.
    pub(crate) fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }

    /// Leading bits that they have in common.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix.into()
            }
            _ => false,
        }
    }
}
