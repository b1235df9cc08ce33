//! What stands in for a failure? Caches and fallbacks in the words of the schema.

use serde_json::{Map, Value, json};

use super::resilience::{applied, block};
use super::size;
use crate::model::{Applied, Cache, Canned, CannedBody, Config, Fallback, Setting, StandIn};
use crate::raw::{CacheUse, Words};
use crate::scalars::NonZeroDuration;

pub(super) fn cache(cache: &Setting<Option<Applied<Cache>>>) -> Value {
    block(cache, |cache| {
        json!({
            "methods": cache.rules.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
            "ttl": cache.rules.ttl.map(NonZeroDuration::format),
            "staleIfError": NonZeroDuration::format(cache.rules.stale_if_error),
            "maxEntries": cache.max_entries,
            "maxBytes": size(cache.max_bytes),
            "maxBody": size(cache.max_body),
        })
    })
}

pub(super) fn chain(chain: &[Applied<Fallback>], config: &Config) -> Value {
    chain.iter().map(|step| applied(Some(step), |step| self::step(step, config))).collect()
}

fn step(step: &Fallback, config: &Config) -> Value {
    let (key, stand_in) = match &step.with {
        StandIn::Stale => ("cache", json!(CacheUse::Stale.word())),
        StandIn::Backend(backend) => ("backendRef", super::backend(backend, config)),
        StandIn::Static(stub) => ("static", canned(stub)),
        StandIn::Degrade(stub) => ("degrade", canned(stub)),
    };
    let mut described = json!({ "on": step.on.iter().map(|on| on.word()).collect::<Vec<_>>() });
    described[key] = stand_in;
    described
}

fn canned(canned: &Canned) -> Value {
    let field = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())))
    };
    let headers: Map<_, _> = canned.headers.iter().map(field).collect();
    let mut described = json!({ "status": canned.status.as_u16(), "headers": headers });
    match &canned.body {
        CannedBody::Inline(body) => described["body"] = json!(body),
        CannedBody::File(path) => described["bodyFile"] = json!(path),
    }
    described
}
