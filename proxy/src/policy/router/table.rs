//! Which rule of one host takes a path? Exact paths in a sorted table, regexes in a list, prefixes in a sorted table.

use std::cmp::Reverse;

use outrigger_config::model::{PathMatch, RouteMatch};
use regex::Regex;

use super::candidate::Candidate;
use super::{Request, RuleId, Step};

/// The rules of one host.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: Paths,
    /// The longest pattern first, then by the other conditions.
    regexes: Vec<(Regex, Candidate)>,
    prefixes: Paths,
}

impl Table {
    pub(super) fn add(&mut self, wanted: &RouteMatch, rule: RuleId, nth: usize) {
        let candidate = Candidate::new(wanted, rule, nth);
        match &wanted.path {
            PathMatch::Exact(path) => self.exact.add(path, candidate),
            PathMatch::Regex(regex) => self.regexes.push((regex.clone(), candidate)),
            PathMatch::Prefix(prefix) => self.prefixes.add(prefix, candidate),
        }
    }

    /// Whether any rule names a path.
    pub(super) fn looks_at_paths(&self) -> bool {
        !self.exact.sorted.is_empty() || !self.regexes.is_empty() || self.prefixes.longest > 0
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

impl Table {
    /// All matches in the order in which [`Self::route`] would come to them.
    pub(super) fn trail(&self, request: &Request<'_>) -> Vec<Step<'_>> {
        let path = request.path.as_bytes();
        let prefixed = |prefix: &[u8]| ancestors(path, self.prefixes.longest).any(|above| above == prefix);
        let mut steps: Vec<_> = self.exact.steps(request, |exact| exact == path).collect();
        steps.extend(
            self.regexes.iter().map(|(regex, found)| found.step(request, regex.is_match(request.path))),
        );
        steps.extend(self.prefixes.steps(request, prefixed));
        steps
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

    /// The longest path first.
    fn steps(&self, request: &Request<'_>, fits: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = Step<'_>> {
        let mut paths: Vec<_> = self.sorted.iter().collect();
        paths.sort_by_key(|(path, _)| Reverse(path.len()));
        paths.into_iter().flat_map(move |(path, candidates)| {
            let fits = fits(path);
            candidates.iter().map(move |candidate| candidate.step(request, fits))
        })
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
