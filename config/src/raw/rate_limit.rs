//! What may a `RateLimitPolicy` document say?

use super::declare::{mapping, words};
use super::key::KeyPart;
use super::limits::{Adaptive, Shares};
use super::resilience::Mode;
use super::route::Match;
use super::types::{List, Whole};
use crate::model::priority::{Class, Order};
use crate::model::{Direction, HostPattern, Name, Store};
use crate::scalars::{NonZeroDuration, Rate};

mapping! {
    /// How many requests there may be, and what they are worth. Of several that concern a request, each must let it pass.
    RateLimitPolicy {
        /// Unique over all policies of this kind.
        "name" => name: Name, required;
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Inbound unless written.
        "direction" => direction: Direction;
        /// Authorities without port that it concerns; all of them unless written.
        "hosts" => hosts: List<HostPattern>;
        /// Requests that it concerns, any of these; every request unless written.
        "matches" => matches: List<Match>;
        /// Of all requests together; 429 above.
        "total" => total: Total;
        /// Of each identity that mTLS proved. Those without one are one caller together.
        "perIdentity" => per_identity: Each;
        /// Of each caller, told apart by something else.
        "perKey" => per_key: List<PerKey>;
        /// In flight at one time; 503 above.
        "concurrency" => concurrency: Concurrency;
        /// What requests are worth; the first that matches counts, and a rule's own `priority` before it.
        "priorities" => priorities: List<Priority>;
        /// Whose rate `total` is: each replica's, or that of all together, counted in `store`.
        "share" => share: ShareOf;
        /// A Redis or Valkey server, `redis://redis.internal:6379/0`.
        "store" => store: Store;
    }
}

mapping! {
    /// The rate of all requests together.
    Total {
        /// Requests in the long run.
        "rate" => rate: Rate, required;
        /// Requests at once; those of one second unless written.
        "burst" => burst: Whole<1, 1_000_000>;
        /// How long a request above it may wait for its turn; not at all unless written.
        "queueTimeout" => queue_timeout: NonZeroDuration;
        /// How many may wait at one time.
        "maxPending" => max_pending: Whole<1, 1_000_000>;
    }
}

mapping! {
    /// The limits of each caller: a rate, requests in flight, or both.
    Each {
        /// Requests in the long run.
        "rate" => rate: Rate;
        /// Requests at once; those of one second unless written.
        "burst" => burst: Whole<1, 1_000_000>;
        /// Requests in flight.
        "maxConcurrent" => max_concurrent: Whole<1, 1_000_000>;
        /// Callers that are told apart at one time; the rest share one place.
        "maxKeys" => max_keys: Whole<1, 1_000_000>;
    }
}

mapping! {
    /// The limits of each caller, and who is one.
    PerKey {
        /// What callers are told apart by, all of these together: `source`, `identity`, `header:x-api-key`.
        "by" => by: List<KeyPart>, required;
        /// Requests in the long run.
        "rate" => rate: Rate;
        /// Requests at once; those of one second unless written.
        "burst" => burst: Whole<1, 1_000_000>;
        /// Requests in flight.
        "maxConcurrent" => max_concurrent: Whole<1, 1_000_000>;
        /// Callers that are told apart at one time; the rest share one place.
        "maxKeys" => max_keys: Whole<1, 1_000_000>;
    }
}

mapping! {
    /// Requests in flight at one time.
    Concurrency {
        /// The most.
        "max" => max: Whole<1, 1_000_000>, required;
        /// Fewer, as the answers' latency demands; not unless written.
        "adaptive" => adaptive: Adaptive;
        /// How much of it each class may fill.
        "shares" => shares: Shares;
        /// Requests above it that may wait, the worthiest first.
        "maxPending" => max_pending: Whole<0, 1_000_000>;
        /// How long one may wait.
        "queueTimeout" => queue_timeout: NonZeroDuration;
        /// Whose requests go first when it is nearly full; nobody's unless written.
        "fairShare" => fair_share: FairShare;
    }
}

mapping! {
    /// Whose requests go first when some must be shed.
    FairShare {
        /// What callers are told apart by, all of these together.
        "by" => by: List<KeyPart>, required;
        /// Those of callers with more than their share, unless written; or those of the least common callers.
        "order" => order: Order;
        /// Callers that are remembered.
        "maxKeys" => max_keys: Whole<1, 10_000>;
    }
}

mapping! {
    /// What some requests are worth.
    Priority {
        /// Which.
        "match" => found: Match, required;
        /// What they are worth.
        "class" => class: Class, required;
    }
}

/// Whose rate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShareOf {
    Replica,
    Service,
}

words!(ShareOf { "replica" => Self::Replica, "service" => Self::Service, });
words!(Order { "greedy-first" => Self::GreedyFirst, "uncommon-first" => Self::UncommonFirst, });
words!(Class { "critical" => Self::Critical, "default" => Self::Default, "sheddable" => Self::Sheddable, });
