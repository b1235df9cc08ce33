//! Who has the last word on a timeout, retry or upgrade? Built-in < `Defaults` < `Upstream` < rule, value by value.

use std::time::Duration;

use http::Method;

use super::unique;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{
    Backoff, Direction, Location, Origin, RequestTimeout, Retry, Setting, Timeouts, TrafficPolicy, Upgrade,
};
use crate::raw::{self, Spanned, items};
use crate::scalars::NonZeroDuration;

/// What one document says.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    timeouts: Option<&'a raw::Timeouts>,
    retry: Option<&'a raw::Retry>,
    upgrades: Option<&'a Spanned<raw::Upgrades>>,
    origin: fn(Location) -> Origin,
}

impl<'a> Layer<'a> {
    /// `Defaults`, as far as they hold for a direction: inbound exchanges are retried by their callers, and open no
    /// tunnels.
    pub(super) fn defaults(defaults: Option<&'a raw::Defaults>, direction: Direction) -> Self {
        let retry = defaults.filter(|_| direction == Direction::Outbound).and_then(|d| d.retry.as_ref());
        let timeouts = defaults.and_then(|d| d.timeouts.as_ref());
        Self::new(timeouts, retry, defaults.and_then(|d| d.upgrades.as_ref()), Origin::Defaults)
    }

    /// An upstream's policy.
    pub(super) fn upstream(upstream: &'a raw::Upstream) -> Self {
        let raw::Upstream { timeouts, retry, upgrades, .. } = upstream;
        Self::new(timeouts.as_ref(), retry.as_ref(), upgrades.as_ref(), Origin::Upstream)
    }

    /// A rule's policy.
    pub(super) fn rule(rule: &'a raw::Rule) -> Self {
        let raw::Rule { timeouts, retry, upgrades, .. } = rule;
        Self::new(timeouts.as_ref(), retry.as_ref(), upgrades.as_ref(), Origin::Rule)
    }

    /// The policy of a rule for connections.
    pub(super) fn tcp_rule(
        timeouts: Option<&'a Spanned<raw::Timeouts>>,
        retry: Option<&'a Spanned<raw::Retry>>,
    ) -> Self {
        Self::new(timeouts, retry, None, Origin::Rule)
    }

    fn new(
        timeouts: Option<&'a Spanned<raw::Timeouts>>,
        retry: Option<&'a Spanned<raw::Retry>>,
        upgrades: Option<&'a Spanned<raw::Upgrades>>,
        origin: fn(Location) -> Origin,
    ) -> Self {
        Self { timeouts: timeouts.map(|t| &t.value), retry: retry.map(|r| &r.value), upgrades, origin }
    }
}

/// The effective policy of layers, weakest first.
pub(super) fn resolve(direction: Direction, layers: &[Layer<'_>], faults: &mut Faults<'_>) -> TrafficPolicy {
    let stack = Stack { layers, faults };
    let policy = TrafficPolicy {
        timeouts: stack.timeouts(direction),
        retry: stack.retry(direction),
        upgrades: stack.upgrades(direction),
    };
    check_clocks(&policy.timeouts.request, layers, faults);
    for retry in layers.iter().filter_map(|layer| layer.retry) {
        check_retry(retry, faults);
    }
    for layer in layers {
        unique(items(layer.upgrades).map(|upgrade| (&upgrade.value, upgrade.span)), "upgrade", faults);
    }
    policy
}

struct Stack<'a, 'f> {
    layers: &'a [Layer<'a>],
    faults: &'a Faults<'f>,
}

impl Stack<'_, '_> {
    fn timeouts(&self, direction: Direction) -> Timeouts {
        let connect = match direction {
            Direction::Inbound => defaults::CONNECT_INBOUND,
            Direction::Outbound => defaults::CONNECT,
        };
        let whole = |limit: NonZeroDuration| RequestTimeout::Whole(limit.into());
        let some = |limit: NonZeroDuration| Some(Duration::from(limit));
        let built_in = RequestTimeout::UntilHead(defaults::REQUEST);
        Timeouts {
            request: self.setting(|l| Some(l.timeouts?.request?.map(whole)), built_in),
            backend_request: self.setting(|l| Some(l.timeouts?.backend_request?.map(some)), None),
            response_headers: self.setting(|l| Some(l.timeouts?.response_headers?.map(some)), None),
            idle: self.setting(|l| l.timeouts?.idle, defaults::IDLE),
            connect: self.setting(|l| l.timeouts?.connect, connect),
        }
    }

    fn retry(&self, direction: Direction) -> Retry {
        let attempts = match direction {
            Direction::Inbound => defaults::RETRY_ATTEMPTS_INBOUND,
            Direction::Outbound => defaults::RETRY_ATTEMPTS,
        };
        Retry {
            on: self.setting(|l| l.retry?.on.clone(), defaults::RETRY_ON.into()),
            attempts: self.setting(|l| l.retry?.attempts, attempts),
            backoff: self.setting(|l| backoff(l.retry?.backoff.as_ref()), defaults::BACKOFF),
            methods: self.setting(|l| l.retry?.methods.clone(), defaults::RETRY_METHODS.into()),
            replay_body: self.setting(|l| l.retry?.replay_body, defaults::REPLAY_BODY),
        }
    }

    /// CONNECT from outside would be a way around every inbound route.
    fn upgrades(&self, direction: Direction) -> Setting<Vec<Upgrade>> {
        let mut upgrades = self.setting(|l| l.upgrades.cloned(), defaults::upgrades(direction));
        upgrades.value.retain(|upgrade| direction == Direction::Outbound || *upgrade != Upgrade::Connect);
        upgrades
    }

    /// The strongest layer's value and who said so.
    fn setting<W: Into<T>, T>(
        &self,
        written: impl Fn(&Layer<'_>) -> Option<Spanned<W>>,
        built_in: T,
    ) -> Setting<T> {
        let strongest = self.layers.iter().rev().find_map(|layer| Some((written(layer)?, layer.origin)));
        match strongest {
            Some((written, origin)) => {
                Setting { value: written.value.into(), origin: origin(self.faults.locate(written.span)) }
            }
            None => Setting { value: built_in, origin: Origin::BuiltIn },
        }
    }
}

/// A back-off that is written whole.
pub(super) fn backoff(written: Option<&Spanned<raw::Backoff>>) -> Option<Spanned<Backoff>> {
    let Spanned { value: written, span } = written?;
    let (base, max) = (written.base?.value.into(), written.max?.value.into());
    Some(Spanned { value: Backoff { base, max }, span: *span })
}

fn check_retry(retry: &raw::Retry, faults: &mut Faults<'_>) {
    unique(items(retry.on.as_ref()).map(|on| (on.value, on.span)), "condition", faults);
    unique(items(retry.methods.as_ref()).map(|method| (&method.value, method.span)), "method", faults);
    for tunnel in items(retry.methods.as_ref()).filter(|method| method.value == Method::CONNECT) {
        let help = "nobody knows what the tunnel carried";
        faults.at_with(tunnel.span, "`CONNECT` cannot be retried after something was sent", help);
    }
    if let Some(backoff) = backoff(retry.backoff.as_ref()) {
        check_backoff(backoff, faults);
    }
}

pub(super) fn check_backoff(written: Spanned<Backoff>, faults: &mut Faults<'_>) {
    let Spanned { value: Backoff { base, max }, span } = written;
    if base > max {
        let [base, max] = [base, max].map(NonZeroDuration::format);
        faults.at(span, format!("`base` ({base}) is longer than `max` ({max})"));
    }
}

/// A clock that can never run out before `request` does says nothing, so it is a mistake. The Gateway API demands it
/// of `backendRequest`. A stronger layer may shorten `request` below what a weaker one says: it only clips.
fn check_clocks(request: &Setting<RequestTimeout>, layers: &[Layer<'_>], faults: &mut Faults<'_>) {
    type Clock = fn(&raw::Timeouts) -> Option<Spanned<NonZeroDuration>>;
    let strongest = |clock: Clock| layers.iter().rposition(|layer| layer.timeouts.and_then(clock).is_some());
    let whole = matches!(request.value, RequestTimeout::Whole(_));
    let clocks: [(&str, Clock, bool); 3] = [
        ("backendRequest", |t| t.backend_request, whole),
        ("responseHeaders", |t| t.response_headers, true),
        ("connect", |t| t.connect, true),
    ];
    for (name, clock, within) in clocks {
        let Some(layer) = strongest(clock) else { continue };
        let Some(Spanned { value, span }) = layers[layer].timeouts.and_then(clock) else { continue };
        let limit = request.limit();
        if within && Duration::from(value) > limit && Some(layer) >= strongest(|t| t.request) {
            let limit = NonZeroDuration::format(limit);
            let message = format!("`{name}` ({value}) is longer than `request` ({limit})");
            faults.at_with(span, message, format!("`request` is set by: {}", request.origin));
        }
    }
}
