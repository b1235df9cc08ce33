//! Which rule of one host takes a path? Exact paths in a sorted table, regexes in a list, prefixes in a sorted table.

use std::cmp::Reverse;

use outrigger_config::model::{PathMatch, RouteMatch};
use regex::Regex;

use super::candidate::Candidate;
use super::{Request, RuleId};

/// The rules of one host.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: Paths,
    /// The longest pattern first, then by the other conditions.
    regexes: Vec<(Regex, Candidate)>,
    prefixes: Paths,
}

impl Table {
    pub(super) fn add(&mut self, wanted: &RouteMatch, rule: RuleId) {
        let candidate = Candidate::new(wanted, rule);
        match &wanted.path {
            PathMatch::Exact(path) => self.exact.add(path, candidate),
            PathMatch::Regex(regex) => self.regexes.push((regex.clone(), candidate)),
            PathMatch::Prefix(prefix) => self.prefixes.add(prefix, candidate),
        }
    }

    /// Puts everything into its order of precedence; before this nothing is found.
    pub(super) fn finish(&mut self) {
        self.exact.finish();
        self.prefixes.finish();
        self.regexes.sort_by_key(|(regex, candidate)| (Reverse(regex.as_str().len()), candidate.rank()));
    }

    /// The most specific rule that takes the request.
    pub(super) fn route(&self, request: &Request<'_>) -> Option<RuleId> {
        let path = request.path.as_bytes();
        let by_regex = || {
            let fits = |(regex, candidate): &&(Regex, Candidate)| {
                candidate.takes(request) && regex.is_match(request.path)
            };
            self.regexes.iter().find(fits).map(|(_, candidate)| candidate.rule)
        };
        let by_prefix =
            || ancestors(path, self.prefixes.longest).find_map(|prefix| self.prefixes.route(prefix, request));
        self.exact.route(path, request).or_else(by_regex).or_else(by_prefix)
    }
}

/// Paths in order of their octets, each with those who want it, the most specific first.
#[derive(Debug, Default)]
struct Paths {
    sorted: Vec<(Box<[u8]>, Vec<Candidate>)>,
    longest: usize,
}

impl Paths {
    fn add(&mut self, path: &str, candidate: Candidate) {
        self.longest = self.longest.max(path.len());
        match self.find(path.as_bytes()) {
            Ok(at) => self.sorted[at].1.push(candidate),
            Err(at) => self.sorted.insert(at, (path.as_bytes().into(), vec![candidate])),
        }
    }

    fn finish(&mut self) {
        for (_, candidates) in &mut self.sorted {
            candidates.sort_by_key(Candidate::rank);
        }
    }

    fn route(&self, path: &[u8], request: &Request<'_>) -> Option<RuleId> {
        let (_, candidates) = &self.sorted[self.find(path).ok()?];
        candidates.iter().find(|candidate| candidate.takes(request)).map(|candidate| candidate.rule)
    }

    fn find(&self, path: &[u8]) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(known, _)| (**known).cmp(path))
    }
}

/// The path, then what is left of it as segments are taken off its end, the empty one last; those over `longest` are
/// skipped, so that a path of ten thousand slashes costs no more than the longest prefix written.
fn ancestors(path: &[u8], longest: usize) -> impl Iterator<Item = &[u8]> {
    let parent = |path: &[u8]| path.iter().rposition(|octet| *octet == b'/').unwrap_or(0);
    let first = if path.len() <= longest { path } else { &path[..parent(&path[..=longest])] };
    std::iter::successors(Some(first), move |path| (!path.is_empty()).then(|| &path[..parent(path)]))
}
