//! What holds of redirected connections, as JSON?

use serde_json::{Value, json};

use super::{authorization, describe_policy};
use crate::model::{InboundCapture, Outbound, PortRange, Unknown};
use crate::raw::{OutboundProtocol, Words};

/// The listener of captured inbound ports.
pub(super) fn inbound(captured: &InboundCapture) -> Value {
    json!({
        "port": captured.port,
        "unknown": captured.unknown.word(),
        "excludePorts": ports(&captured.exclude_ports),
    })
}

/// The outbound port; `policy` is that of what is let through unnamed.
pub(super) fn outbound(outbound: &Outbound) -> Value {
    json!({
        "listen": outbound.listen.to_string(),
        "capture": outbound.capture.word(),
        "protocol": OutboundProtocol(outbound.accepts).word(),
        "unknown": outbound.unknown.word(),
        "excludePorts": ports(&outbound.exclude_ports),
        "excludeCidrs": outbound.exclude_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paths": authorization::paths(outbound.paths),
        "policy": (outbound.unknown == Unknown::Allow).then(|| describe_policy(&outbound.policy)),
    })
}

fn ports(ranges: &[PortRange]) -> Value {
    ranges.iter().map(ToString::to_string).collect()
}
