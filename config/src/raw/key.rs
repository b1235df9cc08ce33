//! What may callers or requests be told apart by? `source`, `identity`, a header field.

use std::fmt;

use http::HeaderName;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::read::{Read, text};
use super::tree::Node;
use crate::faults::Faults;
use crate::model::{HashOn, KeyBy};

/// One of the things that tell callers apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeyPart {
    Identity,
    Source,
    Header(HeaderName),
}

impl Read for KeyPart {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let what = "`source`, `identity` or a field such as `header:x-api-key`";
        match text(node, what, faults)? {
            "identity" => Some(Self::Identity),
            _ => HashOn::among(node, what, faults).map(|key| match key {
                HashOn::Source => Self::Source,
                HashOn::Header(name) => Self::Header(name),
            }),
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(source|identity|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$" })
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Source => f.write_str("source"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl HashOn {
    fn among(node: &Node, what: &str, faults: &mut Faults<'_>) -> Option<Self> {
        let written = text(node, what, faults)?;
        if written == "source" {
            return Some(Self::Source);
        }
        let name = written.strip_prefix("header:").and_then(|name| HeaderName::try_from(name).ok());
        if name.is_none() {
            faults.at_with(node.span, format!("`{written}` tells nobody apart"), format!("expected {what}"));
        }
        name.map(Self::Header)
    }
}

impl Read for HashOn {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        Self::among(node, "`source` or a field such as `header:x-user-id`", faults)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(source|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+)$" })
    }
}

impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => KeyPart::Source.fmt(f),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

impl KeyBy {
    /// Each part as it is written.
    pub(crate) fn parts(&self) -> impl Iterator<Item = KeyPart> {
        let identity = self.identity.then_some(KeyPart::Identity);
        let source = self.source.then_some(KeyPart::Source);
        identity.into_iter().chain(source).chain(self.header.clone().map(KeyPart::Header))
    }
}
