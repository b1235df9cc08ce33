//! When are requests refused at once? What `circuitBreaker` means.

use super::layers::Block;
use super::policy;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Applied, CircuitBreaker, CircuitBreakers, Setting};
use crate::raw;

/// Breakers: where a document writes a threshold. `Defaults` may say how they close and leave it to each upstream when
/// they open.
pub(super) fn resolve(
    written: &raw::Upstream,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Setting<Option<Applied<CircuitBreakers>>> {
    let block = Block::new(
        defaults.and_then(|d| d.circuit_breaker.as_ref()),
        written.circuit_breaker.as_ref(),
        |b| b.mode,
    );
    let layers = block.layers();
    let (rate, streak) = (layers.written(|b| b.failure_rate), layers.written(|b| b.consecutive));
    let backoff = layers.written(|b| policy::backoff(b.backoff.as_ref()));
    if let Some(backoff) = backoff {
        policy::check_backoff(backoff, faults);
    }
    if let Some(rate) = rate.filter(|rate| rate.value.share() <= 0.0) {
        faults.at_with(rate.span, "`failureRate` would open without a failure", "the least is above `0%`");
    }
    if let Some(own) = block.own.filter(|own| own.value.whole && !block.is_off()) {
        let of_the_rate = [
            ("window", own.value.window.map(|w| w.span)),
            ("minRequests", own.value.min_requests.map(|w| w.span)),
        ];
        if rate.is_none() && streak.is_none() {
            let help =
                "it opens at a `failureRate` such as `50%`, after `consecutive` failures, or at either";
            faults.at_with(own.span, "missing `failureRate` or `consecutive`", help);
        } else if rate.is_none() {
            for (key, span) in of_the_rate.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                faults.at_with(span, format!("`{key}` without `failureRate`"), "it says what the rate is of");
            }
        }
    }
    let breakers = CircuitBreakers {
        scope: layers.last(|b| b.scope, defaults::BREAKER_SCOPE),
        thresholds: CircuitBreaker {
            window: layers.last(|b| b.window, defaults::BREAKER_WINDOW),
            failure_rate: rate.map(|rate| rate.value.into()),
            min_requests: layers.last(|b| b.min_requests, defaults::BREAKER_MIN_REQUESTS),
            consecutive: streak.map(|streak| streak.value.into()),
            slow_call_duration: layers.written(|b| b.slow_call_duration).map(|slow| slow.value.into()),
            trial_requests: layers.last(|b| b.trial_requests, defaults::BREAKER_TRIALS),
            backoff: backoff.map_or(defaults::BREAKER_BACKOFF, |backoff| backoff.value),
        },
    };
    block.setting((rate.is_some() || streak.is_some()).then_some(breakers), faults)
}
