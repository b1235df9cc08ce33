//! Who may do what? What `AuthorizationPolicy` documents mean.

use super::route::listened_to;
use super::{matches, unique};
use crate::faults::Faults;
use crate::model::{Accepts, AccessRule, AuthorizationPolicy, Direction, Mode, Name, PathMatch};
use crate::raw::{self, PortTls, Spanned, items, or};

/// All policies that are not switched off.
pub(super) fn resolve(
    written: &[Spanned<raw::AuthorizationPolicy>],
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Vec<AuthorizationPolicy> {
    let names = written.iter().filter_map(|policy| policy.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "authorization policy", faults);
    written.iter().filter_map(|policy| one(policy, sidecar, faults)).collect()
}

fn one(
    Spanned { value: written, span }: &Spanned<raw::AuthorizationPolicy>,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Option<AuthorizationPolicy> {
    let direction = or(written.direction, Direction::Inbound);
    listened_to(direction, written.direction.map_or(*span, |d| d.span), "policy", sidecar, faults);
    if written.deny.is_none() && written.allow.is_none() && written.whole {
        let help = "write `deny`, `allow` or both; `allow: []` denies everything";
        faults.at_with(*span, "the policy denies nothing", help);
    }
    let all = || items(written.deny.as_ref()).chain(items(written.allow.as_ref()));
    let names = all().filter_map(|rule| rule.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "rule of this policy", faults);
    for rule in all() {
        provable(&rule.value, direction, sidecar, faults);
        readable(&rule.value, direction, sidecar, faults);
    }
    let mut rules = |list: &str, written: &[Spanned<raw::AccessRule>]| -> Vec<_> {
        written
            .iter()
            .enumerate()
            .map(|(nth, rule)| self::rule(&format!("{list}-{nth}"), rule, faults))
            .collect()
    };
    let deny = written.deny.as_ref().map(|deny| rules("deny", &deny.value)).unwrap_or_default();
    let allow = written.allow.as_ref().map(|allow| rules("allow", &allow.value));
    let policy = AuthorizationPolicy {
        name: written.name.as_ref()?.value.clone(),
        mode: match or(written.mode, raw::Mode::Enforce) {
            raw::Mode::DryRun => Mode::DryRun,
            raw::Mode::Enforce | raw::Mode::Off => Mode::Enforce,
        },
        direction,
        deny,
        allow,
        location: faults.locate(*span),
    };
    let off = written.mode.is_some_and(|mode| mode.value == raw::Mode::Off);
    (!off).then_some(policy)
}

fn rule(
    otherwise: &str,
    Spanned { value: written, span }: &Spanned<raw::AccessRule>,
    faults: &mut Faults<'_>,
) -> AccessRule {
    let raw::AccessRule { identities, methods, paths, headers, sources, whole, .. } = written;
    if *whole
        && identities.is_none()
        && methods.is_none()
        && paths.is_none()
        && headers.is_none()
        && sources.is_none()
    {
        let help = "`allow: []` denies every request; without an `allow` list all are allowed";
        faults.at_with(*span, "the rule names nothing, and would match every request", help);
    }
    unique(items(identities.as_ref()).map(|one| (one.value.to_string(), one.span)), "identity", faults);
    unique(items(methods.as_ref()).map(|one| (&one.value, one.span)), "method", faults);
    unique(items(sources.as_ref()).map(|one| (one.value.to_string(), one.span)), "network", faults);
    let mut found: Vec<PathMatch> = Vec::new();
    for path in items(paths.as_ref()) {
        let Some(path_match) = matches::path(&path.value.0, faults) else { continue };
        if found.contains(&path_match) {
            faults.at(path.span, "the path is there twice");
        }
        found.push(path_match);
    }
    AccessRule {
        name: written.name.as_ref().map_or_else(|| Name(otherwise.into()), |name| name.value.clone()),
        identities: items(identities.as_ref()).map(|one| one.value.clone()).collect(),
        methods: items(methods.as_ref()).map(|one| one.value.clone()).collect(),
        paths: found,
        headers: matches::headers(headers.as_ref(), faults),
        sources: items(sources.as_ref()).map(|one| one.value).collect(),
    }
}

/// Where nothing is read, what a rule says of requests fits none of them: it would let nobody in, or keep out all.
fn readable(
    rule: &raw::AccessRule,
    direction: Direction,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) {
    let spans = [
        rule.methods.as_ref().map(|methods| methods.span),
        rule.paths.as_ref().map(|paths| paths.span),
        rule.headers.as_ref().map(|headers| headers.span),
    ];
    let Some(span) = spans.into_iter().flatten().next() else { return };
    let Some(sidecar) = sidecar.filter(|sidecar| direction == Direction::Inbound && sidecar.whole) else {
        return;
    };
    let is_opaque = |port: &Spanned<raw::Inbound>| {
        port.value.protocol.is_some_and(|protocol| protocol.value.1 == Accepts::Opaque)
    };
    if sidecar.inbound.is_some() && items(sidecar.inbound.as_ref()).all(is_opaque) {
        let help = "name `identities` or `sources`: every inbound port has `protocol: tcp`";
        faults.at_with(span, "nothing reads requests on any inbound port", help);
    }
}

/// Where nobody proves anything, a rule for an identity never matches: an `allow` would shut everybody out, and a `deny` let
/// everybody in.
fn provable(
    rule: &raw::AccessRule,
    direction: Direction,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) {
    let Some(identities) = &rule.identities else { return };
    if direction == Direction::Outbound {
        let help = "whoever calls out is the service beside us";
        return faults.at_with(identities.span, "an outbound rule has no `identities`", help);
    }
    let Some(sidecar) = sidecar.filter(|sidecar| sidecar.whole) else { return };
    let asks = |port: &raw::Inbound| port.tls.is_none_or(|tls| tls.value != PortTls::Off);
    if sidecar.identity.is_none() {
        let help = "write `identity: {certDir: /certs}` in the Sidecar: without it no port speaks TLS";
        faults.at_with(identities.span, "no caller can prove an identity", help);
    } else if sidecar.inbound.is_some() && !items(sidecar.inbound.as_ref()).any(|port| asks(&port.value)) {
        faults.at_with(
            identities.span,
            "no caller can prove an identity",
            "every inbound port has `tls: off`",
        );
    }
}
