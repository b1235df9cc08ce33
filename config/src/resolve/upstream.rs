//! Whom may the service call? Upstreams with their endpoints, each authority bound to one of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use super::breaker;
use super::cache;
use super::capture;
use super::health;
use super::layers::Layers;
use super::outlier;
use super::pacing;
use super::policy::{self, Layer};
use super::tls;
use super::unique;
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{Direction, Discovery, Inbound, InboundCapture, Outbound, Upstream, UpstreamId};
use crate::raw::{self, Spanned, items, or};

/// Upstreams by name, for the routes that lead to them.
pub(super) struct Upstreams<'a> {
    pub(super) resolved: Vec<Upstream>,
    pub(super) by_name: HashMap<&'a str, (UpstreamId, &'a raw::Upstream)>,
}

/// All upstreams.
pub(super) fn resolve<'a>(
    written: &'a [Spanned<raw::Upstream>],
    defaults: Option<&raw::Defaults>,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Upstreams<'a> {
    unique(
        written.iter().filter_map(|u| u.value.name.as_ref()).map(|n| (n.value.as_str(), n.span)),
        "upstream",
        faults,
    );
    authorities(written, faults);
    applications(written, faults);
    capture::check_addresses(written, sidecar, faults);
    let mut upstreams = Upstreams { resolved: Vec::new(), by_name: HashMap::new() };
    for upstream in written {
        let resolved = one(upstream, defaults, sidecar, faults);
        if let Some(name) = &upstream.value.name {
            // A name that exists but whose document is broken must not look dangling.
            let id = UpstreamId(upstreams.resolved.len());
            upstreams.by_name.entry(name.value.as_str()).or_insert((id, &upstream.value));
        } else {
            faults.incomplete = true;
        }
        upstreams.resolved.extend(resolved);
    }
    upstreams
}

fn one(
    document: &Spanned<raw::Upstream>,
    defaults: Option<&raw::Defaults>,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Option<Upstream> {
    let Spanned { value: written, span } = document;
    let layers = [Layer::defaults(defaults, Direction::Outbound), Layer::upstream(written)];
    let policy = policy::resolve(Direction::Outbound, &layers, faults);
    let discovery = written.discovery.as_ref().and_then(|written| discovery(written, faults));
    let tls = tls::upstream(document, discovery.as_ref(), defaults, sidecar, faults);
    let name = written.name.as_ref()?.value.clone();
    let hosts = items(written.hosts.as_ref()).map(|host| host.value.as_str());
    let balancer = Layers {
        defaults: defaults.and_then(|defaults| block(defaults.load_balancer.as_ref())),
        own: block(written.load_balancer.as_ref()),
    };
    let (load_balancer, balancing) = balancer.balancing(sidecar, faults);
    let budget = Layers {
        defaults: defaults.and_then(|defaults| block(defaults.retry_budget.as_ref())),
        own: block(written.retry_budget.as_ref()),
    };
    let limits = Layers {
        defaults: defaults.and_then(|defaults| block(defaults.limits.as_ref())),
        own: block(written.limits.as_ref()),
    };
    Some(Upstream {
        hosts: hosts.filter(|host| *host != name.as_str()).map(str::to_owned).collect(),
        name,
        addresses: items(written.addresses.as_ref()).map(|address| address.value.into()).collect(),
        discovery: discovery?,
        protocol: or(written.protocol, defaults::PROTOCOL),
        tls,
        load_balancer,
        balancing,
        health_check: health::checks(written.health_check.as_ref(), defaults, faults),
        outlier_detection: outlier::resolve(written, defaults, faults),
        circuit_breaker: breaker::resolve(written, defaults, faults),
        pacing: pacing::resolve(written, defaults, faults),
        cache: cache::resolve(written, defaults, faults),
        retry_budget: budget.retry_budget(),
        limits: limits.limits(faults),
        policy,
        location: faults.locate(*span),
    })
}

fn discovery(
    Spanned { value: written, span }: &Spanned<raw::Discovery>,
    faults: &mut Faults<'_>,
) -> Option<Discovery> {
    if written.addresses.is_some() {
        let dns_only = [
            ("dns", written.dns.as_ref().map(|w| w.span)),
            ("port", written.port.as_ref().map(|w| w.span)),
            ("staleFor", written.stale_for.as_ref().map(|w| w.span)),
        ];
        for (key, span) in dns_only.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            faults.at(span, format!("`{key}` and `static` exclude each other"));
        }
    }
    match (&written.addresses, &written.dns) {
        (Some(addresses), _) => {
            let each = addresses.value.iter().map(|address| (SocketAddr::from(address.value), address.span));
            unique(each, "endpoint", faults);
            Some(Discovery::Static(addresses.value.values().map(|address| (*address).into()).collect()))
        }
        (None, Some(name)) => {
            if written.port.is_none() && written.whole {
                faults.at(*span, "missing `port`: DNS addresses carry none");
            }
            Some(Discovery::Dns {
                name: name.value.as_str().to_owned(),
                port: written.port?.value.into(),
                stale_for: or(written.stale_for, defaults::STALE_FOR),
            })
        }
        (None, None) => {
            if written.whole {
                faults.at_with(*span, "missing `static` or `dns`", "endpoints come from a list or from DNS");
            }
            None
        }
    }
}

/// What is written of a block.
fn block<B>(written: Option<&Spanned<B>>) -> Option<&B> {
    written.map(|written| &written.value)
}

/// The application behind an inbound port has a name of that form, by which it is counted and known across reloads; and
/// so has what the policy lets through without naming it.
fn applications(written: &[Spanned<raw::Upstream>], faults: &mut Faults<'_>) {
    for Spanned { value: name, span } in written.iter().filter_map(|upstream| upstream.value.name.as_ref()) {
        let port = name.as_str().strip_prefix(Inbound::PREFIX).and_then(|port| port.parse::<u16>().ok());
        let owner = match port {
            Some(port) => format!("the application behind the inbound port {port}"),
            None if name.as_str() == Outbound::PASSTHROUGH => "what `unknown: allow` lets through".to_owned(),
            None if name.as_str() == InboundCapture::PASSTHROUGH => {
                "what `unknown: allow` lets in".to_owned()
            }
            None => continue,
        };
        faults.at_with(*span, format!("`{name}` is the name of {owner}"), "choose another name");
    }
}

/// An authority leads to one upstream, by its name or by one of its hosts.
fn authorities(written: &[Spanned<raw::Upstream>], faults: &mut Faults<'_>) {
    let mut owners: HashMap<&str, (usize, Span)> = HashMap::new();
    for (owner, upstream) in written.iter().enumerate() {
        if let Some(name) = &upstream.value.name {
            owners.entry(name.value.as_str()).or_insert((owner, name.span));
        }
    }
    for (owner, upstream) in written.iter().enumerate() {
        let hosts = items(upstream.value.hosts.as_ref());
        unique(hosts.clone().map(|host| (host.value.as_str(), host.span)), "host", faults);
        for host in hosts {
            match owners.entry(host.value.as_str()) {
                Entry::Vacant(free) => {
                    free.insert((owner, host.span));
                }
                Entry::Occupied(taken) if taken.get().0 != owner => {
                    let place = faults.locate(taken.get().1);
                    let message = format!("the host `{}` already belongs to another upstream", host.value);
                    faults.at_with(host.span, message, format!("see {place}"));
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}
