//! Which rule takes a request, and which upstreams may it go to? Every reference bound.

use std::collections::HashMap;

use super::fallback;
use super::fault;
use super::matches;
use super::policy::{self, Layer};
use super::unique;
use super::upstream::Upstreams;
use crate::faults::{Faults, Span};
use crate::model::{
    Backend, Direction, HostPattern, HttpRoute, Location, Name, Protocol, RouteMatch, Rule, Upgrade,
    UpstreamId,
};
use crate::raw::{self, Spanned, items, or};

/// What routes refer to.
pub(super) struct Scope<'a> {
    pub(super) defaults: Option<&'a raw::Defaults>,
    pub(super) upstreams: &'a Upstreams<'a>,
    /// `None` when it cannot be told.
    pub(super) sidecar: Option<&'a raw::Sidecar>,
}

/// All routes.
pub(super) fn resolve(
    written: &[Spanned<raw::HttpRoute>],
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Vec<HttpRoute> {
    let mut taken = HashMap::new();
    written.iter().filter_map(|route| one(route, scope, &mut taken, faults)).collect()
}

/// Who takes requests with this direction, host and match.
type Taken = HashMap<(Direction, HostPattern, String), Location>;

fn one(
    Spanned { value: written, span }: &Spanned<raw::HttpRoute>,
    scope: &Scope<'_>,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) -> Option<HttpRoute> {
    let direction = or(written.direction, Direction::Outbound);
    let hosts: Vec<HostPattern> = match &written.hosts {
        Some(hosts) => {
            unique(hosts.value.iter().map(|host| (host.value.to_string(), host.span)), "host", faults);
            hosts.value.values().cloned().collect()
        }
        None if direction == Direction::Inbound => vec![HostPattern::Any],
        None => {
            if written.whole {
                let help = "an outbound route names the authorities that it takes";
                faults.at_with(*span, "missing `hosts`", help);
            }
            Vec::new()
        }
    };
    listened_to(direction, written.direction.map_or(*span, |d| d.span), "route", scope.sidecar, faults);
    let named = items(written.rules.as_ref()).filter_map(|rule| rule.value.name.as_ref());
    unique(named.map(|name| (name.value.as_str(), name.span)), "rule of this route", faults);
    let rules: Vec<_> = items(written.rules.as_ref())
        .enumerate()
        .filter_map(|(index, rule)| {
            let matches = matches::any(rule.value.matches.as_ref(), rule.span, faults);
            for (found, span) in &matches {
                reachable(direction, &hosts, found, *span, taken, faults);
            }
            self::rule(index, rule, direction, matches, scope, faults)
        })
        .collect();
    let name = written.name.as_ref()?.value.clone();
    Some(HttpRoute { name, direction, hosts, rules, location: faults.locate(*span) })
}

fn rule(
    index: usize,
    Spanned { value: written, span }: &Spanned<raw::Rule>,
    direction: Direction,
    matches: Vec<(RouteMatch, Span)>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<Rule> {
    let layers = [Layer::defaults(scope.defaults, direction), Layer::rule(written)];
    let policy = policy::resolve(direction, &layers, faults);
    let backends = match direction {
        Direction::Inbound => {
            inbound_rule(written, faults);
            Some(Vec::new())
        }
        Direction::Outbound => {
            let refs = written.backend_refs.as_ref();
            speaking(refs, &matches, scope, faults);
            backends(refs, (*span, written.whole), Layer::rule(written), scope, faults)
        }
    };
    let name = match &written.name {
        Some(name) => name.value.clone(),
        None => Name(format!("rule-{index}").into()),
    };
    let matches = matches.into_iter().map(|(found, _)| found).collect();
    let backends = backends?;
    Some(Rule {
        name,
        matches,
        policy,
        priority: written.priority.map(|priority| priority.value),
        fallback: fallback::resolve(written, direction, &backends, scope, faults),
        backends,
        fault: fault::resolve(written, direction, scope.sidecar, faults),
        location: faults.locate(*span),
    })
}

fn inbound_rule(written: &raw::Rule, faults: &mut Faults<'_>) {
    if let Some(backends) = &written.backend_refs {
        let help = "it leads to the application; `direction: outbound` leads to upstreams";
        faults.at_with(backends.span, "an inbound rule has no `backendRefs`", help);
    }
    if let Some(retry) = &written.retry
        && retry.value.whole
        && retry.value.attempts.is_none()
    {
        faults.at_with(retry.span, "`retry` of an inbound rule needs `attempts`", "it is 0 unless written");
    }
    for tunnel in items(written.upgrades.as_ref()).filter(|upgrade| upgrade.value == Upgrade::Connect) {
        let help = "a tunnel through the sidecar would be a way around every inbound route";
        faults.at_with(tunnel.span, "an inbound rule cannot allow `connect`", help);
    }
}

/// What speaks no HTTP is reached by a tunnel alone.
fn speaking(
    refs: Option<&Spanned<raw::List<raw::BackendRef>>>,
    matches: &[(RouteMatch, Span)],
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) {
    if matches.iter().all(|(found, _)| found.method == Some(http::Method::CONNECT)) {
        return;
    }
    let document = |name: &Spanned<Name>| scope.upstreams.by_name.get(name.value.as_str());
    for name in items(refs).filter_map(|backend| backend.value.name.as_ref()) {
        let protocol = document(name).and_then(|(_, upstream)| upstream.protocol);
        if protocol.is_some_and(|protocol| protocol.value == Protocol::Tcp) {
            let help = "a `TCPRoute` leads there, or a rule for `method: CONNECT`";
            faults.at_with(name.span, format!("`{}` speaks no HTTP (`protocol: tcp`)", name.value), help);
        }
    }
}

/// The upstreams that a rule leads to; `own` is its own policy.
pub(super) fn backends(
    refs: Option<&Spanned<raw::List<raw::BackendRef>>>,
    (span, whole): (Span, bool),
    own: Layer<'_>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Backend>> {
    let Some(refs) = refs else {
        if whole {
            let help = "an outbound rule names the upstreams that it leads to";
            faults.at_with(span, "missing `backendRefs`", help);
        }
        return None;
    };
    let names = refs.value.iter().filter_map(|backend| backend.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "backend of this rule", faults);
    let weight = |backend: &raw::BackendRef| or(backend.weight, 1_u32);
    if !refs.value.is_empty() && refs.value.iter().all(|backend| weight(&backend.value) == 0) {
        faults.at(refs.span, "all weights are 0: no request could go anywhere");
    }
    let backend = |backend: &Spanned<raw::BackendRef>| {
        self::backend(backend.value.name.as_ref()?, weight(&backend.value), own, scope, faults)
    };
    Some(refs.value.iter().filter_map(backend).collect())
}

/// An upstream by its name, with the policy of a rule's exchanges with it.
pub(super) fn backend(
    name: &Spanned<Name>,
    weight: u32,
    own: Layer<'_>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<Backend> {
    let (upstream, document) = named(name, scope, faults)?;
    let defaults = Layer::defaults(scope.defaults, Direction::Outbound);
    let policy = policy::resolve(Direction::Outbound, &[defaults, Layer::upstream(document), own], faults);
    Some(Backend { upstream, weight, policy })
}

/// An upstream by its name.
pub(super) fn named<'a>(
    name: &Spanned<Name>,
    scope: &Scope<'a>,
    faults: &mut Faults<'_>,
) -> Option<(UpstreamId, &'a raw::Upstream)> {
    let found = scope.upstreams.by_name.get(name.value.as_str()).copied();
    if found.is_none() && !faults.incomplete {
        let known = scope.upstreams.by_name.keys().copied();
        let help = raw::similar_to(name.value.as_str(), known);
        faults.report(name.span, &format!("no upstream is named `{}`", name.value), help.as_deref());
    }
    found
}

/// What no listener feeds would do nothing.
pub(super) fn listened_to(
    direction: Direction,
    span: Span,
    what: &str,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) {
    let Some(sidecar) = sidecar else { return };
    let (missing, word) = match direction {
        Direction::Inbound => (sidecar.inbound.is_none(), "inbound"),
        Direction::Outbound => (sidecar.outbound.is_none(), "outbound"),
    };
    if missing && sidecar.whole {
        let message = format!("the {what} is {word}, but the Sidecar has no `{word}`");
        faults.at_with(span, message, "nothing would reach it");
    }
}

/// Of two equal matches the earlier one takes every request.
fn reachable(
    direction: Direction,
    hosts: &[HostPattern],
    found: &RouteMatch,
    span: Span,
    taken: &mut Taken,
    faults: &mut Faults<'_>,
) {
    for host in hosts {
        let key = (direction, host.clone(), format!("{found:?}"));
        match taken.get(&key) {
            Some(first) => {
                let help = format!("see {first}");
                faults.at_with(
                    span,
                    format!("never reached: an earlier rule of `{host}` has the same match"),
                    help,
                );
            }
            None => {
                taken.insert(key, faults.locate(span));
            }
        }
    }
}
