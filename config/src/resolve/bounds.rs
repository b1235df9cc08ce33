//! What may an upstream cost, and how many retries does it earn? Built-in < `Defaults` < `Upstream`, value by value.

use crate::defaults;
use crate::model::{RetryBudget, UpstreamLimits};
use crate::raw::{self, Spanned, or};

/// The same block in `Defaults` and in an upstream.
pub(super) struct Layers<'a, B> {
    pub(super) defaults: Option<&'a Spanned<B>>,
    pub(super) upstream: Option<&'a Spanned<B>>,
}

impl Layers<'_, raw::RetryBudget> {
    pub(super) fn retry_budget(&self) -> RetryBudget {
        RetryBudget {
            percent: self.last(|b| b.percent, defaults::BUDGET_PERCENT),
            interval: self.last(|b| b.interval, defaults::BUDGET_INTERVAL),
            min_rate: self.last(|b| b.min_rate, defaults::BUDGET_MIN_RATE),
        }
    }
}

impl Layers<'_, raw::UpstreamLimits> {
    pub(super) fn limits(&self) -> UpstreamLimits {
        UpstreamLimits {
            max_pending: self.last(|b| b.max_pending, defaults::MAX_PENDING),
            response_head: self.last(|b| b.response_head, defaults::RESPONSE_HEAD),
            response_fields: self.last(|b| b.response_fields, defaults::RESPONSE_FIELDS),
            max_idle: self.last(|b| b.max_idle, defaults::MAX_IDLE),
            idle_timeout: self.last(|b| b.idle_timeout, defaults::POOL_IDLE),
            max_connection_age: defaults::MAX_CONNECTION_AGE,
            http2: defaults::HTTP2_LIMITS,
        }
    }
}

impl<B> Layers<'_, B> {
    /// Who has the last word.
    fn last<W: Into<T>, T>(&self, written: impl Fn(&B) -> Option<Spanned<W>>, built_in: T) -> T {
        let [upstream, defaults] = [self.upstream, self.defaults].map(|layer| written(&layer?.value));
        or(upstream.or(defaults), built_in)
    }
}
