//! What holds of connections that nobody reads, as JSON?

use serde_json::{Value, json};

use super::{backend, describe_policy};
use crate::model::{Config, Detection, TcpMatch, TcpRoute, TcpRule};
use crate::raw::Words;
use crate::scalars::NonZeroDuration;

/// How it is found out what a connection speaks.
pub(super) fn detection(detection: &Detection) -> Value {
    json!({
        "timeout": NonZeroDuration::format(detection.timeout),
        "opaquePorts": detection.opaque_ports,
    })
}

/// A `TCPRoute`.
pub(super) fn route(route: &TcpRoute, config: &Config) -> Value {
    json!({
        "name": route.name.as_str(),
        "direction": route.direction.word(),
        "rules": route.rules.iter().map(|rule| self::rule(rule, config)).collect::<Vec<_>>(),
        "location": route.location.to_string(),
    })
}

/// An outbound rule's policy is shown where it holds: at each of its backends.
fn rule(rule: &TcpRule, config: &Config) -> Value {
    let mut described = json!({
        "name": rule.name.as_str(),
        "matches": rule.matches.iter().map(matching).collect::<Vec<_>>(),
        "priority": rule.priority.map(Words::word),
        "location": rule.location.to_string(),
    });
    if rule.backends.is_empty() {
        described["policy"] = describe_policy(&rule.policy);
    } else {
        described["backendRefs"] = rule.backends.iter().map(|found| backend(found, config)).collect();
    }
    described
}

fn matching(found: &TcpMatch) -> Value {
    json!({
        "ports": found.ports,
        "addresses": found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "snis": found.snis.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
