//! Among which endpoints is one chosen, and by what? What `loadBalancer` means.

use super::layers::Layers;
use super::unique;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Balancing, LoadBalancer, Localities};
use crate::raw::{self, BalancerPolicy, items};

impl Layers<'_, raw::Balancer> {
    /// How an endpoint is chosen, and among which.
    pub(super) fn balancing(
        &self,
        sidecar: Option<&raw::Sidecar>,
        faults: &mut Faults<'_>,
    ) -> (LoadBalancer, Balancing) {
        let policy = self.written(|b| b.policy);
        let written = self.written(|b| b.hash_on.as_ref());
        let ring = policy.filter(|policy| policy.value == BalancerPolicy::Ring);
        if let Some(ring) = ring {
            let whole = [self.own, self.defaults].into_iter().flatten().all(|layer| layer.whole);
            if written.is_none() && whole {
                let help = "it is what a request belongs to: `hashOn: header:x-user-id`, `hashOn: source`";
                faults.at_with(ring.span, "`ring-hash` without `hashOn`", help);
            }
        } else if let Some(key) = self.own.and_then(|own| own.hash_on.as_ref()) {
            faults.at_with(key.span, "`hashOn` without `ring-hash`", "write `policy: ring-hash`");
        }
        let balancing = Balancing {
            hash_on: ring.and(written).map(|key| key.value.clone()),
            slow_start: self.last(|b| b.slow_start, defaults::SLOW_START),
            panic_threshold: self.last(|b| b.panic_threshold, defaults::PANIC_THRESHOLD),
            localities: self.localities(sidecar, faults),
        };
        match policy.map(|policy| policy.value) {
            Some(BalancerPolicy::Cost(cost)) => (cost, balancing),
            Some(BalancerPolicy::Ring) | None => (defaults::LOAD_BALANCER, balancing),
        }
    }

    fn localities(&self, sidecar: Option<&raw::Sidecar>, faults: &mut Faults<'_>) -> Localities {
        let Some(written) = self.written(|b| b.localities.as_ref()) else { return Localities::default() };
        if sidecar.is_some_and(|sidecar| sidecar.whole && sidecar.locality.is_none()) {
            let help = "the Sidecar does not say where we are: `locality: eu-central-1/b`";
            faults.at_with(written.span, "`localities`, but everything is near", help);
        }
        let places = || written.value.values();
        let networks = places().flat_map(|place| items(place.addresses.as_ref()));
        unique(networks.map(|network| (network.value, network.span)), "network", faults);
        let mut localities: Vec<_> = places()
            .filter_map(|place| Some((place.locality.as_ref()?.value.clone(), place)))
            .flat_map(|(locality, place)| {
                items(place.addresses.as_ref()).map(move |network| (network.value, locality.clone()))
            })
            .collect();
        localities.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix));
        Localities(localities)
    }
}
