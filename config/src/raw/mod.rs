//! What did the user write? The schema of the policy files, key by key, with the place of every value.

mod authorization;
mod balancer;
mod capture;
mod declare;
mod fallback;
mod fault;
mod key;
mod limits;
mod paths;
mod policy;
mod rate_limit;
mod read;
mod resilience;
mod route;
mod sidecar;
mod similar;
mod tcp;
mod tls;
mod tree;
mod types;
mod unsupported;
mod upgrade;
mod upstream;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::json;

pub(crate) use authorization::{AccessRule, AuthorizationPolicy};
pub(crate) use balancer::{Balancer, BalancerPolicy};
pub(crate) use capture::InboundCapture;
pub(crate) use declare::Words;
pub(crate) use fallback::{CacheUse, Canned, Fallback, FallbackRef, Headers};
pub(crate) use fault::{FaultCaps, Injection};
pub(crate) use key::KeyPart;
pub(crate) use limits::{Adaptive, Http2, Limits, Shares, UpstreamLimits};
pub(crate) use paths::Paths;
pub(crate) use policy::{Backoff, Retry, RetryBudget, Timeouts};
pub(crate) use rate_limit::{Concurrency, Each, PerKey, RateLimitPolicy, ShareOf, Total};
use read::Read;
pub(crate) use read::{Spanned, or};
pub(crate) use resilience::{HealthCheck, Mode};
pub(crate) use route::{
    BackendRef, HeaderMatch, HttpRoute, Match, PathKind, PathMatch, QueryMatch, Rule, TextKind,
};
pub(crate) use sidecar::{
    AccessLog, Admin, Inbound, InboundProtocol, LogFormat, Outbound, OutboundProtocol, Sidecar, Workers,
};
pub(crate) use similar::to as similar_to;
pub(crate) use tcp::{Detection, OutboundTcp, TcpMatch, TcpRetry, TcpRoute, TcpRule, TcpTimeouts};
pub(crate) use tls::{PortTls, Tls, TlsMode};
use tree::{Entry, Node, ScalarKind, Value};
pub(crate) use types::{List, Text, items};
pub(crate) use upgrade::Upgrades;
pub(crate) use upstream::{Defaults, Discovery, Upstream};

use crate::Source;
use crate::faults::{Faults, Span};

/// The one version of the schema.
const API_VERSION: &str = "outrigger/v1";

/// All documents of a generation, by kind, each in the order of files and lines.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) sidecars: Vec<Spanned<Sidecar>>,
    pub(crate) defaults: Vec<Spanned<Defaults>>,
    pub(crate) upstreams: Vec<Spanned<Upstream>>,
    pub(crate) routes: Vec<Spanned<HttpRoute>>,
    pub(crate) tcp_routes: Vec<Spanned<TcpRoute>>,
    pub(crate) rate_limits: Vec<Spanned<RateLimitPolicy>>,
    pub(crate) authorization: Vec<Spanned<AuthorizationPolicy>>,
}

/// Reads all documents of all files.
pub(crate) fn read(sources: &[Source], faults: &mut Faults<'_>) -> Documents {
    let mut documents = Documents::default();
    for (index, source) in sources.iter().enumerate() {
        for node in tree::documents(index, source, faults) {
            if documents.take(node, faults).is_none() {
                faults.incomplete = true;
            }
        }
    }
    documents
}

/// The JSON Schema of one document.
pub(crate) fn schema() -> serde_json::Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let documents = [
        document::<Sidecar>("Sidecar", &mut generator),
        document::<Defaults>("Defaults", &mut generator),
        document::<Upstream>("Upstream", &mut generator),
        document::<HttpRoute>("HTTPRoute", &mut generator),
        document::<TcpRoute>("TCPRoute", &mut generator),
        document::<RateLimitPolicy>("RateLimitPolicy", &mut generator),
        document::<AuthorizationPolicy>("AuthorizationPolicy", &mut generator),
    ];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outrigger policy document",
        "oneOf": documents,
        "$defs": generator.take_definitions(true),
    })
}

impl Documents {
    /// Reads a document into the list of its kind; `None` if it cannot be told what it is.
    fn take(&mut self, mut node: Node, faults: &mut Faults<'_>) -> Option<()> {
        let span = node.span;
        let Value::Map(entries) = &mut node.value else {
            faults.at(
                span,
                format!(
                    "expected a document with `apiVersion`, `kind` and `name`, found {}",
                    node.describe()
                ),
            );
            return None;
        };
        let version = header(entries, "apiVersion", span, faults);
        let kind = header(entries, "kind", span, faults);
        if let Some(version) = version {
            api_version(&version, faults);
        }
        let kind = kind?;
        let Value::Scalar { text: name, kind: ScalarKind::Text } = &kind.value else {
            faults.at(kind.span, format!("expected a kind, found {}", kind.describe()));
            return None;
        };
        match name.as_str() {
            "Sidecar" => push(&mut self.sidecars, &node, faults),
            "Defaults" => push(&mut self.defaults, &node, faults),
            "Upstream" => push(&mut self.upstreams, &node, faults),
            "HTTPRoute" => push(&mut self.routes, &node, faults),
            "TCPRoute" => push(&mut self.tcp_routes, &node, faults),
            "RateLimitPolicy" => push(&mut self.rate_limits, &node, faults),
            "AuthorizationPolicy" => push(&mut self.authorization, &node, faults),
            _ if unsupported::KINDS.contains(&name.as_str()) => {
                faults.at(kind.span, unsupported::message(name));
            }
            _ => {
                let known = [
                    "Sidecar",
                    "Defaults",
                    "Upstream",
                    "HTTPRoute",
                    "TCPRoute",
                    "RateLimitPolicy",
                    "AuthorizationPolicy",
                ];
                let help = similar_to(name, known.into_iter())
                    .unwrap_or_else(|| format!("expected {}", similar::one_of(known.into_iter())));
                faults.at_with(kind.span, format!("unknown kind `{name}`"), help);
                return None;
            }
        }
        Some(())
    }
}

/// Takes a key that every document has out of its mapping, even a misspelt one.
fn header(entries: &mut Vec<Entry>, key: &str, document: Span, faults: &mut Faults<'_>) -> Option<Node> {
    if let Some(at) = entries.iter().position(|entry| entry.key == key) {
        return Some(entries.remove(at).node);
    }
    let near = |entry: &Entry| similar_to(&entry.key, [key, "name", "hosts"].into_iter());
    let wanted = Some(format!("did you mean `{key}`?"));
    let Some(at) = entries.iter().position(|entry| near(entry) == wanted) else {
        faults.at(document, format!("missing `{key}`"));
        return None;
    };
    let entry = entries.remove(at);
    faults.report(entry.key_span, &format!("unknown field `{}`", entry.key), wanted.as_deref());
    Some(entry.node)
}

fn api_version(node: &Node, faults: &mut Faults<'_>) {
    match &node.value {
        Value::Scalar { text, .. } if text == API_VERSION => {}
        _ => faults.at_with(
            node.span,
            format!("unknown version {}", node.describe()),
            format!("write `{API_VERSION}`"),
        ),
    }
}

fn push<T: Read>(list: &mut Vec<Spanned<T>>, node: &Node, faults: &mut Faults<'_>) {
    list.extend(T::read(node, faults).map(|value| Spanned { value, span: node.span }));
}

/// The schema of a kind with the keys that every document has.
fn document<T: JsonSchema>(kind: &str, generator: &mut SchemaGenerator) -> serde_json::Value {
    let mut schema = T::json_schema(generator).to_value();
    schema["title"] = json!(kind);
    schema["properties"]["apiVersion"] = json!({ "const": API_VERSION });
    schema["properties"]["kind"] = json!({ "const": kind });
    if let Some(required) = schema["required"].as_array_mut() {
        required.extend([json!("apiVersion"), json!("kind")]);
    }
    schema
}
