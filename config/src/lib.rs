//! What does a policy file say? The schema of Outrigger: YAML in, a checked model out. Pure data, no IO.
//!
//! A *generation* is every file of a directory together. It holds documents of four kinds:
//!
//! ```yaml
//! apiVersion: outrigger/v1
//! kind: Sidecar                    # exactly one
//! name: holdings
//! workers: auto
//! inbound: [{port: 8080, listen: 0.0.0.0:8080, forwardTo: 127.0.0.1:8081, protocol: http}]     # http1, http2
//! outbound: {listen: 127.0.0.1:15001, capture: explicit, unknown: reject}
//! admin: {listen: 127.0.0.1:15000, metrics: 0.0.0.0:15020}
//! shutdown: {drain: 30s}
//! accessLog: {format: json, successSample: 1%, slowerThan: 500ms, maxBytesPerSecond: 1MiB}
//! limits: {requestHead: 64KiB, requestFields: 100, requestTarget: 16KiB, headTimeout: 10s, idleTimeout: 60s,
//!          bodyIdleTimeout: 5m, maxConnections: 10000, backlog: 1024, trailers: 8KiB, trailerFields: 64,
//!          maxConnectionAge: 10m,
//!          http2: {maxStreams: 100, streamWindow: 64KiB, connectionWindow: 1MiB, headerList: 32KiB,
//!                  resets: 200, controlFrames: 100/s, emptyData: 100}}
//! ---
//! apiVersion: outrigger/v1
//! kind: Upstream                   # whom the service calls; reachable by its name without any route
//! name: market-data
//! hosts: [market-data.internal]
//! discovery: {dns: market-data.internal, port: 8000, staleFor: 10m}     # or {static: [10.0.0.5:8000]}
//! protocol: auto                   # what the caller speaks; http1, http2
//! loadBalancer: {policy: peak-ewma}                                     # round-robin, least-request
//! healthCheck: {http: /ping, readiness: /ready, interval: 2s, timeout: 1s, unhealthyAfter: 3, healthyAfter: 2}
//!                                  # or {tcp: true}, {grpc: prices.v1.Prices}
//! outlierDetection: {consecutiveFailures: 7, baseEjectionTime: 1s, maxEjectionTime: 1m, maxEjectionPercent: 50%}
//! circuitBreaker: {scope: upstream, window: 10s, failureRate: 50%, minRequests: 20, consecutive: 10,
//!                  slowCallDuration: 2s, trialRequests: 1, backoff: {base: 1s, max: 1m}}     # endpoint, both
//! retryBudget: {percent: 20%, interval: 10s, minRate: 10/s}
//! limits: {maxConnections: 256, maxRequests: 1024, adaptive: {min: 3, max: 1024},
//!          shares: {default: 80%, sheddable: 50%}, maxPending: 1024, queueTimeout: 1s, responseHead: 64KiB, responseFields: 200, maxIdle: 128, idleTimeout: 60s,
//!          maxConnectionAge: 10m, http2: {maxStreams: 100}}             # as in the Sidecar, without headerList
//! timeouts: {request: 10s}         # as in a rule
//! retry: {attempts: 2}             # as in a rule
//! upgrades: [websocket]            # as in a rule
//! ---
//! apiVersion: outrigger/v1
//! kind: HTTPRoute
//! name: prices
//! direction: outbound              # inbound: no backendRefs, it leads to the application
//! hosts: [market-data]
//! rules:
//!   - name: get-prices
//!     matches: [{path: {type: PathPrefix, value: /prices}, method: GET,
//!                headers: [{name: x-tier, value: gold}], query: [{name: page, type: RegularExpression, value: "[0-9]+"}]}]
//!     backendRefs: [{name: market-data, weight: 95}]
//!     timeouts: {request: 2s, backendRequest: 1s, responseHeaders: 400ms, idle: 5m, connect: 250ms}
//!     retry: {on: [connect-failure, reset, gateway-error, 500-504, unavailable], attempts: 2,
//!             backoff: {base: 25ms, max: 250ms}, methods: [GET, HEAD], replayBody: 64KiB}
//!     upgrades: [websocket, connect]
//! ---
//! apiVersion: outrigger/v1
//! kind: Defaults                   # at most one; built-in < Defaults < Upstream < rule, value by value
//! name: house
//! timeouts: {connect: 500ms}
//! ```
//!
//! [`parse`] reports everything that is wrong at once, each with its place. A key that this version does not act on is
//! an error, never ignored. The way of a value: text → `raw` (what the user wrote, with places) → `resolve` (what it
//! means) → [`model`] (what the proxy may rely on).

pub mod defaults;
mod describe;
mod error;
mod faults;
pub mod model;
mod raw;
mod resolve;
pub mod scalars;

pub use describe::{describe, describe_match, describe_policy, describe_upstream};
pub use error::{Diagnostic, Errors};

use model::Config;

/// A policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As messages name it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Reads a generation: all files, all documents, or every reason why not.
///
/// # Examples
///
/// ```
/// let text = "apiVersion: outrigger/v1\nkind: Sidecar\nname: holdings\noutbund: {}\n".to_owned();
/// let errors = outrigger_config::parse(&[outrigger_config::Source { name: "a.yaml".to_owned(), text }]).unwrap_err();
/// assert!(errors.to_string().contains("unknown field `outbund`"));
/// assert!(errors.to_string().contains("did you mean `outbound`?"));
/// ```
pub fn parse(files: &[Source]) -> Result<Config, Errors> {
    let mut faults = faults::Faults::new(files);
    let documents = raw::read(files, &mut faults);
    let config = resolve::resolve(&documents, &mut faults);
    faults.into_result(config)
}

/// The JSON Schema of one policy document, for editors. [`parse`] is stricter: it also knows what belongs together.
pub fn schema() -> serde_json::Value {
    raw::schema()
}
