//! What may a policy say of connections that are redirected to the sidecar?

use schemars::{Schema, SchemaGenerator, json_schema};

use super::declare::{mapping, words};
use super::read::Read;
use super::tree::{Node, ScalarKind, Value};
use super::types::{List, Whole};
use crate::faults::Faults;
use crate::model::{Capture, PortRange, Unknown};

mapping! {
    /// Where inbound ports say `capture: redirect`: one listener takes the connections to all of them.
    InboundCapture {
        /// Where redirected connections arrive, on every address.
        "port" => port: Whole<1, 65_535>;
        /// What becomes of connections to a port that no `inbound` entry names.
        "unknown" => unknown: Unknown;
        /// Ports that are not redirected: `9100`, `20000-20999`. Those of the sidecar itself never are.
        "excludePorts" => exclude_ports: List<PortRange, 0>;
    }
}

words!(Capture { "explicit" => Self::Explicit, "redirect" => Self::Redirect, });
words!(Unknown { "reject" => Self::Reject, "allow" => Self::Allow, });

impl Read for PortRange {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let range = match &node.value {
            Value::Scalar { text, kind: ScalarKind::Number | ScalarKind::Text } => Self::parse(text),
            _ => None,
        };
        if range.is_none() {
            let message =
                format!("expected a port such as `9100`, or ports `20000-20999`, found {}", node.describe());
            faults.at_with(node.span, message, "ports are 1 to 65535, the lower one first");
        }
        range
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let range = json_schema!({ "type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$" });
        json_schema!({ "anyOf": [Whole::<1, 65_535>::schema(generator), range] })
    }
}
