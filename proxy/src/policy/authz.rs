//! May this caller do this? The deny rules of a policy, then its allow rules.
//!
//! A policy without an `allow` list lets pass what it does not deny; with one, it denies whatever none of that list
//! takes, and with an empty one everything. Several policies are asked one after the other, and each must let a request
//! pass. (Istio lets a request in that any of its `ALLOW` policies takes; there, to add a policy may open what another
//! keeps closed.)
//!
//! A rule takes a request if all that it names fits: one of the identities, methods, paths and sources each, and every
//! header. Paths, methods and headers are compared by the [router](super::router), so no path that a route would not
//! take as `/admin` is another to authorization. Of a field that comes in several lines, one is enough for a `deny` rule,
//! and all must fit an `allow` rule: nobody knows which of them the application reads. An identity fits whole or by its trust domain, never by a prefix.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use outrigger_config::model::{
    self, AuthorizationPolicy, HeaderMatch, HostPattern, IdentityMatch, Network, PathMatch, PeerIdentity,
    RouteMatch,
};

use super::router::{Request, Router, is_agreed};

/// A policy, compiled. Deciding allocates nothing.
#[derive(Debug)]
pub struct Policy {
    deny: Box<[Rule]>,
    allow: Option<Box<[Rule]>>,
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// What mTLS proved.
    pub identity: Option<&'a PeerIdentity>,
    /// Where the connection comes from.
    pub source: IpAddr,
}

/// What a policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// It may.
    Allowed,
    /// It may not.
    Denied {
        /// The `deny` rule that says so; `None`: no `allow` rule takes it.
        rule: Option<&'p str>,
    },
}

#[derive(Debug)]
struct Rule {
    name: Arc<str>,
    identities: HashSet<PeerIdentity, RandomState>,
    trust_domains: HashSet<Arc<str>, RandomState>,
    sources: Box<[Network]>,
    /// Methods, paths and headers; `None`: it names none.
    requests: Option<Router>,
    /// Fields of which no line may say anything else.
    agreed: Box<[HeaderMatch]>,
}

impl Policy {
    /// Compiles it.
    pub fn new(policy: &AuthorizationPolicy) -> Self {
        let deny = policy.deny.iter().map(|rule| Rule::new(rule, &[]));
        let allow =
            |rules: &[model::AccessRule]| rules.iter().map(|rule| Rule::new(rule, &rule.headers)).collect();
        Self { deny: deny.collect(), allow: policy.allow.as_deref().map(allow) }
    }

    /// Whether it lets the request pass.
    pub fn judge(&self, caller: &Caller<'_>, request: &Request<'_>) -> Verdict<'_> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.takes(caller, request)) {
            return Verdict::Denied { rule: Some(&rule.name) };
        }
        match &self.allow {
            Some(allow) if !allow.iter().any(|rule| rule.takes(caller, request)) => {
                Verdict::Denied { rule: None }
            }
            Some(_) | None => Verdict::Allowed,
        }
    }

    /// Whether it lets a connection pass of which nobody reads what it carries. What a rule says of requests cannot be
    /// looked at, so it is taken for the worse: a `deny` rule holds by all else that it names, and an `allow` rule never does
    /// (as Istio's, on a port of TCP). So a connection gets through only where whatever is in it would.
    pub fn judge_connection(&self, caller: &Caller<'_>) -> Verdict<'_> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.takes_caller(caller)) {
            return Verdict::Denied { rule: Some(&rule.name) };
        }
        let lets_in = |rule: &Rule| rule.requests.is_none() && rule.takes_caller(caller);
        match &self.allow {
            Some(allow) if !allow.iter().any(lets_in) => Verdict::Denied { rule: None },
            Some(_) | None => Verdict::Allowed,
        }
    }

    /// Whether any rule names a path.
    pub fn looks_at_paths(&self) -> bool {
        let mut rules = self.deny.iter().chain(self.allow.iter().flatten());
        rules.any(|rule| rule.requests.as_ref().is_some_and(Router::looks_at_paths))
    }
}

impl Rule {
    fn new(rule: &model::AccessRule, agreed: &[HeaderMatch]) -> Self {
        let (mut identities, mut trust_domains) = (HashSet::default(), HashSet::default());
        for identity in &rule.identities {
            match identity {
                IdentityMatch::One(identity) => drop(identities.insert(identity.clone())),
                IdentityMatch::TrustDomain(domain) => drop(trust_domains.insert(Arc::clone(domain))),
            }
        }
        Self {
            name: rule.name.shared(),
            identities,
            trust_domains,
            sources: rule.sources.as_slice().into(),
            requests: requests(rule),
            agreed: agreed.into(),
        }
    }

    fn takes(&self, caller: &Caller<'_>, request: &Request<'_>) -> bool {
        self.takes_caller(caller)
            && self.requests.as_ref().is_none_or(|requests| requests.route(request).is_some())
            && self.agreed.iter().all(|wanted| is_agreed(request.headers, wanted))
    }

    fn takes_caller(&self, caller: &Caller<'_>) -> bool {
        self.knows(caller.identity)
            && (self.sources.is_empty() || self.sources.iter().any(|network| network.contains(caller.source)))
    }

    fn knows(&self, identity: Option<&PeerIdentity>) -> bool {
        if self.identities.is_empty() && self.trust_domains.is_empty() {
            return true;
        }
        identity.is_some_and(|identity| {
            self.identities.contains(identity)
                || matches!(identity, PeerIdentity::Spiffe(id) if self.trust_domains.contains(id.trust_domain()))
        })
    }
}

/// Each method with each path, as the matches of a route.
fn requests(rule: &model::AccessRule) -> Option<Router> {
    if rule.methods.is_empty() && rule.paths.is_empty() && rule.headers.is_empty() {
        return None;
    }
    let every = [PathMatch::Prefix(String::new())];
    let paths = if rule.paths.is_empty() { &every[..] } else { &rule.paths };
    let any = [None];
    let named: Vec<_> = rule.methods.iter().cloned().map(Some).collect();
    let methods = if named.is_empty() { &any[..] } else { &named };
    let matches: Vec<_> = paths
        .iter()
        .flat_map(|path| methods.iter().map(move |method| (path.clone(), method.clone())))
        .map(|(path, method)| RouteMatch { path, method, headers: rule.headers.clone(), query: Vec::new() })
        .collect();
    Some(Router::matching(&[HostPattern::Any], &matches))
}

#[cfg(test)]
mod tests;
