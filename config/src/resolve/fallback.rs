//! What stands in for a failure? A rule's chain of fallbacks, every reference bound.

use std::path::PathBuf;

use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::layers::applied;
use super::policy::Layer;
use super::route::{self, Scope};
use super::unique;
use crate::faults::{Faults, Span};
use crate::model::{
    Applied, Backend, Canned, CannedBody, Direction, Fallback, FallbackCondition, Name, StandIn,
};
use crate::raw::{self, CacheUse, Spanned, Words, items, or};

/// Fields that are about the connection or the framing, or that we write ourselves.
const NOT_WRITTEN: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    PROXY_AUTHENTICATE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-outrigger-reason"),
];

/// The chain of a rule that leads to `backends`; `None` where nobody wrote one.
pub(super) fn resolve(
    rule: &raw::Rule,
    direction: Direction,
    backends: &[Backend],
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<Vec<Applied<Fallback>>> {
    let written = rule.fallback.as_ref()?;
    let mut last: Option<Span> = None;
    let mut chain = Vec::new();
    for step in written.value.iter() {
        if let Some(last) = last {
            let help = format!("see {}", faults.locate(last));
            faults.at_with(step.span, "never reached: the fallback before it always stands in", help);
            break;
        }
        let on = conditions(&step.value, faults);
        let stand_in = one(step, rule, direction, faults).and_then(|what| match what {
            What::Stale(span) => Some(stale(span, rule, scope, faults)),
            What::Backend(name) => backend(name, rule, backends, scope, faults),
            What::Canned(stand_in) => Some(stand_in),
        });
        let mode = or(step.value.mode, raw::Mode::Enforce);
        let always = matches!(stand_in, Some(StandIn::Static(_) | StandIn::Degrade(_)));
        if always && mode == raw::Mode::Enforce && on.contains(&FallbackCondition::Any) {
            last = Some(step.span);
        }
        chain.extend(applied(mode, stand_in.map(|with| Fallback { on, with })));
    }
    Some(chain)
}

fn conditions(written: &raw::Fallback, faults: &mut Faults<'_>) -> Vec<FallbackCondition> {
    let on = || items(written.on.as_ref());
    unique(on().map(|on| (on.value.word(), on.span)), "condition", faults);
    if let Some(any) = on().find(|on| on.value == FallbackCondition::Any)
        && on().len() > 1
    {
        faults.at_with(any.span, "`any` beside other conditions", "it is all of them");
    }
    on().map(|on| on.value).collect()
}

/// What a step names, before its references are bound.
enum What<'a> {
    Stale(Span),
    Backend(&'a Spanned<raw::FallbackRef>),
    Canned(StandIn),
}

fn one<'a>(
    Spanned { value: written, span }: &'a Spanned<raw::Fallback>,
    rule: &raw::Rule,
    direction: Direction,
    faults: &mut Faults<'_>,
) -> Option<What<'a>> {
    let keys = [
        ("cache", written.cache.map(|w| w.span)),
        ("backendRef", written.backend_ref.as_ref().map(|w| w.span)),
        ("static", written.stub.as_ref().map(|w| w.span)),
        ("degrade", written.degrade.as_ref().map(|w| w.span)),
    ];
    let mut keys = keys.into_iter().filter_map(|(key, span)| Some((key, span?)));
    let Some((first, first_span)) = keys.next() else {
        if written.whole {
            faults.at(*span, "missing `cache`, `backendRef`, `static` or `degrade`");
        }
        return None;
    };
    for (key, span) in keys {
        let help = "each is a step of its own; the first that can stand in does";
        faults.at_with(span, format!("`{key}` and `{first}` exclude each other"), help);
    }
    if direction == Direction::Inbound && matches!(first, "cache" | "backendRef") && rule.whole {
        let help = "it leads to the application; `static` and `degrade` can stand in for it";
        faults.at_with(first_span, format!("`{first}` in an inbound rule"), help);
        return None;
    }
    let stale = written.cache.map(|Spanned { value: CacheUse::Stale, span }| What::Stale(span));
    let stub = written.stub.as_ref().and_then(|stub| canned(stub, faults));
    let degrade = written.degrade.as_ref().and_then(|degrade| {
        if degrade.value.headers.is_none() && degrade.value.whole {
            let help = "a field by which the caller can tell: `headers: {x-degraded: market-data}`";
            faults.at_with(degrade.span, "`degrade` without `headers`", help);
        }
        canned(degrade, faults)
    });
    stale
        .or(written.backend_ref.as_ref().map(What::Backend))
        .or(stub.map(|stub| What::Canned(StandIn::Static(stub))))
        .or(degrade.map(|degrade| What::Canned(StandIn::Degrade(degrade))))
}

/// Without a cache nothing could be stale.
fn stale(span: Span, rule: &raw::Rule, scope: &Scope<'_>, faults: &mut Faults<'_>) -> StandIn {
    let named = items(rule.backend_refs.as_ref()).filter_map(|backend| backend.value.name.as_ref());
    // One that is broken for another reason may have one.
    let caches = |name: &Spanned<Name>| {
        scope.upstreams.resolved.iter().find(|u| u.name == name.value).is_none_or(|u| u.cache.is_some())
    };
    if named.clone().count() > 0 && !named.into_iter().any(caches) {
        let help = "write `cache: {}` or `cache: {staleIfError: 30m}` in the `Upstream`";
        faults.at_with(span, "`cache: stale`, but the rule's upstreams have no `cache`", help);
    }
    StandIn::Stale
}

fn backend(
    Spanned { value: written, span }: &Spanned<raw::FallbackRef>,
    rule: &raw::Rule,
    backends: &[Backend],
    scope: &Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<StandIn> {
    let backend = route::backend(written.name.as_ref()?, 1, Layer::rule(rule), scope, faults)?;
    // Of several that get requests another may be the one that failed.
    let mut chosen = backends.iter().filter(|backend| backend.weight > 0);
    if let (Some(only), None) = (chosen.next(), chosen.next())
        && only.upstream == backend.upstream
    {
        let help = "it has just failed; `retry` tries another endpoint of it";
        faults.at_with(*span, "the fallback is the rule's own upstream", help);
    }
    Some(StandIn::Backend(Box::new(backend)))
}

fn canned(
    Spanned { value: written, span }: &Spanned<raw::Canned>,
    faults: &mut Faults<'_>,
) -> Option<Canned> {
    let none = raw::Headers::default();
    let headers = &written.headers.as_ref().map_or(&none, |headers| &headers.value).0;
    unique(headers.iter().map(|(name, _, span)| (name.as_str(), *span)), "field", faults);
    for (name, _, span) in headers.iter().filter(|(name, ..)| NOT_WRITTEN.contains(name)) {
        faults.at_with(*span, format!("`{name}` cannot be written"), "the proxy says it itself");
    }
    if let (Some(_), Some(file)) = (&written.body, &written.body_file) {
        faults.at(file.span, "`bodyFile` and `body` exclude each other");
    }
    if let Some(file) = written.body_file.as_ref().filter(|file| !file.value.0.starts_with('/')) {
        faults.at_with(file.span, "`bodyFile` is not an absolute path", "it starts with `/`");
    }
    let status = StatusCode::from_u16(or(written.status, StatusCode::OK.as_u16())).ok()?;
    // RFC 9110 §15.3.5, §15.3.6, §15.4.5.
    if matches!(status.as_u16(), 204 | 205 | 304) && (written.body.is_some() || written.body_file.is_some()) {
        faults.at(*span, format!("a response with status {} has no content", status.as_u16()));
    }
    let body = match (&written.body_file, &written.body) {
        (Some(file), _) => CannedBody::File(PathBuf::from(&file.value.0)),
        (None, Some(body)) => CannedBody::Inline(body.value.0.clone()),
        (None, None) => CannedBody::Inline(String::new()),
    };
    let headers = headers.iter().map(|(name, value, _)| (name.clone(), value.clone())).collect();
    Some(Canned { status, headers, body })
}
