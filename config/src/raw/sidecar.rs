//! What may a `Sidecar` document say?

use schemars::{Schema, SchemaGenerator, json_schema};

use super::capture::InboundCapture;
use super::declare::{mapping, words};
use super::fault::FaultCaps;
use super::limits::Limits;
use super::paths::Paths;
use super::read::Read;
use super::resilience::{HealthCheck, Target, True};
use super::tcp::{Detection, OutboundTcp};
use super::tls::{Identity, PortTls};
use super::tree::{Node, ScalarKind, Value};
use super::types::{Bytes, List, Whole};
use crate::faults::Faults;
use crate::model::{
    Accepts, AdminAddress, Capture, ForwardTo, Locality, Name, Network, PortRange, Protocol, Unknown,
};
use crate::scalars::{ListenAddress, NonZeroDuration, Percent};

mapping! {
    /// The process beside one service. Exactly one of these.
    Sidecar {
        /// The service beside us.
        "name" => name: Name, required;
        /// Where we are, `region/zone`; the nearer endpoints of `localities` come first.
        "locality" => locality: Locality;
        /// Data-path threads.
        "workers" => workers: Workers;
        /// Who we are to those who call us and to those whom we call; nobody unless written.
        "identity" => identity: Identity;
        /// Ports on which others call the service.
        "inbound" => inbound: List<Inbound>;
        /// Where connections to captured inbound ports arrive.
        "inboundCapture" => inbound_capture: InboundCapture;
        /// Where the service calls others.
        "outbound" => outbound: Outbound;
        /// How it is found out what a connection speaks, where that is not declared.
        "detection" => detection: Detection;
        /// Operators' ports.
        "admin" => admin: Admin;
        /// How the process ends.
        "shutdown" => shutdown: Shutdown;
        /// What is written of each exchange: all failures and slow ones, a sample of the rest.
        "accessLog" => access_log: AccessLog;
        /// Bounds on what a downstream peer may cost.
        "limits" => limits: Limits;
        /// Bounds on faults that rules inject on purpose, and the switch that ends them.
        "faults" => faults: FaultCaps;
    }
}

mapping! {
    /// One port of the service.
    Inbound {
        /// The port that callers use.
        "port" => port: Whole<1, 65_535>, required;
        /// How their connections get here: to the sidecar's own port, or redirected by rules of the network namespace.
        "capture" => capture: Capture;
        /// Where to listen, if not on every address of `port`.
        "listen" => listen: ListenAddress;
        /// The application: an address or, of a captured port, `original`, the address that the caller has called.
        "forwardTo" => forward_to: ForwardTo, required;
        /// What the application speaks; `http`: what the caller speaks; `tcp`: octets, whatever they mean; `auto`: what
        /// the first octets show; what they don't show to be HTTP meets no policy about requests, so where one counts,
        /// `http` is the safer word.
        "protocol" => protocol: InboundProtocol;
        /// What becomes of paths that two readers may read differently.
        "paths" => paths: Paths;
        /// What is asked of callers: `strict` with an identity, `off` without, unless written.
        "tls" => tls: PortTls;
        /// With `strict`, paths that plaintext may ask for all the same: probes of those who have no certificate.
        "plaintextPaths" => plaintext_paths: List<Target>;
        /// How the application is checked: while it fails or is not ready, `/readyz` says so.
        "healthCheck" => health_check: HealthCheck;
    }
}

mapping! {
    /// The port through which the service calls others.
    Outbound {
        /// Where the service's calls arrive.
        "listen" => listen: ListenAddress;
        /// What the service's calls are: `http`, or `auto`, what the first octets show. `auto` where they are redirected,
        /// unless written.
        "protocol" => protocol: OutboundProtocol;
        /// Ports that lead to one service each, whatever is spoken there.
        "tcp" => tcp: List<OutboundTcp>;
        /// How they get here: the service is told the address, or rules of the network namespace redirect them.
        "capture" => capture: Capture;
        /// What becomes of what no route and no upstream names; `allow`: it goes where it was meant to go.
        "unknown" => unknown: Unknown;
        /// Ports of others that are not redirected: `5432`, `20000-20999`.
        "excludePorts" => exclude_ports: List<PortRange, 0>;
        /// Addresses that are not redirected; `169.254.169.254` unless written.
        "excludeCidrs" => exclude_cidrs: List<Network, 0>;
        /// What becomes of paths that two readers may read differently.
        "paths" => paths: Paths;
    }
}

mapping! {
    /// Operators' ports.
    Admin {
        /// The effective configuration and the state of upstreams: a loopback address, or a socket file,
        /// `unix:/run/outrigger.sock`.
        "listen" => listen: AdminAddress;
        /// `listen` may be an address that others reach, and whoever reaches it may look and end faults.
        "exposed" => exposed: True;
        /// Metrics and probes.
        "metrics" => metrics: ListenAddress;
    }
}

mapping! {
    /// How the process ends.
    Shutdown {
        /// The grace after SIGTERM: for callers to leave, for the application, for work in flight.
        "drain" => drain: NonZeroDuration;
    }
}

mapping! {
    /// What is written of each exchange.
    AccessLog {
        /// One JSON object a line, or nothing.
        "format" => format: LogFormat;
        /// Share of fast successes that is written.
        "successSample" => success_sample: Percent;
        /// Whatever took at least so long is written.
        "slowerThan" => slower_than: NonZeroDuration;
        /// What is over is dropped and counted.
        "maxBytesPerSecond" => max_bytes_per_second: Bytes<1024, { 1 << 30 }>;
    }
}

/// Data-path threads.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Workers {
    Auto,
    Fixed(Whole<1, 1024>),
}

/// What the application behind an inbound port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InboundProtocol(pub(crate) Protocol, pub(crate) Accepts);

/// What the service's calls are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboundProtocol(pub(crate) Accepts);

/// How an access log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Off,
}

words!(InboundProtocol {
    "http" => Self(Protocol::Auto, Accepts::Http),
    "http1" => Self(Protocol::Http1, Accepts::Http),
    "http2" => Self(Protocol::Http2, Accepts::Http),
    "tcp" => Self(Protocol::Tcp, Accepts::Opaque),
    "auto" => Self(Protocol::Auto, Accepts::Detect),
});
words!(OutboundProtocol { "http" => Self(Accepts::Http), "auto" => Self(Accepts::Detect), });
words!(LogFormat { "json" => Self::Json, "off" => Self::Off, });

impl Read for Workers {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { kind: ScalarKind::Text, text } if text == "auto" => Some(Self::Auto),
            Value::Scalar { kind: ScalarKind::Number, .. } => Whole::read(node, faults).map(Self::Fixed),
            _ => {
                faults.at(
                    node.span,
                    format!("expected `auto` or a whole number, 1 to 1024, found {}", node.describe()),
                );
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "enum": ["auto"] }, Whole::<1, 1024>::schema(generator)] })
    }
}
