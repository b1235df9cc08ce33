//! What may an `Upstream` and the `Defaults` document say?

use super::balancer::Balancer;
use super::declare::{mapping, words};
use super::fallback::Cache;
use super::limits::UpstreamLimits;
use super::policy::{Retry, RetryBudget, Timeouts};
use super::resilience::{CircuitBreaker, HealthCheck, OutlierDetection, Pacing};
use super::tls::Tls;
use super::types::{List, Whole};
use super::upgrade::Upgrades;
use crate::model::{Name, Protocol};
use crate::scalars::{Destination, Host, NonZeroDuration};

mapping! {
    /// What holds where an upstream or a rule says nothing. At most one of these.
    Defaults {
        /// For people.
        "name" => name: Name, required;
        /// Of every exchange, inbound and outbound.
        "timeouts" => timeouts: Timeouts;
        /// Of outbound exchanges; inbound ones are retried by their callers.
        "retry" => retry: Retry;
        /// What a connection may be turned into; `connect` outbound only.
        "upgrades" => upgrades: Upgrades;
        /// Of every upstream that says, here or there, what is asked.
        "healthCheck" => health_check: HealthCheck;
        /// Of every upstream.
        "outlierDetection" => outlier_detection: OutlierDetection;
        /// Of every upstream; without a threshold, of those that write one.
        "circuitBreaker" => circuit_breaker: CircuitBreaker;
        /// Of every upstream.
        "pacing" => pacing: Pacing;
        /// Of every upstream.
        "cache" => cache: Cache;
        /// Of every upstream.
        "retryBudget" => retry_budget: RetryBudget;
        /// Of every upstream.
        "loadBalancer" => load_balancer: Balancer;
        /// Of every upstream.
        "limits" => limits: UpstreamLimits;
        /// Of every upstream.
        "tls" => tls: Tls;
    }
}

mapping! {
    /// A named group of endpoints that the service may call.
    Upstream {
        /// Unique; also an authority by which the service may call it.
        "name" => name: Name, required;
        /// Further authorities, without port.
        "hosts" => hosts: List<Host>;
        /// Where its endpoints come from.
        "discovery" => discovery: Discovery, required;
        /// What its endpoints speak; `auto`: what the caller speaks, or HTTP/1 where that is all an endpoint knows; `tcp`: no
        /// HTTP at all.
        "protocol" => protocol: Protocol;
        /// How they are spoken with; in plaintext unless written.
        "tls" => tls: Tls;
        /// Where the service's captured calls to it go as well as to its endpoints: a virtual address, say.
        "addresses" => addresses: List<Destination>;
        /// How an endpoint is chosen.
        "loadBalancer" => load_balancer: Balancer;
        /// How its endpoints are checked; not at all unless written.
        "healthCheck" => health_check: HealthCheck;
        /// When an endpoint is left alone because it fails real requests.
        "outlierDetection" => outlier_detection: OutlierDetection;
        /// When requests are refused at once; never unless written.
        "circuitBreaker" => circuit_breaker: CircuitBreaker;
        /// Whether requests keep to the rate limit that it tells; not unless written.
        "pacing" => pacing: Pacing;
        /// Which of its responses are kept; none unless written.
        "cache" => cache: Cache;
        /// How many retries its traffic earns.
        "retryBudget" => retry_budget: RetryBudget;
        /// Bounds on what it may cost.
        "limits" => limits: UpstreamLimits;
        /// Of its traffic, where a rule says nothing.
        "timeouts" => timeouts: Timeouts;
        /// Of its traffic, where a rule says nothing.
        "retry" => retry: Retry;
        /// What a connection to it may be turned into, where a rule says nothing.
        "upgrades" => upgrades: Upgrades;
    }
}

mapping! {
    /// Where endpoints come from: either `static`, or `dns` with `port`.
    Discovery {
        /// Addresses, written down.
        "static" => addresses: List<Destination>;
        /// A name whose A and AAAA records are the endpoints.
        "dns" => dns: Host;
        /// Of every endpoint.
        "port" => port: Whole<1, 65_535>;
        /// How long the last good answer serves while the resolver fails.
        "staleFor" => stale_for: NonZeroDuration;
    }
}

words!(Protocol { "http1" => Self::Http1, "http2" => Self::Http2, "auto" => Self::Auto, "tcp" => Self::Tcp, });
