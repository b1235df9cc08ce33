//! What may a document say of the cache, and a rule of what stands in for a failure?

use http::{HeaderName, HeaderValue, Method};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::declare::{mapping, words};
use super::read::{Read, text};
use super::resilience::Mode;
use super::tree::{Node, Value};
use super::types::{Bytes, List, Text, Whole};
use crate::faults::{Faults, Span};
use crate::model::{FallbackCondition, Name};
use crate::scalars::NonZeroDuration;

mapping! {
    /// Which responses are kept, by the rules of a shared cache (RFC 9111).
    Cache {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Which requests are looked at: `GET`, `HEAD` or both, which is what holds unless written.
        "methods" => methods: List<Method>;
        /// How long a response that does not say is fresh; not at all unless written.
        "ttl" => ttl: NonZeroDuration;
        /// How long after that it may stand in for an error, if it does not say.
        "staleIfError" => stale_if_error: NonZeroDuration;
        /// Responses.
        "maxEntries" => max_entries: Whole<1, 1_000_000>;
        /// Bytes of all of them.
        "maxBytes" => max_bytes: Bytes<{ 64 << 10 }, { 4 << 30 }>;
        /// Bytes of one of them.
        "maxBody" => max_body: Bytes<1024, { 64 << 20 }>;
    }
}

mapping! {
    /// What stands in for some failures: one of `cache`, `backendRef`, `static` and `degrade`.
    Fallback {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Failures for which it stands in.
        "on" => on: List<FallbackCondition>, required;
        /// What the upstream's `cache` still has.
        "cache" => cache: CacheUse;
        /// Another upstream.
        "backendRef" => backend_ref: FallbackRef;
        /// A response that is written here.
        "static" => stub: Canned;
        /// The same, with a header field by which the caller can tell that something is missing.
        "degrade" => degrade: Canned;
    }
}

mapping! {
    /// Another upstream.
    FallbackRef {
        /// The `Upstream` document's name.
        "name" => name: Name, required;
    }
}

mapping! {
    /// A response that is written down.
    Canned {
        /// 200 unless written.
        "status" => status: Whole<200, 599>;
        /// Field names and values.
        "headers" => headers: Headers;
        /// Its content.
        "body" => body: Text;
        /// A file whose content is its content, by its absolute path.
        "bodyFile" => body_file: Text;
    }
}

/// How a cache stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    Stale,
}

words!(CacheUse { "stale" => Self::Stale, });

words!(FallbackCondition {
    "any" => Self::Any,
    "5xx" => Self::ServerError,
    "connect-failure" => Self::ConnectFailure,
    "reset" => Self::Reset,
    "timeout" => Self::Timeout,
    "breaker-open" => Self::BreakerOpen,
    "no-endpoint" => Self::NoEndpoint,
    "limit" => Self::Limit,
});

/// Header fields of a response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(pub(crate) Vec<(HeaderName, HeaderValue, Span)>);

impl Read for Headers {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message = format!("expected a mapping of field names to values, found {}", node.describe());
            faults.at(node.span, message);
            return None;
        };
        let mut fields = Vec::new();
        for entry in entries {
            let name = HeaderName::try_from(entry.key.as_str()).ok();
            if name.is_none() {
                faults.at(entry.key_span, format!("`{}` is not a field name", entry.key));
            }
            let value = text(&entry.node, "a field value", faults);
            let value = value.and_then(|value| {
                let value = HeaderValue::try_from(value).ok();
                if value.is_none() {
                    faults.at(entry.node.span, "a field value has no control characters");
                }
                value
            });
            fields.extend(name.zip(value).map(|(name, value)| (name, value, entry.key_span)));
        }
        Some(Self(fields))
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": json!({ "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" }),
            "additionalProperties": json!({ "type": "string" }),
        })
    }
}
