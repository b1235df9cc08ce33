//! What does it mean? The only way from raw to model; it collects every error and stops at none.

mod authorization;
mod balancer;
mod bounds;
mod breaker;
mod cache;
mod capture;
mod concurrency;
mod fallback;
mod fault;
mod health;
mod layers;
mod listeners;
mod matches;
mod outlier;
mod pacing;
mod paths;
mod policy;
mod rate_limit;
mod route;
mod sidecar;
mod tcp;
mod tls;
mod upstream;

use std::collections::HashMap;
use std::hash::Hash;

use crate::faults::{Faults, Span};
use crate::model::{Config, Name};
use crate::raw::{Documents, Spanned};

/// The meaning of all documents together; `None` after a fault was reported.
pub(crate) fn resolve(documents: &Documents, faults: &mut Faults<'_>) -> Option<Config> {
    at_most_one(&documents.sidecars, |sidecar| sidecar.name.as_ref(), "Sidecar", faults);
    at_most_one(&documents.defaults, |defaults| defaults.name.as_ref(), "Defaults", faults);
    if documents.sidecars.is_empty() && !faults.incomplete {
        faults.at_with(Span::start_of(0), "no document of kind `Sidecar`", "a generation has exactly one");
    }
    let defaults = documents.defaults.first().map(|defaults| &defaults.value);
    let sidecars: Vec<_> =
        documents.sidecars.iter().filter_map(|written| sidecar::resolve(written, defaults, faults)).collect();
    let sidecar = documents.sidecars.first().map(|sidecar| &sidecar.value);
    let upstreams = upstream::resolve(&documents.upstreams, defaults, sidecar, faults);
    let scope = route::Scope { defaults, upstreams: &upstreams, sidecar };
    let http = documents.routes.iter().filter_map(|route| route.value.name.as_ref());
    let tcp = documents.tcp_routes.iter().filter_map(|route| route.value.name.as_ref());
    unique(http.chain(tcp).map(|name| (name.value.as_str(), name.span)), "route", faults);
    let routes = route::resolve(&documents.routes, &scope, faults);
    let tcp_routes = tcp::resolve(&documents.tcp_routes, &scope, faults);
    let outbound = sidecar.and_then(|sidecar| sidecar.outbound.as_ref()).map(|outbound| &outbound.value);
    let tcp_listeners = tcp::listeners(outbound, &scope, faults);
    let rate_limits = rate_limit::resolve(&documents.rate_limits, sidecar, faults);
    let authorization = authorization::resolve(&documents.authorization, sidecar, faults);
    let upstreams = upstreams.resolved;
    let mut sidecar = sidecars.into_iter().next()?;
    if let Some(outbound) = &mut sidecar.outbound {
        outbound.tcp = tcp_listeners;
    }
    Some(Config { sidecar, upstreams, routes, tcp_routes, rate_limits, authorization })
}

/// Two documents never merge into one thing.
fn at_most_one<D>(
    documents: &[Spanned<D>],
    name: impl Fn(&D) -> Option<&Spanned<Name>>,
    kind: &str,
    faults: &mut Faults<'_>,
) {
    let Some((first, others)) = documents.split_first() else { return };
    for other in others {
        let (name, span) =
            name(&other.value).map_or(("", other.span), |name| (name.value.as_str(), name.span));
        let help = format!("the first one is {}", faults.locate(first.span));
        faults.at_with(span, format!("a second document of kind `{kind}`: `{name}`"), help);
    }
}

/// Reports everything that is there twice.
fn unique<K: Hash + Eq + ToString>(
    keys: impl Iterator<Item = (K, Span)>,
    what: &str,
    faults: &mut Faults<'_>,
) {
    let mut first: HashMap<K, Span> = HashMap::new();
    for (key, span) in keys {
        match first.get(&key) {
            Some(before) => {
                let help = format!("the first one is {}", faults.locate(*before));
                faults.at_with(span, format!("duplicate {what} `{}`", key.to_string()), help);
            }
            None => {
                first.insert(key, span);
            }
        }
    }
}
