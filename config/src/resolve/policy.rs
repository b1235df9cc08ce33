//! Who has the last word on a timeout or a retry? Built-in < `Defaults` < `Upstream` < rule, value by value.

use std::time::Duration;

use super::unique;
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{
    Backoff, Direction, Location, Origin, RequestTimeout, Retry, RetryBudget, Setting, Timeouts,
    TrafficPolicy, UpstreamLimits,
};
use crate::raw::{self, Spanned};
use crate::scalars::NonZeroDuration;

/// What one document says.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    timeouts: Option<&'a raw::Timeouts>,
    retry: Option<&'a raw::Retry>,
    origin: fn(Location) -> Origin,
}

impl<'a> Layer<'a> {
    /// `Defaults`, as far as they hold for a direction: inbound exchanges are retried by their callers.
    pub(super) fn defaults(defaults: Option<&'a raw::Defaults>, direction: Direction) -> Self {
        let retry = defaults.filter(|_| direction == Direction::Outbound).and_then(|d| d.retry.as_ref());
        Self::new(defaults.and_then(|d| d.timeouts.as_ref()), retry, Origin::Defaults)
    }

    /// An upstream's policy.
    pub(super) fn upstream(upstream: &'a raw::Upstream) -> Self {
        Self::new(upstream.timeouts.as_ref(), upstream.retry.as_ref(), Origin::Upstream)
    }

    /// A rule's policy.
    pub(super) fn rule(rule: &'a raw::Rule) -> Self {
        Self::new(rule.timeouts.as_ref(), rule.retry.as_ref(), Origin::Rule)
    }

    fn new(
        timeouts: Option<&'a Spanned<raw::Timeouts>>,
        retry: Option<&'a Spanned<raw::Retry>>,
        origin: fn(Location) -> Origin,
    ) -> Self {
        Self { timeouts: timeouts.map(|t| &t.value), retry: retry.map(|r| &r.value), origin }
    }
}

/// The effective policy of layers, weakest first.
pub(super) fn resolve(direction: Direction, layers: &[Layer<'_>], faults: &mut Faults<'_>) -> TrafficPolicy {
    let stack = Stack { layers, faults };
    let policy = TrafficPolicy { timeouts: stack.timeouts(direction), retry: stack.retry(direction) };
    check_clocks(&policy.timeouts, layers, faults);
    for retry in layers.iter().filter_map(|layer| layer.retry) {
        check_retry(retry, faults);
    }
    policy
}

/// The retry budget of `Defaults` and an upstream.
pub(super) fn budget(layers: [Option<&Spanned<raw::RetryBudget>>; 2]) -> RetryBudget {
    let [defaults, upstream] = layers.map(|layer| layer.map(|l| &l.value));
    RetryBudget {
        percent: last(defaults, upstream, |b| b.percent.as_ref())
            .map_or(defaults::BUDGET_PERCENT, |p| p.share()),
        interval: last(defaults, upstream, |b| b.interval.as_ref())
            .map_or(defaults::BUDGET_INTERVAL, |i| i.get()),
        min_rate: last(defaults, upstream, |b| b.min_rate.as_ref())
            .map_or(defaults::BUDGET_MIN_RATE, |r| r.per_second()),
    }
}

/// The limits of `Defaults` and an upstream.
pub(super) fn limits(layers: [Option<&Spanned<raw::UpstreamLimits>>; 2]) -> UpstreamLimits {
    let [defaults, upstream] = layers.map(|layer| layer.map(|l| &l.value));
    UpstreamLimits {
        max_pending: last(defaults, upstream, |l| l.max_pending.as_ref())
            .map_or(defaults::MAX_PENDING, |n| n.get()),
        response_head: last(defaults, upstream, |l| l.response_head.as_ref())
            .map_or(defaults::RESPONSE_HEAD, |n| n.get()),
        response_fields: last(defaults, upstream, |l| l.response_fields.as_ref())
            .map_or(defaults::RESPONSE_FIELDS, |n| n.get()),
        max_idle: last(defaults, upstream, |l| l.max_idle.as_ref()).map_or(defaults::MAX_IDLE, |n| n.get()),
        idle_timeout: last(defaults, upstream, |l| l.idle_timeout.as_ref())
            .map_or(defaults::POOL_IDLE, |d| d.get()),
    }
}

struct Stack<'a, 'f> {
    layers: &'a [Layer<'a>],
    faults: &'a Faults<'f>,
}

impl Stack<'_, '_> {
    /// The strongest layer's value and who said so.
    fn setting<W, T>(
        &self,
        written: impl Fn(&Layer<'_>) -> Option<Spanned<W>>,
        value: impl Fn(W) -> T,
        built_in: T,
    ) -> Setting<T> {
        let strongest = self.layers.iter().rev().find_map(|layer| Some((written(layer)?, layer.origin)));
        match strongest {
            Some((written, origin)) => {
                Setting { value: value(written.value), origin: origin(self.faults.locate(written.span)) }
            }
            None => Setting { value: built_in, origin: Origin::BuiltIn },
        }
    }

    fn timeouts(&self, direction: Direction) -> Timeouts {
        let connect = match direction {
            Direction::Inbound => defaults::CONNECT_INBOUND,
            Direction::Outbound => defaults::CONNECT,
        };
        let some = |limit: NonZeroDuration| Some(limit.get());
        Timeouts {
            request: self.setting(
                |l| l.timeouts?.request.clone(),
                |limit| RequestTimeout::Whole(limit.get()),
                RequestTimeout::UntilHead(defaults::REQUEST),
            ),
            backend_request: self.setting(|l| l.timeouts?.backend_request.clone(), some, None),
            response_headers: self.setting(|l| l.timeouts?.response_headers.clone(), some, None),
            idle: self.setting(|l| l.timeouts?.idle.clone(), NonZeroDuration::get, defaults::IDLE),
            connect: self.setting(|l| l.timeouts?.connect.clone(), NonZeroDuration::get, connect),
        }
    }

    fn retry(&self, direction: Direction) -> Retry {
        let attempts = match direction {
            Direction::Inbound => defaults::RETRY_ATTEMPTS_INBOUND,
            Direction::Outbound => defaults::RETRY_ATTEMPTS,
        };
        Retry {
            on: self.setting(
                |l| l.retry?.on.clone(),
                |on| on.values().copied().collect(),
                defaults::RETRY_ON.into(),
            ),
            attempts: self.setting(|l| l.retry?.attempts.clone(), raw::Whole::get, attempts),
            backoff: self.setting(
                |l| complete(l.retry?.backoff.as_ref()?),
                |backoff| backoff,
                defaults::BACKOFF,
            ),
            methods: self.setting(
                |l| l.retry?.methods.clone(),
                |methods| methods.values().cloned().collect(),
                defaults::RETRY_METHODS.into(),
            ),
            replay_body: self.setting(
                |l| l.retry?.replay_body.clone(),
                raw::Bytes::get,
                defaults::REPLAY_BODY,
            ),
        }
    }
}

fn last<'a, L, T: Copy + 'a>(
    defaults: Option<&'a L>,
    upstream: Option<&'a L>,
    written: impl Fn(&'a L) -> Option<&'a Spanned<T>>,
) -> Option<T> {
    upstream.and_then(&written).or_else(|| defaults.and_then(&written)).map(|written| written.value)
}

fn complete(backoff: &Spanned<raw::Backoff>) -> Option<Spanned<Backoff>> {
    let (base, max) = (backoff.value.base.as_ref()?.value.get(), backoff.value.max.as_ref()?.value.get());
    Some(Spanned { value: Backoff { base, max }, span: backoff.span })
}

fn check_retry(retry: &raw::Retry, faults: &mut Faults<'_>) {
    unique(raw::items(&retry.on).map(|on| (on.value, on.span)), "condition", faults);
    unique(raw::items(&retry.methods).map(|method| (&method.value, method.span)), "method", faults);
    if let Some(Spanned { value, span }) = retry.backoff.as_ref().and_then(complete)
        && value.base > value.max
    {
        let [base, max] = [value.base, value.max].map(NonZeroDuration::format);
        faults.at(span, format!("`base` ({base}) is longer than `max` ({max})"));
    }
}

/// A clock that can never run out before the one around it says nothing, so it is a mistake. The Gateway API
/// demands it of `backendRequest`.
fn check_clocks(timeouts: &Timeouts, layers: &[Layer<'_>], faults: &mut Faults<'_>) {
    let span_of = |written: fn(&raw::Timeouts) -> Option<Span>| {
        layers.iter().rev().find_map(|layer| layer.timeouts.and_then(written))
    };
    let request = timeouts.request.limit();
    let whole = matches!(*timeouts.request, RequestTimeout::Whole(_));
    let attempt = *timeouts.backend_request;
    let head = *timeouts.response_headers;
    let attempt_span = || span_of(|t| t.backend_request.as_ref().map(|w| w.span));
    let head_span = || span_of(|t| t.response_headers.as_ref().map(|w| w.span));
    let connect_span = || span_of(|t| t.connect.as_ref().map(|w| w.span));

    let mut longer = |inner: (&str, Duration), outer: (&str, &Setting<_>, Duration), span: Option<Span>| {
        if inner.1 > outer.2
            && let Some(span) = span
        {
            let [long, short] = [inner.1, outer.2].map(NonZeroDuration::format);
            let message = format!("`{}` ({long}) is longer than `{}` ({short})", inner.0, outer.0);
            faults.at_with(span, message, format!("`{}` is set by: {}", outer.0, outer.1.origin));
        }
    };
    let within_request = ("request", &timeouts.request, request);
    if let Some(attempt) = attempt.filter(|_| whole) {
        longer(("backendRequest", attempt), within_request, attempt_span());
    }
    if let Some(head) = head {
        longer(("responseHeaders", head), within_request, head_span());
    }
    longer(("connect", *timeouts.connect), within_request, connect_span());
}
