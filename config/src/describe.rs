//! What holds now? The effective configuration as JSON: every default filled in, every policy value with its origin.

mod authorization;
mod capture;
mod fallback;
mod fault;
mod rate_limit;
mod resilience;
mod tcp;
mod tls;
mod upstream;

use regex::Regex;
use serde_json::{Value, json};

pub use rate_limit::describe_rate_limit;
pub use upstream::describe_upstream;
use upstream::http2_limits;

use crate::model::{
    AccessLog, Backend, Config, HttpRoute, Inbound, PathMatch, Retry, RouteMatch, Rule, Setting, Sidecar,
    SidecarLimits, TextMatch, Timeouts, TrafficPolicy, Workers,
};
use crate::raw::{InboundProtocol, Words};
use crate::scalars::{NonZeroDuration, Percent, Size};

/// The effective configuration, in the words of the schema; equal configurations give equal values.
///
/// A policy value is `{"value": "2s", "origin": "rule, routes.yaml:14:7"}`. `request` also says what it `covers`: the
/// `exchange`, or, while nobody wrote one, only the wait for the response `head`.
pub fn describe(config: &Config) -> Value {
    json!({
        "sidecar": sidecar(&config.sidecar, config),
        "upstreams": config.upstreams.iter().map(describe_upstream).collect::<Vec<_>>(),
        "routes": config.routes.iter().map(|route| self::route(route, config)).collect::<Vec<_>>(),
        "tcpRoutes": config.tcp_routes.iter().map(|route| tcp::route(route, config)).collect::<Vec<_>>(),
        "rateLimits": config.rate_limits.iter().map(describe_rate_limit).collect::<Vec<_>>(),
        "authorization": config.authorization.iter().map(authorization::policy).collect::<Vec<_>>(),
    })
}

fn sidecar(sidecar: &Sidecar, config: &Config) -> Value {
    json!({
        "name": sidecar.name.as_str(),
        "locality": sidecar.locality.as_ref().map(ToString::to_string),
        "identity": sidecar.identity.as_ref().map(|files| json!({ "certDir": files.cert_dir })),
        "workers": match sidecar.workers {
            Workers::Auto => json!("auto"),
            Workers::Fixed(number) => json!(number),
        },
        "inbound": sidecar.inbound.iter().map(inbound).collect::<Vec<_>>(),
        "inboundCapture": sidecar.inbound_capture.as_ref().map(capture::inbound),
        "outbound": sidecar.outbound.as_ref().map(|outbound| capture::outbound(outbound, config)),
        "detection": tcp::detection(&sidecar.detection),
        "admin": {
            "listen": sidecar.admin.listen.to_string(),
            "metrics": sidecar.admin.metrics.to_string(),
        },
        "shutdown": { "drain": NonZeroDuration::format(sidecar.shutdown.drain) },
        "accessLog": access_log(&sidecar.access_log),
        "limits": sidecar_limits(&sidecar.limits),
        "faults": fault::caps(&sidecar.faults),
    })
}

fn inbound(inbound: &Inbound) -> Value {
    json!({
        "port": inbound.port,
        "capture": inbound.capture.word(),
        "listen": inbound.listen.to_string(),
        "forwardTo": inbound.forward_to.to_string(),
        "protocol": InboundProtocol(inbound.protocol, inbound.accepts).word(),
        "paths": authorization::paths(inbound.paths),
        "tls": tls::asked(&inbound.tls).word(),
        "plaintextPaths": tls::plaintext_paths(&inbound.tls),
        "healthCheck": resilience::health_check(&inbound.health_check),
        "policy": describe_policy(&inbound.policy),
    })
}

fn access_log(log: &AccessLog) -> Value {
    json!({
        "format": if log.enabled { "json" } else { "off" },
        "successSample": Percent::from_share(log.success_sample).to_string(),
        "slowerThan": NonZeroDuration::format(log.slower_than),
        "maxBytesPerSecond": Size::from_bytes(log.max_bytes_per_second).to_string(),
    })
}

fn sidecar_limits(limits: &SidecarLimits) -> Value {
    let mut http2 = http2_limits(&limits.http2);
    http2["headerList"] = json!(Size::from_bytes(limits.header_list.into()).to_string());
    json!({
        "requestHead": size(limits.request_head),
        "requestFields": limits.request_fields,
        "requestTarget": size(limits.request_target),
        "headTimeout": NonZeroDuration::format(limits.head_timeout),
        "idleTimeout": NonZeroDuration::format(limits.idle_timeout),
        "bodyIdleTimeout": NonZeroDuration::format(limits.body_idle_timeout),
        "maxConnections": limits.max_connections,
        "handshakeTimeout": NonZeroDuration::format(limits.handshake_timeout),
        "maxHandshakes": limits.max_handshakes,
        "backlog": limits.backlog,
        "trailers": size(limits.trailers),
        "trailerFields": limits.trailer_fields,
        "maxConnectionAge": NonZeroDuration::format(limits.max_connection_age),
        "http2": http2,
    })
}

fn route(route: &HttpRoute, config: &Config) -> Value {
    json!({
        "name": route.name.as_str(),
        "direction": route.direction.word(),
        "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rules": route.rules.iter().map(|rule| self::rule(rule, config)).collect::<Vec<_>>(),
        "location": route.location.to_string(),
    })
}

/// An outbound rule's policy is shown where it holds: at each of its backends.
fn rule(rule: &Rule, config: &Config) -> Value {
    let mut described = describe_treatment(rule, config);
    described["name"] = json!(rule.name.as_str());
    described["matches"] = rule.matches.iter().map(describe_match).collect();
    described["location"] = json!(rule.location.to_string());
    if rule.backends.is_empty() {
        described["policy"] = describe_policy(&rule.policy);
    } else {
        described["backendRefs"] =
            rule.backends.iter().map(|backend| self::backend(backend, config)).collect();
    }
    described
}

/// What holds for the requests of a rule, whichever backend they go to.
pub fn describe_treatment(rule: &Rule, config: &Config) -> Value {
    json!({
        "priority": rule.priority.map(Words::word),
        "fallback": rule.fallback.as_ref().map(|chain| fallback::chain(chain, config)),
        "fault": rule.fault.as_ref().map(fault::experiment),
    })
}

fn backend(backend: &Backend, config: &Config) -> Value {
    json!({
        "name": config.upstream(backend.upstream).name.as_str(),
        "weight": backend.weight,
        "policy": describe_policy(&backend.policy),
    })
}

/// A match of a rule, in the words of the schema.
pub fn describe_match(found: &RouteMatch) -> Value {
    json!({
        "path": path(&found.path),
        "method": found.method.as_ref().map(http::Method::as_str),
        "headers": found.headers.iter().map(|h| text(h.name.as_str(), &h.value)).collect::<Vec<_>>(),
        "query": found.query.iter().map(|q| text(&q.name, &q.value)).collect::<Vec<_>>(),
    })
}

fn path(path: &PathMatch) -> Value {
    let (kind, value) = match path {
        PathMatch::Exact(path) => ("Exact", path.as_str()),
        PathMatch::Prefix(path) if path.is_empty() => ("PathPrefix", "/"),
        PathMatch::Prefix(path) => ("PathPrefix", path.as_str()),
        PathMatch::Regex(regex) => ("RegularExpression", written(regex)),
    };
    json!({ "type": kind, "value": value })
}

/// Fields whose values are what somebody proves to be somebody with: whoever may look at the configuration need not learn
/// them (SE-6).
const CREDENTIALS: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-api-key"];

/// A field or parameter with the value that it must have.
fn text(name: &str, value: &TextMatch) -> Value {
    match value {
        _ if CREDENTIALS.contains(&name) => json!({ "name": name, "value": "(not shown)" }),
        TextMatch::Exact(text) => json!({ "name": name, "type": "Exact", "value": text }),
        TextMatch::Regex(regex) => {
            json!({ "name": name, "type": "RegularExpression", "value": written(regex) })
        }
    }
}

/// The expression without the anchors that the resolver put around it.
fn written(regex: &Regex) -> &str {
    let text = regex.as_str();
    text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text)
}

/// A policy, each value with its origin; as in [`describe`].
pub fn describe_policy(policy: &TrafficPolicy) -> Value {
    json!({
        "timeouts": timeouts(&policy.timeouts),
        "retry": retry(&policy.retry),
        "upgrades": setting(&policy.upgrades, policy.upgrades.iter().map(ToString::to_string).collect()),
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    let limit =
        |setting: &Setting<Option<_>>| self::setting(setting, json!(setting.map(NonZeroDuration::format)));
    let mut request = setting(&timeouts.request, json!(NonZeroDuration::format(timeouts.request.limit())));
    request["covers"] = match *timeouts.request {
        crate::model::RequestTimeout::UntilHead(_) => json!("head"),
        crate::model::RequestTimeout::Whole(_) => json!("exchange"),
    };
    json!({
        "request": request,
        "backendRequest": limit(&timeouts.backend_request),
        "responseHeaders": limit(&timeouts.response_headers),
        "idle": setting(&timeouts.idle, json!(NonZeroDuration::format(*timeouts.idle))),
        "connect": setting(&timeouts.connect, json!(NonZeroDuration::format(*timeouts.connect))),
    })
}

fn retry(retry: &Retry) -> Value {
    let backoff = *retry.backoff;
    let [base, max] = [backoff.base, backoff.max].map(NonZeroDuration::format);
    json!({
        "on": setting(&retry.on, retry.on.iter().map(ToString::to_string).collect()),
        "attempts": setting(&retry.attempts, json!(*retry.attempts)),
        "backoff": setting(&retry.backoff, json!({ "base": base, "max": max })),
        "methods": setting(&retry.methods, retry.methods.iter().map(http::Method::as_str).collect()),
        "replayBody": setting(&retry.replay_body, json!(size(*retry.replay_body))),
    })
}

fn setting<T>(setting: &Setting<T>, value: Value) -> Value {
    Value::from_iter([("value", value), ("origin", json!(setting.origin.to_string()))])
}

fn size(bytes: usize) -> String {
    Size::from_bytes(bytes as u64).to_string()
}
