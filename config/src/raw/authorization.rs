//! What may an `AuthorizationPolicy` document say?

use http::Method;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::declare::mapping;
use super::read::{Read, Spanned, text};
use super::resilience::Mode;
use super::route::{HeaderMatch, PathMatch};
use super::tree::{Node, Value};
use super::types::{List, Text};
use crate::faults::Faults;
use crate::model::{Direction, IdentityMatch, Name, Network};

mapping! {
    /// Who may do what. Of several policies each must let a request pass. A connection that nobody reads (`protocol: tcp`)
    /// has no method, path or header: a `deny` rule that names one holds by the rest of it, and an `allow` rule never does.
    AuthorizationPolicy {
        /// Unique over all policies of this kind.
        "name" => name: Name, required;
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Inbound unless written.
        "direction" => direction: Direction;
        /// Requests that are denied, any of these; looked at first.
        "deny" => deny: List<AccessRule>;
        /// Requests that are allowed, any of these: all others are denied. An empty list denies everything; without the
        /// list, what is not denied is allowed.
        "allow" => allow: List<AccessRule, 0>;
    }
}

mapping! {
    /// Which requests: all that is named must fit.
    AccessRule {
        /// Unique in its policy, for the reason of a denial; `deny-0`, `allow-0` for the first ones unless written.
        "name" => name: Name;
        /// Who proved to be any of these: `spiffe://simplebank/ui`, `dns:ui.internal`, or a whole trust domain,
        /// `spiffe://simplebank/*`. Anybody unless written.
        "identities" => identities: List<IdentityMatch>;
        /// Any of these methods.
        "methods" => methods: List<Method>;
        /// Any of these paths: `/holdings` takes what is below it too; or as in a rule, `{type: Exact, value: /holdings}`.
        "paths" => paths: List<PathPattern>;
        /// All of these header fields.
        "headers" => headers: List<HeaderMatch>;
        /// Connections from any of these networks.
        "sources" => sources: List<Network>;
    }
}

/// A path as in a rule of a route, or the text of a prefix alone.
#[derive(Debug)]
pub(crate) struct PathPattern(pub(crate) PathMatch);

impl Read for PathPattern {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            return PathMatch::read(node, faults).map(Self);
        }
        let prefix = text(node, "a path such as `/holdings`", faults)?;
        if prefix.contains('*') {
            let help =
                "`/holdings` takes what is below it too; `{type: Exact, value: …}` takes a `*` for itself";
            faults.at_with(node.span, format!("`{prefix}` has a wildcard"), help);
            return None;
        }
        let value = Some(Spanned { value: Text(prefix.to_owned()), span: node.span });
        Some(Self(PathMatch { kind: None, value, whole: true }))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "pattern": "^/[^*]*$" }, PathMatch::schema(generator)] })
    }
}
