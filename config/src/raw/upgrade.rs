//! What may a connection be turned into? `connect`, or a protocol that `Upgrade` can name.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::read::{Read, text};
use super::tree::Node;
use super::types::List;
use crate::faults::Faults;
use crate::model::Upgrade;

/// Each once; none at all is a statement too.
pub(crate) type Upgrades = List<Upgrade, 0>;

impl Read for Upgrade {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let written = text(node, "a protocol such as `websocket`, or `connect`", faults)?;
        let name = written.to_ascii_lowercase();
        match name.as_str() {
            "connect" => Some(Self::Connect),
            "h2c" => {
                let help = "no request asks for HTTP/2: it is known by its first bytes (RFC 9113 §3.1, §3.3)";
                faults.at_with(node.span, "the upgrade to `h2c` is obsolete", help);
                None
            }
            protocol if !protocol.is_empty() && protocol.bytes().all(is_token) => Some(Self::Protocol(name)),
            _ => {
                let help = "a token of RFC 9110 §5.6.2 such as `websocket`, without a version";
                faults.at_with(node.span, format!("`{written}` is not a protocol's name"), help);
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            "not": { "pattern": "^[hH]2[cC]$" },
        })
    }
}

impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Protocol(name) => name,
        })
    }
}

/// RFC 9110 §5.6.2, `tchar`.
fn is_token(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}
