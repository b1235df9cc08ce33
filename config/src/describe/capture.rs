//! What holds of redirected connections, as JSON?

use serde_json::{Value, json};

use super::{authorization, describe_policy};
use crate::model::{Config, InboundCapture, Outbound, OutboundTcp, PortRange, Unknown};
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
pub(super) fn outbound(outbound: &Outbound, config: &Config) -> Value {
    let own = |tcp: &OutboundTcp| {
        let upstream = tcp.upstream.map(|id| config.upstream(id).name.as_str());
        json!({ "listen": tcp.listen.to_string(), "upstream": upstream })
    };
    json!({
        "listen": outbound.listen.to_string(),
        "protocol": OutboundProtocol(outbound.accepts).word(),
        "tcp": outbound.tcp.iter().map(own).collect::<Vec<_>>(),
        "capture": outbound.capture.word(),
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
