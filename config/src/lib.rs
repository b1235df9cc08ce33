//! What does a policy file say? The schema of Outrigger: YAML in, a checked model out. Pure data, no IO.
//!
//! A *generation* is every file of a directory together. It holds documents of seven kinds:
//!
//! ```yaml
//! apiVersion: outrigger/v1
//! kind: Sidecar                    # exactly one
//! name: holdings
//! locality: eu/a
//! workers: auto
//! identity: {certDir: /certs}      # tls.crt, tls.key, ca.crt and perhaps ca.crl, watched
//! inbound: [{port: 8080, listen: 0.0.0.0:8080, forwardTo: 127.0.0.1:8081, protocol: http,     # http1, http2
//!            tls: strict, plaintextPaths: [/ping]},                    # permissive, off
//!           {port: 6379, forwardTo: 127.0.0.1:6380, protocol: tcp},    # nobody reads it; or auto: as its first octets say
//!           {port: 9000, capture: redirect, forwardTo: original}]      # explicit; an address
//! inboundCapture: {port: 15006, unknown: reject, excludePorts: [9100, 20000-20999]}          # allow
//! outbound: {listen: 127.0.0.1:15001, protocol: http, tcp: [{listen: 127.0.0.1:5432, upstream: market-data}],
//!            capture: explicit, unknown: reject,       # redirect; then allow, and excludePorts: [53], excludeCidrs: [10.0.0.0/8]
//!            paths: {escapedSlashes: refuse, emptySegments: refuse, parameters: refuse}}      # keep; as in inbound
//! detection: {timeout: 1s, opaquePorts: [25, 587, 3306, 4444, 5432, 6379, 9300, 11211]}   # of `protocol: auto`
//! admin: {listen: 127.0.0.1:15000, metrics: 0.0.0.0:15020}             # or `unix:/run/outrigger.sock`; `exposed: true`
//! shutdown: {drain: 30s}
//! accessLog: {format: json, successSample: 1%, slowerThan: 500ms, maxBytesPerSecond: 1MiB}
//! limits: {requestHead: 64KiB, requestFields: 100, requestTarget: 16KiB, headTimeout: 10s, idleTimeout: 60s,
//!          bodyIdleTimeout: 5m, handshakeTimeout: 10s, maxHandshakes: 1000, maxConnections: 10000, backlog: 1024,
//!          trailers: 8KiB, trailerFields: 64, maxConnectionAge: 10m,
//!          http2: {maxStreams: 100, streamWindow: 64KiB, connectionWindow: 1MiB, headerList: 32KiB,
//!                  resets: 200, controlFrames: 100/s, emptyData: 100}}
//! faults: {mode: enforce, maxActive: 100, maxDuration: 1h}             # of all rules; off ends them all
//! ---
//! apiVersion: outrigger/v1
//! kind: Upstream                   # whom the service calls; reachable by its name without any route
//! name: market-data
//! hosts: [market-data.internal]    # and `addresses: [10.96.0.7:8000]` where its calls are redirected
//! discovery: {dns: market-data.internal, port: 8000, staleFor: 10m}     # or {static: [10.0.0.5:8000]}
//! protocol: auto                   # what the caller speaks; http1, http2, tcp
//! tls: {mode: mutual, sni: market-data.internal, peerIdentities: ["spiffe://simplebank/market-data"]}
//!                                  # or {mode: simple, caFile: /etc/ssl/private-ca.crt}, {mode: off}
//! loadBalancer: {policy: peak-ewma, slowStart: 30s, panicThreshold: 0%,  # round-robin, least-request, or
//!                localities: [{locality: eu/a, addresses: [10.0.0.0/24]}]} # ring-hash with hashOn: header:x-user-id
//! healthCheck: {http: /ping, readiness: /ready, interval: 2s, timeout: 1s, unhealthyAfter: 3, healthyAfter: 2}
//!                                  # or {tcp: true}, {grpc: prices.v1.Prices}
//! outlierDetection: {consecutiveFailures: 7, baseEjectionTime: 1s, maxEjectionTime: 1m, maxEjectionPercent: 50%}
//! circuitBreaker: {scope: upstream, window: 10s, failureRate: 50%, minRequests: 20, consecutive: 10,
//!                  slowCallDuration: 2s, trialRequests: 1, backoff: {base: 1s, max: 1m}}     # endpoint, both
//! pacing: {maxWait: 500ms}         # as fast as its RateLimit fields and Retry-After say
//! cache: {methods: [GET], ttl: 5m, staleIfError: 30m, maxEntries: 1000, maxBytes: 32MiB, maxBody: 1MiB}
//! retryBudget: {percent: 20%, interval: 10s, minRate: 10/s}
//! limits: {maxConnections: 256, maxRequests: 1024, adaptive: {min: 3, max: 1024},
//!          shares: {default: 80%, sheddable: 50%}, maxPending: 1024, queueTimeout: 1s,
//!          responseHead: 64KiB, responseFields: 200, maxIdle: 128, idleTimeout: 60s, maxConnectionAge: 10m,
//!          http2: {maxStreams: 100}}                                    # as in the Sidecar, without headerList
//! timeouts: {request: 10s}         # as in a rule
//! retry: {attempts: 2}             # as in a rule
//! upgrades: [websocket]            # as in a rule
//! ---
//! apiVersion: outrigger/v1
//! kind: Upstream
//! name: market-data-b
//! discovery: {static: [10.1.0.5:8000]}
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
//!     priority: critical           # default, sheddable
//!     fallback:
//!       - {on: [breaker-open, timeout, 5xx, no-endpoint], cache: stale}
//!       - {on: [connect-failure, reset, limit], backendRef: {name: market-data-b}}
//!       - {on: [any], static: {status: 200, headers: {x-degraded: market-data}, body: "{}"}}   # or degrade; bodyFile
//!     fault: {seed: 7, duration: 10m, maxActive: 20,                   # injected on purpose
//!             inject: [{percent: 10%, delay: 200ms}, {percent: 5%, abort: 503}, {percent: 1%, reset: true},
//!                      {percent: 1%, partialBody: 4KiB}, {percent: 1%, throttle: 10KiB}, {percent: 1%, sever: true},
//!                      {hideEndpoints: 1}]}
//! ---
//! apiVersion: outrigger/v1
//! kind: TCPRoute                   # of connections that nobody reads
//! name: databases
//! direction: outbound              # inbound: no backendRefs, it leads to the application
//! rules:
//!   - name: prices
//!     matches: [{ports: [5432], addresses: [10.0.0.0/8], snis: ["*.internal"]}]   # where it was meant to go; TLS passes
//!     backendRefs: [{name: market-data, weight: 1}]
//!     timeouts: {connect: 250ms, idle: 1h}
//!     retry: {attempts: 2, backoff: {base: 25ms, max: 250ms}}
//!     priority: critical
//! ---
//! apiVersion: outrigger/v1
//! kind: RateLimitPolicy
//! name: holdings-in
//! mode: enforce                    # dryRun, off; as in each block that has a `mode`
//! direction: inbound               # outbound
//! hosts: ["*"]
//! matches: [{path: {type: PathPrefix, value: /holdings}}]              # as in a rule
//! total: {rate: 1000/s, burst: 200, queueTimeout: 100ms, maxPending: 50}
//! perIdentity: {rate: 200/s, burst: 50, maxConcurrent: 50, maxKeys: 10000}
//! perKey: [{by: [source, "header:x-api-key"], rate: 10/s}]
//! concurrency: {max: 500, adaptive: {min: 3}, shares: {default: 80%}, maxPending: 100, queueTimeout: 1s,
//!               fairShare: {by: [source], order: greedy-first}}
//! priorities: [{match: {path: {type: PathPrefix, value: /holdings}}, class: critical}]
//! share: service                   # of `total`: all replicas together, counted in the store; replica
//! store: redis://redis.internal:6379/0
//! ---
//! apiVersion: outrigger/v1
//! kind: AuthorizationPolicy
//! name: holdings-callers
//! direction: inbound               # outbound, without identities
//! deny: [{name: closed, paths: [/admin], methods: [POST, DELETE], headers: [{name: x-debug, value: "1"}]}]
//! allow:                           # and nobody else; `allow: []` is nobody
//!   - {identities: ["spiffe://simplebank/ui", "spiffe://partners/*", "dns:reports.internal"], methods: [GET],
//!      paths: [/holdings, {type: Exact, value: /ping}], sources: [10.0.0.0/8]}
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

pub use describe::{
    describe, describe_match, describe_policy, describe_rate_limit, describe_treatment, describe_upstream,
};
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
