//! Which rule takes a connection that nobody reads, and which upstreams may it go to? Every reference bound.

use super::policy::{self, Layer};
use super::route::{Scope, backends, listened_to, named};
use super::unique;
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{
    Accepts, Backend, Capture, Detection, Direction, Name, OutboundTcp, TcpMatch, TcpRoute, TcpRule,
};
use crate::raw::{self, Spanned, items, or};

/// All routes of opaque connections.
pub(super) fn resolve(
    written: &[Spanned<raw::TcpRoute>],
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Vec<TcpRoute> {
    written.iter().filter_map(|route| one(route, scope, faults)).collect()
}

/// How it is found out what a connection speaks.
pub(super) fn detection(written: Option<&raw::Detection>, faults: &mut Faults<'_>) -> Detection {
    let ports = written.and_then(|written| written.opaque_ports.as_ref());
    unique(items(ports).map(|port| (u16::from(port.value), port.span)), "port", faults);
    Detection {
        timeout: or(written.and_then(|written| written.timeout), defaults::DETECTION_TIMEOUT),
        opaque_ports: match ports {
            Some(ports) => ports.value.values().map(|port| (*port).into()).collect(),
            None => defaults::OPAQUE_PORTS.into(),
        },
    }
}

/// Ports that lead to one service each.
pub(super) fn listeners(
    written: Option<&raw::Outbound>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Vec<OutboundTcp> {
    let listeners = items(written.and_then(|outbound| outbound.tcp.as_ref()));
    let listener = |listener: &Spanned<raw::OutboundTcp>| {
        let upstream = listener.value.upstream.as_ref().map(|name| named(name, scope, faults));
        let upstream = match upstream {
            Some(None) => return None,
            Some(Some((id, _))) => Some(id),
            None => None,
        };
        Some(OutboundTcp { listen: listener.value.listen?.value.into(), upstream })
    };
    listeners.filter_map(listener).collect()
}

fn one(
    Spanned { value: written, span }: &Spanned<raw::TcpRoute>,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<TcpRoute> {
    let direction = or(written.direction, Direction::Outbound);
    let at = written.direction.map_or(*span, |direction| direction.span);
    listened_to(direction, at, "route", scope.sidecar, faults);
    fed(direction, at, scope.sidecar, faults);
    let names = items(written.rules.as_ref()).filter_map(|rule| rule.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "rule of this route", faults);
    let rules = items(written.rules.as_ref())
        .enumerate()
        .filter_map(|(index, rule)| self::rule(index, rule, direction, scope, faults))
        .collect();
    let name = written.name.as_ref()?.value.clone();
    Some(TcpRoute { name, direction, rules, location: faults.locate(*span) })
}

fn rule(
    index: usize,
    Spanned { value: written, span }: &Spanned<raw::TcpRule>,
    direction: Direction,
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<TcpRule> {
    let matches = match &written.matches {
        Some(list) => list.value.values().map(|found| matches(found, faults)).collect(),
        None => vec![TcpMatch::default()],
    };
    let (timeouts, retry) = (timeouts(written), retry(written));
    let own = Layer::tcp_rule(timeouts.as_ref(), retry.as_ref());
    let layers = [Layer::defaults(scope.defaults, direction), own];
    let policy = policy::resolve(direction, &layers, faults).of_connections();
    let backends = match (direction, &written.backend_refs) {
        (Direction::Inbound, None) => Vec::new(),
        (Direction::Inbound, Some(refs)) => {
            let help = "it leads to the application; `direction: outbound` leads to upstreams";
            faults.at_with(refs.span, "an inbound rule has no `backendRefs`", help);
            Vec::new()
        }
        (Direction::Outbound, refs) => {
            let found = backends(refs.as_ref(), (*span, written.whole), own, scope, faults)?;
            let connected = |backend: Backend| Backend { policy: backend.policy.of_connections(), ..backend };
            found.into_iter().map(connected).collect()
        }
    };
    let name = match &written.name {
        Some(name) => name.value.clone(),
        None => Name(format!("rule-{index}").into()),
    };
    let priority = written.priority.map(|priority| priority.value);
    Some(TcpRule { name, matches, backends, policy, priority, location: faults.locate(*span) })
}

fn matches(written: &raw::TcpMatch, faults: &mut Faults<'_>) -> TcpMatch {
    let raw::TcpMatch { ports, addresses, snis, .. } = written;
    unique(items(ports.as_ref()).map(|one| (u16::from(one.value), one.span)), "port", faults);
    unique(items(addresses.as_ref()).map(|one| (one.value.to_string(), one.span)), "network", faults);
    unique(items(snis.as_ref()).map(|one| (one.value.to_string(), one.span)), "name", faults);
    TcpMatch {
        ports: items(ports.as_ref()).map(|one| one.value.into()).collect(),
        addresses: items(addresses.as_ref()).map(|one| one.value).collect(),
        snis: items(snis.as_ref()).map(|one| one.value.clone()).collect(),
    }
}

/// A rule's clocks in the words that all policy is written in.
fn timeouts(written: &raw::TcpRule) -> Option<Spanned<raw::Timeouts>> {
    let Spanned { value: raw::TcpTimeouts { connect, idle, whole }, span } = written.timeouts.as_ref()?;
    let value = raw::Timeouts { connect: *connect, idle: *idle, whole: *whole, ..raw::Timeouts::default() };
    Some(Spanned { value, span: *span })
}

/// The same of its retries.
fn retry(written: &raw::TcpRule) -> Option<Spanned<raw::Retry>> {
    let Spanned { value: raw::TcpRetry { attempts, backoff, whole }, span } = written.retry.as_ref()?;
    let backoff = backoff.as_ref().map(|written| {
        let raw::Backoff { base, max, whole } = written.value;
        Spanned { value: raw::Backoff { base, max, whole }, span: written.span }
    });
    let value = raw::Retry { attempts: *attempts, backoff, whole: *whole, ..raw::Retry::default() };
    Some(Spanned { value, span: *span })
}

/// Where only HTTP is taken, no connection is opaque.
fn fed(direction: Direction, span: Span, sidecar: Option<&raw::Sidecar>, faults: &mut Faults<'_>) {
    let Some(sidecar) = sidecar.filter(|sidecar| sidecar.whole) else { return };
    let help = match (direction, &sidecar.outbound) {
        (Direction::Outbound, Some(outbound)) => {
            let outbound = &outbound.value;
            let takes = outbound.protocol.is_some_and(|protocol| protocol.value.0 != Accepts::Http);
            let redirected = outbound.capture.is_some_and(|capture| capture.value == Capture::Redirect);
            let takes = takes || redirected && outbound.protocol.is_none();
            if takes || outbound.tcp.is_some() || !outbound.whole {
                return;
            }
            "write `tcp: [{listen: …}]` or `protocol: auto` in the Sidecar's `outbound`"
        }
        (Direction::Inbound, _) if sidecar.inbound.is_some() => {
            let takes = |port: &raw::Inbound| port.protocol.is_some_and(|p| p.value.1 != Accepts::Http);
            if items(sidecar.inbound.as_ref()).any(|port| takes(&port.value) || !port.value.whole) {
                return;
            }
            "write `protocol: tcp` or `auto` for a port of the Sidecar's `inbound`"
        }
        _ => return,
    };
    faults.at_with(span, "no connection is opaque there: all is taken for HTTP", help);
}
