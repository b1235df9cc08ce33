//! Which rule takes this request? The routes of one direction, compiled so that a request allocates nothing.
//!
//! Of all rules that match, the most specific wins, compared in this order (Gateway API, `HTTPRouteRule.matches`):
//!
//! 1. host: exact, then the longest wildcard, then `*`;
//! 2. path: exact, then regex (the longer pattern first), then the longest prefix;
//! 3. a method named; 4. more header conditions; 5. more query conditions; 6. written earlier.
//!
//! The Gateway API leaves regexes to implementations. Above the prefixes, as in NGINX and Envoy Gateway, a regex can
//! make an exception to a prefix; below them, one catch-all `/` would silence it. And where no rule of the most
//! specific host matches, the next host is asked: a route for one host adds to the wildcard's routes, it does not
//! hide them.
//!
//! Paths are given in the form of [`super::path`], queries as they came, hosts without port.

mod candidate;
mod table;

use std::borrow::Cow;
use std::collections::HashMap;
use std::iter;

use http::{HeaderMap, Method};
use outrigger_config::model::{Direction, HostPattern, HttpRoute, RouteMatch};

pub use candidate::{Obstacle, is_agreed};
use table::Table;

/// A rule of the configuration that the router was built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId {
    /// Position in `Config::routes`.
    pub route: usize,
    /// Position in the route's `rules`.
    pub rule: usize,
}

/// One match on the way to a decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'r> {
    /// Whose match.
    pub rule: RuleId,
    /// Position in the rule's `matches`.
    pub nth: usize,
    /// The first thing that keeps the request from it; `None`: it fits.
    pub obstacle: Option<Obstacle<'r>>,
}

/// What of a request decides its route.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The authority without port, in any case.
    pub host: &'a str,
    /// The path as rules see it, without query.
    pub path: &'a str,
    /// What follows `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The fields.
    pub headers: &'a HeaderMap,
}

/// The routes of one direction. Immutable: a reload builds another.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<Box<str>, Table, foldhash::fast::RandomState>,
    /// `.internal` for `*.internal`; the longest first.
    suffixes: Vec<(Box<str>, Table)>,
    any: Table,
}

impl Router {
    /// Compiles the routes of `direction` among all routes of a configuration.
    pub fn new(routes: &[HttpRoute], direction: Direction) -> Self {
        let mut compiled = Self::default();
        for (r, route) in routes.iter().enumerate().filter(|(_, route)| route.direction == direction) {
            for (n, rule) in route.rules.iter().enumerate() {
                compiled.add(&route.hosts, &rule.matches, RuleId { route: r, rule: n });
            }
        }
        compiled.finish()
    }

    /// Compiles matches of which it only matters whether any fits.
    pub fn matching(hosts: &[HostPattern], matches: &[RouteMatch]) -> Self {
        let mut compiled = Self::default();
        compiled.add(hosts, matches, RuleId { route: 0, rule: 0 });
        compiled.finish()
    }

    /// The rule that takes a request, or `None`. One hash, for the host.
    pub fn route(&self, request: &Request<'_>) -> Option<RuleId> {
        self.tables(&lower_case(request.host)).find_map(|table| table.route(request))
    }

    /// How [`route`](Self::route) finds its answer: every match that the host has, in order of precedence. The first
    /// without an obstacle takes the request.
    pub fn trail(&self, request: &Request<'_>) -> Vec<Step<'_>> {
        self.tables(&lower_case(request.host)).flat_map(|table| table.trail(request)).collect()
    }

    /// Whether any rule names a path.
    pub fn looks_at_paths(&self) -> bool {
        let wildcards = self.suffixes.iter().map(|(_, table)| table);
        self.exact.values().chain(wildcards).chain([&self.any]).any(Table::looks_at_paths)
    }

    /// The same of the rules of one host.
    pub fn looks_at_paths_of(&self, host: &str) -> bool {
        self.tables(&lower_case(host)).any(Table::looks_at_paths)
    }

    /// The rules of a host in lower case, the most specific pattern first.
    fn tables<'r>(&'r self, host: &str) -> impl Iterator<Item = &'r Table> {
        let exact = self.exact.get(host);
        let wildcards = self.suffixes.iter().filter(move |(suffix, _)| is_below(host, suffix));
        exact.into_iter().chain(wildcards.map(|(_, table)| table)).chain(iter::once(&self.any))
    }

    /// Adds a rule. Rules are added in the order in which they were written.
    fn add(&mut self, hosts: &[HostPattern], matches: &[RouteMatch], rule: RuleId) {
        for host in hosts {
            let table = match host {
                HostPattern::Exact(host) => self.exact.entry(host.as_str().into()).or_default(),
                HostPattern::Suffix(suffix) => self.suffix(suffix),
                HostPattern::Any => &mut self.any,
            };
            for (nth, wanted) in matches.iter().enumerate() {
                table.add(wanted, rule, nth);
            }
        }
    }

    fn suffix(&mut self, suffix: &str) -> &mut Table {
        let at = self.suffixes.iter().position(|(known, _)| **known == *suffix).unwrap_or_else(|| {
            self.suffixes.push((suffix.into(), Table::default()));
            self.suffixes.len() - 1
        });
        &mut self.suffixes[at].1
    }

    /// Puts everything into its order of precedence.
    fn finish(mut self) -> Self {
        self.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let wildcards = self.suffixes.iter_mut().map(|(_, table)| table);
        self.exact.values_mut().chain(wildcards).chain(iter::once(&mut self.any)).for_each(Table::finish);
        self
    }
}

/// One or more labels before the suffix.
fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// Host names know no case (RFC 9110 §4.2.3). Only one that was written in capitals is copied.
pub fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests;
