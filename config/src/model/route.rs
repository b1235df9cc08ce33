//! Which request goes where? Routes as in the Gateway API, every reference bound.

use http::{HeaderName, Method};
use regex::Regex;

use super::fault::Experiment;
use super::priority::Class;
use super::{Applied, Fallback, Location, Name, TrafficPolicy, UpstreamId};

/// Relative to the service beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Others call the service.
    Inbound,
    /// The service calls others.
    Outbound,
}

/// A route: hosts and an ordered list of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRoute {
    /// Unique over all routes.
    pub name: Name,
    /// Which way it looks.
    pub direction: Direction,
    /// Authorities that it takes; never empty (`*` when the document says none, inbound only).
    pub hosts: Vec<HostPattern>,
    /// In order of writing; the most specific match over all routes of a host wins, then the earlier one.
    pub rules: Vec<Rule>,
    /// Where the document starts.
    pub location: Location,
}

/// An authority without port, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `market-data.internal`
    Exact(String),
    /// `*.internal`, kept as `.internal`: one or more labels before it (Gateway API).
    Suffix(String),
    /// `*`
    Any,
}

/// What to match, where to go, how.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique in its route (`rule-0` when not written).
    pub name: Name,
    /// Any of these; never empty (`PathPrefix /` when not written).
    pub matches: Vec<RouteMatch>,
    /// Outbound: at least one. Inbound: empty, it leads to the application.
    pub backends: Vec<Backend>,
    /// Policy of an inbound rule. (An outbound rule's policy is its backend's.)
    pub policy: TrafficPolicy,
    /// What its requests are worth; `None`: what a `RateLimitPolicy` says.
    pub priority: Option<Class>,
    /// What stands in for a failure, in the order in which it is tried, all within the one deadline. `None`, nobody
    /// wrote it: what the upstream's cache still has.
    pub fallback: Option<Vec<Applied<Fallback>>>,
    /// Faults injected into its attempts, below retries and breakers.
    pub fault: Option<Applied<Experiment>>,
    /// Where the rule starts.
    pub location: Location,
}

/// One of several weighted upstreams.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Which upstream.
    pub upstream: UpstreamId,
    /// Share among the weights of the rule; 0 gets nothing. Not all are 0.
    pub weight: u32,
    /// Effective policy: built-in < `Defaults` < `Upstream` < rule.
    pub policy: TrafficPolicy,
}

/// All parts must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch {
    /// The path without query.
    pub path: PathMatch,
    /// `None`: any.
    pub method: Option<Method>,
    /// All of them.
    pub headers: Vec<HeaderMatch>,
    /// All of them.
    pub query: Vec<QueryMatch>,
}

/// How a path is matched.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path, octet by octet.
    Exact(String),
    /// Whole segments: `/prices` takes `/prices` and `/prices/eur`, not `/pricesx`. Without trailing slash; `/` is empty.
    Prefix(String),
    /// The whole path (anchored at both ends).
    Regex(Regex),
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// How a header or query value is matched.
#[derive(Debug, Clone)]
pub enum TextMatch {
    /// Octet by octet.
    Exact(String),
    /// The whole value (anchored at both ends).
    Regex(Regex),
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// A request header that must be there.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderMatch {
    /// Which.
    pub name: HeaderName,
    /// Its value (any one of several lines).
    pub value: TextMatch,
}

/// A query parameter that must be there, compared after percent-decoding; the first of a name counts.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryMatch {
    /// Which.
    pub name: String,
    /// Its value.
    pub value: TextMatch,
}
