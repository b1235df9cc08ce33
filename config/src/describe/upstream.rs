//! What holds for an upstream? Each block in the words of the schema.

use serde_json::{Value, json};

use super::resilience::applied;
use super::{describe_policy, fallback, resilience, size, tls};
use crate::model::priority::Shares;
use crate::model::{
    AdaptiveLimit, Applied, Balancing, Discovery, Http2Limits, Locality, Network, RetryBudget, Upstream,
    UpstreamLimits,
};
use crate::raw::{BalancerPolicy, Words};
use crate::scalars::{NonZeroDuration, Percent, Rate, Size};

/// An upstream, as in [`describe`](super::describe).
pub fn describe_upstream(upstream: &Upstream) -> Value {
    json!({
        "name": upstream.name.as_str(),
        "hosts": upstream.hosts,
        "addresses": upstream.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "discovery": match &upstream.discovery {
            Discovery::Static(addresses) => {
                json!({ "static": addresses.iter().map(ToString::to_string).collect::<Vec<_>>() })
            }
            Discovery::Dns { name, port, stale_for } => {
                json!({ "dns": name, "port": port, "staleFor": NonZeroDuration::format(*stale_for) })
            }
            Discovery::Original => json!("original"),
        },
        "protocol": upstream.protocol.word(),
        "tls": tls::upstream(&upstream.tls),
        "loadBalancer": load_balancer(upstream),
        "healthCheck": resilience::health_check(&upstream.health_check),
        "outlierDetection": resilience::outlier_detection(&upstream.outlier_detection),
        "circuitBreaker": resilience::circuit_breaker(&upstream.circuit_breaker),
        "pacing": resilience::pacing(&upstream.pacing),
        "cache": fallback::cache(&upstream.cache),
        "retryBudget": retry_budget(&upstream.retry_budget),
        "limits": upstream_limits(&upstream.limits),
        "policy": describe_policy(&upstream.policy),
        "location": upstream.location.to_string(),
    })
}

fn load_balancer(upstream: &Upstream) -> Value {
    let Balancing { hash_on, slow_start, panic_threshold, localities } = &upstream.balancing;
    let policy = match hash_on {
        Some(_) => BalancerPolicy::Ring,
        None => BalancerPolicy::Cost(upstream.load_balancer),
    };
    let place = |(network, locality): (&Network, &Locality)| json!({ "locality": locality.as_str(), "addresses": [network.to_string()] });
    json!({
        "policy": policy.word(),
        "hashOn": hash_on.as_ref().map(ToString::to_string),
        "slowStart": NonZeroDuration::format(*slow_start),
        "panicThreshold": Percent::from_share(*panic_threshold).to_string(),
        "localities": localities.iter().map(place).collect::<Vec<_>>(),
    })
}

fn retry_budget(budget: &RetryBudget) -> Value {
    json!({
        "percent": Percent::from_share(budget.percent).to_string(),
        "interval": NonZeroDuration::format(budget.interval),
        "minRate": Rate::from_per_second(budget.min_rate).to_string(),
    })
}

fn upstream_limits(limits: &UpstreamLimits) -> Value {
    json!({
        "maxConnections": limits.max_connections,
        "maxRequests": limits.max_requests,
        "adaptive": adaptive(limits.adaptive.as_ref()),
        "shares": shares(&limits.shares),
        "maxPending": limits.max_pending,
        "queueTimeout": NonZeroDuration::format(limits.queue_timeout),
        "responseHead": size(limits.response_head),
        "responseFields": limits.response_fields,
        "maxIdle": limits.max_idle,
        "idleTimeout": NonZeroDuration::format(limits.idle_timeout),
        "maxConnectionAge": NonZeroDuration::format(limits.max_connection_age),
        "http2": http2_limits(&limits.http2),
    })
}

pub(super) fn adaptive(limit: Option<&Applied<AdaptiveLimit>>) -> Value {
    applied(limit, |limit| json!({ "min": limit.min, "max": limit.max }))
}

pub(super) fn shares(shares: &Shares) -> Value {
    let [default, sheddable] = [shares.default, shares.sheddable].map(|s| Percent::from_share(s).to_string());
    json!({ "default": default, "sheddable": sheddable })
}

pub(super) fn http2_limits(limits: &Http2Limits) -> Value {
    let window = |bytes: u32| Size::from_bytes(bytes.into()).to_string();
    json!({
        "maxStreams": limits.max_streams,
        "streamWindow": window(limits.stream_window),
        "connectionWindow": window(limits.connection_window),
        "resets": limits.resets,
        "controlFrames": Rate::from_per_second(limits.control_frames).to_string(),
        "emptyData": limits.empty_data,
    })
}
