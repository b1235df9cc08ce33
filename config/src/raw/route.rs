//! What may an `HTTPRoute` document say? The Gateway API's shapes.

use http::{HeaderName, Method};

use super::declare::{mapping, words};
use super::fallback::Fallback;
use super::fault::Fault;
use super::policy::{Retry, Timeouts};
use super::types::{List, Text, Whole};
use super::upgrade::Upgrades;
use crate::model::priority::Class;
use crate::model::{Direction, HostPattern, Name};

mapping! {
    /// Which request goes where, and how it is treated on the way.
    HttpRoute {
        /// Unique over all routes.
        "name" => name: Name, required;
        /// Outbound unless written.
        "direction" => direction: Direction;
        /// Authorities without port that it takes: exact, `*.suffix` or `*`. An inbound route may leave them out.
        "hosts" => hosts: List<HostPattern>;
        /// The most specific match wins, then the earlier rule.
        "rules" => rules: List<Rule>, required;
    }
}

mapping! {
    /// What to match, where to go, how.
    Rule {
        /// Unique in its route; `rule-0` for the first one unless written.
        "name" => name: Name;
        /// Any of these; every request unless written.
        "matches" => matches: List<Match>;
        /// Outbound: at least one. Inbound: none, the rule leads to the application.
        "backendRefs" => backend_refs: List<BackendRef>;
        /// Of this rule's exchanges.
        "timeouts" => timeouts: Timeouts;
        /// Of this rule's exchanges.
        "retry" => retry: Retry;
        /// What a connection may be turned into: protocols such as `websocket`, and outbound `connect`.
        "upgrades" => upgrades: Upgrades;
        /// What its requests are worth; what a `RateLimitPolicy` says unless written.
        "priority" => priority: Class;
        /// What stands in for a failure, in the order in which it is tried, all within the one deadline. Unless
        /// written: what the upstream's `cache` still has.
        "fallback" => fallback: List<Fallback, 0>;
        /// Faults injected on purpose; none unless written.
        "fault" => fault: Fault;
    }
}

mapping! {
    /// All parts must hold.
    Match {
        /// The path without query.
        "path" => path: PathMatch;
        /// The method.
        "method" => method: Method;
        /// All of these header fields.
        "headers" => headers: List<HeaderMatch>;
        /// All of these query parameters.
        "query" => query: List<QueryMatch>;
    }
}

mapping! {
    /// How a path is matched.
    PathMatch {
        /// `PathPrefix` unless written: whole segments, so `/prices` takes `/prices/eur` but not `/pricesx`.
        "type" => kind: PathKind;
        /// What to compare with.
        "value" => value: Text, required;
    }
}

mapping! {
    /// A header field that must be there.
    HeaderMatch {
        /// Which.
        "name" => name: HeaderName, required;
        /// `Exact` unless written.
        "type" => kind: TextKind;
        /// What to compare with.
        "value" => value: Text, required;
    }
}

mapping! {
    /// A query parameter that must be there, compared after percent-decoding.
    QueryMatch {
        /// Which.
        "name" => name: Text, required;
        /// `Exact` unless written.
        "type" => kind: TextKind;
        /// What to compare with.
        "value" => value: Text, required;
    }
}

mapping! {
    /// One of several weighted upstreams.
    BackendRef {
        /// The `Upstream` document's name.
        "name" => name: Name, required;
        /// Share among the weights of the rule; 1 unless written.
        "weight" => weight: Whole<0, 1_000_000>;
    }
}

/// How a path is matched. The Gateway API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathKind {
    Exact,
    Prefix,
    Regex,
}

/// How a value is matched. The Gateway API's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextKind {
    Exact,
    Regex,
}

words!(PathKind { "Exact" => Self::Exact, "PathPrefix" => Self::Prefix, "RegularExpression" => Self::Regex, });
words!(TextKind { "Exact" => Self::Exact, "RegularExpression" => Self::Regex, });
words!(Direction { "inbound" => Self::Inbound, "outbound" => Self::Outbound, });
