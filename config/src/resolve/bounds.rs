//! What may a connection or an upstream cost, and how many retries does it earn? The last word wins, value by value.

use super::concurrency::Most;
use super::layers::Layers;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Http2Limits, RetryBudget, UpstreamLimits};
use crate::raw;
use crate::scalars::Size;

impl Layers<'_, raw::RetryBudget> {
    pub(super) fn retry_budget(&self) -> RetryBudget {
        RetryBudget {
            percent: self.last(|b| b.percent, defaults::BUDGET_PERCENT),
            interval: self.last(|b| b.interval, defaults::BUDGET_INTERVAL),
            min_rate: self.last(|b| b.min_rate, defaults::BUDGET_MIN_RATE),
        }
    }
}

impl<'a> Layers<'a, raw::UpstreamLimits> {
    pub(super) fn limits(&self, faults: &mut Faults<'_>) -> UpstreamLimits {
        let http2 = |layer: Option<&'a raw::UpstreamLimits>| Some(&layer?.http2.as_ref()?.value.0);
        let adaptive = |layer: Option<&'a raw::UpstreamLimits>| layer?.adaptive.as_ref();
        let shares = |layer: Option<&'a raw::UpstreamLimits>| Some(&layer?.shares.as_ref()?.value);
        let max_requests = self.last(|b| b.max_requests, defaults::MAX_REQUESTS);
        let most = Most { requests: max_requests, key: "maxRequests" };
        UpstreamLimits {
            max_connections: self.written(|b| b.max_connections).map(|most| most.value.into()),
            max_requests: Some(max_requests),
            adaptive: Layers { defaults: adaptive(self.defaults), own: adaptive(self.own) }
                .adaptive(&most, faults),
            shares: Layers { defaults: shares(self.defaults), own: shares(self.own) }.shares(faults),
            max_pending: self.last(|b| b.max_pending, defaults::MAX_PENDING),
            queue_timeout: self.last(|b| b.queue_timeout, defaults::QUEUE_TIMEOUT),
            response_head: self.last(|b| b.response_head, defaults::RESPONSE_HEAD),
            response_fields: self.last(|b| b.response_fields, defaults::RESPONSE_FIELDS),
            max_idle: self.last(|b| b.max_idle, defaults::MAX_IDLE),
            idle_timeout: self.last(|b| b.idle_timeout, defaults::POOL_IDLE),
            max_connection_age: self.last(|b| b.max_connection_age, defaults::MAX_CONNECTION_AGE),
            http2: Layers { defaults: http2(self.defaults), own: http2(self.own) }.http2(faults),
        }
    }
}

impl Layers<'_, raw::Http2> {
    pub(super) fn http2(&self, faults: &mut Faults<'_>) -> Http2Limits {
        let limits = Http2Limits {
            max_streams: self.last(|b| b.max_streams, defaults::HTTP2_STREAMS),
            stream_window: self.last(|b| b.stream_window, defaults::HTTP2_STREAM_WINDOW),
            connection_window: self.last(|b| b.connection_window, defaults::HTTP2_CONNECTION_WINDOW),
            resets: self.last(|b| b.resets, defaults::HTTP2_RESETS),
            control_frames: self.last(|b| b.control_frames, defaults::HTTP2_CONTROL_FRAMES),
            empty_data: self.last(|b| b.empty_data, defaults::HTTP2_EMPTY_DATA),
        };
        self.check_windows(&limits, faults);
        limits
    }

    /// Blames what was written last.
    fn check_windows(&self, limits: &Http2Limits, faults: &mut Faults<'_>) {
        let written = |layer: &raw::Http2| {
            let connection = layer.connection_window.map(|window| window.span);
            connection.or(layer.stream_window.map(|window| window.span))
        };
        let last = self.own.and_then(written).or_else(|| self.defaults.and_then(written));
        if let Some(span) = last.filter(|_| limits.connection_window < limits.stream_window) {
            let [connection, stream] = [limits.connection_window, limits.stream_window]
                .map(|window| Size::from_bytes(window.into()));
            let message =
                format!("`connectionWindow` ({connection}) is smaller than `streamWindow` ({stream})");
            faults.at_with(span, message, "no stream could use all of its window");
        }
    }
}
