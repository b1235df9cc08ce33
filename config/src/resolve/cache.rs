//! Which responses are kept? What `cache` means.

use http::Method;

use super::layers::Block;
use super::unique;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Applied, Cache, CacheRules, Setting};
use crate::raw::{self, items};
use crate::scalars::Size;

/// The cache of an upstream: where its block is written.
pub(super) fn resolve(
    written: &raw::Upstream,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Setting<Option<Applied<Cache>>> {
    let block = Block::new(defaults.and_then(|d| d.cache.as_ref()), written.cache.as_ref(), |b| b.mode);
    let layers = block.layers();
    let methods = layers.written(|b| b.methods.as_ref());
    unique(items(methods).map(|method| (&method.value, method.span)), "method", faults);
    for method in items(methods).filter(|m| !matches!(m.value, Method::GET | Method::HEAD)) {
        let help = "what else a request does cannot be kept: `GET`, `HEAD`";
        faults.at_with(method.span, format!("responses to `{}` are not cached", method.value), help);
    }
    let cache = Cache {
        rules: CacheRules {
            methods: methods.map_or(defaults::CACHE_METHODS.into(), |m| m.value.values().cloned().collect()),
            ttl: layers.written(|b| b.ttl).map(|ttl| ttl.value.into()),
            stale_if_error: layers.last(|b| b.stale_if_error, defaults::CACHE_STALE_IF_ERROR),
        },
        max_entries: layers.last(|b| b.max_entries, defaults::CACHE_ENTRIES),
        max_bytes: layers.last(|b| b.max_bytes, defaults::CACHE_BYTES),
        max_body: layers.last(|b| b.max_body, defaults::CACHE_BODY),
    };
    if let Some(span) = layers.written(|b| b.max_body.map(|w| w.span).or(b.max_bytes.map(|w| w.span)))
        && cache.max_body > cache.max_bytes
    {
        let sizes = [cache.max_body, cache.max_bytes].map(|bytes| Size::from_bytes(bytes as u64));
        let [body, bytes] = sizes;
        faults.at(span, format!("`maxBody` ({body}) is larger than `maxBytes` ({bytes})"));
    }
    block.setting(block.is_written().then_some(cache), faults)
}
