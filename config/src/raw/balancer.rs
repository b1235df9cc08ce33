//! What may a document say of how an endpoint is chosen?

use super::declare::{mapping, words};
use super::types::List;
use crate::model::{HashOn, LoadBalancer, Locality, Network};
use crate::scalars::{NonZeroDuration, Percent};

mapping! {
    /// How an endpoint is chosen.
    Balancer {
        /// `round-robin`, of two drawn at random the less loaded or the faster one, or by what a request belongs to.
        "policy" => policy: BalancerPolicy;
        /// What a request belongs to, for `ring-hash`: `source` or `header:x-user-id`. One without it goes where
        /// `peak-ewma` would send it.
        "hashOn" => hash_on: HashOn;
        /// How long a new or returned endpoint takes to get its full share; it begins with a tenth.
        "slowStart" => slow_start: NonZeroDuration;
        /// Below this share of fit endpoints all of them get requests.
        "panicThreshold" => panic_threshold: Percent;
        /// Where endpoints are: the nearer ones get all that they can bear. Needs the Sidecar's `locality`.
        "localities" => localities: List<LocalityOf>;
    }
}

mapping! {
    /// Where some addresses are. Of several networks around one, the smallest counts.
    LocalityOf {
        /// A region, or `region/zone`.
        "locality" => locality: Locality, required;
        /// Addresses and networks.
        "addresses" => addresses: List<Network>, required;
    }
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BalancerPolicy {
    Cost(LoadBalancer),
    Ring,
}

words!(BalancerPolicy {
    "round-robin" => Self::Cost(LoadBalancer::RoundRobin),
    "least-request" => Self::Cost(LoadBalancer::LeastRequest),
    "peak-ewma" => Self::Cost(LoadBalancer::PeakEwma),
    "ring-hash" => Self::Ring,
});
