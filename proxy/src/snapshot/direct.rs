//! Which upstream takes a request that no route takes? The one that its authority names, or that is where its connection was
//! meant to go.

use std::collections::HashMap;
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use outrigger_config::model::{Discovery, Upstream};

use super::Rule;

/// Upstreams by what they may be called by, in the order of the policy: the first one that has a name or address, has it.
#[derive(Debug, Default)]
pub(super) struct Direct {
    /// A rule for each upstream.
    rules: Vec<Rule>,
    names: HashMap<String, usize, FixedState>,
    addresses: HashMap<SocketAddr, usize, FixedState>,
    /// Those whose endpoints are found out.
    moving: Vec<usize>,
}

impl Direct {
    /// Adds the rule of an upstream alone.
    pub(super) fn add(&mut self, rule: Rule, upstream: &Upstream) {
        let nth = self.rules.len();
        self.rules.push(rule);
        for name in upstream.hosts.iter().map(String::as_str).chain([upstream.name.as_str()]) {
            self.names.entry(name.to_owned()).or_insert(nth);
        }
        let written = match &upstream.discovery {
            Discovery::Static(addresses) => &addresses[..],
            Discovery::Dns { .. } => {
                self.moving.push(nth);
                &[]
            }
            Discovery::Original => &[],
        };
        for &address in upstream.addresses.iter().chain(written) {
            self.addresses.entry(address).or_insert(nth);
        }
    }

    /// By an authority in lower case, without its port.
    pub(super) fn named(&self, host: &str) -> Option<&Rule> {
        self.names.get(host).map(|nth| &self.rules[*nth])
    }

    /// By an address: written down, or an endpoint now.
    pub(super) fn at(&self, meant: SocketAddr) -> Option<&Rule> {
        let has = |nth: &&usize| {
            let mut upstreams = self.rules[**nth].backends.iter().map(|backend| &backend.upstream);
            upstreams.any(|upstream| upstream.is_at(meant))
        };
        let found = self.addresses.get(&meant).or_else(|| self.moving.iter().find(has))?;
        Some(&self.rules[*found])
    }
}
