//! Who may do what? Authorization in the words of the schema.

use serde_json::{Value, json};

use super::resilience::mode;
use super::{path, text};
use crate::model::{AccessRule, AuthorizationPolicy, Paths};
use crate::raw::Words;

pub(super) fn policy(policy: &AuthorizationPolicy) -> Value {
    let rules = |rules: &[AccessRule]| rules.iter().map(rule).collect::<Vec<_>>();
    json!({
        "name": policy.name.as_str(),
        "mode": mode(policy.mode),
        "direction": policy.direction.word(),
        "deny": rules(&policy.deny),
        "allow": policy.allow.as_deref().map(rules),
        "location": policy.location.to_string(),
    })
}

pub(super) fn paths(paths: Paths) -> Value {
    json!({
        "escapedSlashes": paths.escaped_slashes.word(),
        "emptySegments": paths.empty_segments.word(),
        "parameters": paths.parameters.word(),
    })
}

fn rule(rule: &AccessRule) -> Value {
    json!({
        "name": rule.name.as_str(),
        "identities": rule.identities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "methods": rule.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "paths": rule.paths.iter().map(path).collect::<Vec<_>>(),
        "headers": rule.headers.iter().map(|h| text(h.name.as_str(), &h.value)).collect::<Vec<_>>(),
        "sources": rule.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
