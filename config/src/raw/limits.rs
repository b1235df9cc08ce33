//! What may a peer cost? Bounds of the sidecar on those who call it, and on upstreams.

use schemars::{Schema, SchemaGenerator};
use serde_json::json;

use super::declare::mapping;
use super::read::Read;
use super::resilience::Mode;
use super::tree::Node;
use super::types::{Bytes, RateFrom, Whole};
use crate::faults::Faults;
use crate::scalars::{NonZeroDuration, Percent};

mapping! {
    /// Bounds on a downstream peer.
    Limits {
        /// Bytes of a request head; 431 above.
        "requestHead" => request_head: Bytes<1024, { 1 << 20 }>;
        /// Fields of a request head; 431 above.
        "requestFields" => request_fields: Whole<1, 100>;
        /// Bytes of a request target; 414 above.
        "requestTarget" => request_target: Bytes<64, { 1 << 20 }>;
        /// From a head's first byte to its end; 408 after.
        "headTimeout" => head_timeout: NonZeroDuration;
        /// Between requests of a connection.
        "idleTimeout" => idle_timeout: NonZeroDuration;
        /// Between bytes of a body in either direction.
        "bodyIdleTimeout" => body_idle_timeout: NonZeroDuration;
        /// Connections a listener.
        "maxConnections" => max_connections: Whole<1, 1_000_000>;
        /// Of a TLS handshake, from the connection's acceptance on.
        "handshakeTimeout" => handshake_timeout: NonZeroDuration;
        /// TLS handshakes at one time, all listeners together; more connections wait to begin theirs.
        "maxHandshakes" => max_handshakes: Whole<1, 1_000_000>;
        /// Connections that the kernel holds until they are accepted.
        "backlog" => backlog: Whole<1, 65_535>;
        /// Bytes of trailers.
        "trailers" => trailers: Bytes<0, { 1 << 20 }>;
        /// Fields of trailers.
        "trailerFields" => trailer_fields: Whole<0, 1000>;
        /// How long an HTTP/2 connection takes new requests, less up to a tenth by chance.
        "maxConnectionAge" => max_connection_age: NonZeroDuration;
        /// Of an HTTP/2 connection.
        "http2" => http2: Http2;
    }
}

mapping! {
    /// Bounds on what an upstream may cost.
    UpstreamLimits {
        /// Connections, all endpoints together; as many as requests need unless written.
        "maxConnections" => max_connections: Whole<1, 1_000_000>;
        /// Requests in flight, tunnels too.
        "maxRequests" => max_requests: Whole<1, 1_000_000>;
        /// Fewer requests in flight, as the answers' latency demands; not unless written.
        "adaptive" => adaptive: Adaptive;
        /// How much of the requests in flight each class may fill.
        "shares" => shares: Shares;
        /// Requests that wait for a place or a connection at one time; 503 above.
        "maxPending" => max_pending: Whole<1, 1_000_000>;
        /// How long one may wait for a place; 503 after.
        "queueTimeout" => queue_timeout: NonZeroDuration;
        /// Bytes of a response head; 502 above.
        "responseHead" => response_head: Bytes<1024, { 1 << 20 }>;
        /// Fields of a response head; 502 above.
        "responseFields" => response_fields: Whole<1, 1000>;
        /// Idle connections kept an endpoint and worker.
        "maxIdle" => max_idle: Whole<0, 10_000>;
        /// How long an unused connection is kept.
        "idleTimeout" => idle_timeout: NonZeroDuration;
        /// How long an HTTP/2 connection takes new requests, less up to a tenth by chance.
        "maxConnectionAge" => max_connection_age: NonZeroDuration;
        /// Of an HTTP/2 connection.
        "http2" => http2: UpstreamHttp2;
    }
}

mapping! {
    /// A limit on requests in flight that finds out by itself, between these bounds.
    Adaptive {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Never below.
        "min" => min: Whole<1, 1_000_000>;
        /// Never above; all that may be in flight unless written.
        "max" => max: Whole<1, 1_000_000>;
    }
}

mapping! {
    /// How much of a limit each class of requests may fill. Critical ones may fill all of it.
    Shares {
        /// Of requests that no policy names.
        "default" => default: Percent;
        /// Of sheddable ones; as `default` unless written.
        "sheddable" => sheddable: Percent;
    }
}

mapping! {
    /// Bounds on an HTTP/2 connection, whichever end of it we are.
    Http2 {
        /// Requests at one time.
        "maxStreams" => max_streams: Whole<1, 10_000>;
        /// Bytes of content that the peer may send ahead on one stream.
        "streamWindow" => stream_window: Bytes<1024, WINDOW>;
        /// Bytes of content that the peer may send ahead on all streams together.
        "connectionWindow" => connection_window: Bytes<CONNECTION_WINDOW, WINDOW>;
        /// Bytes of a request's header list as RFC 9113 §10.5.1 counts them; 431 above.
        "headerList" => header_list: Bytes<4096, { 1 << 20 }>;
        /// Streams that may be reset within 10s before they were answered, by the peer or for what the peer sent.
        "resets" => resets: Whole<1, 1_000_000>;
        /// PING and SETTINGS frames.
        "controlFrames" => control_frames: RateFrom<CONTROL_FRAMES>;
        /// DATA frames without content in a row. The codec takes no more than 100 of a connection in any case.
        "emptyData" => empty_data: Whole<1, 100>;
    }
}

/// RFC 9113 §6.9.1: what a window can count.
const WINDOW: u64 = (1 << 31) - 1;
/// A connection's window starts at 65,535 octets, and no setting makes it smaller (RFC 9113 §6.9.2).
const CONNECTION_WINDOW: u64 = 64 << 10;
/// A connection opens with SETTINGS, their acknowledgement and perhaps a PING, all at once.
const CONTROL_FRAMES: u32 = 10;

/// The same of a connection on which we send the requests.
#[derive(Debug)]
pub(crate) struct UpstreamHttp2(pub(crate) Http2);

impl Read for UpstreamHttp2 {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let http2 = Http2::read(node, faults)?;
        if let Some(header_list) = http2.header_list {
            let help = "an upstream's responses are bounded by `responseHead` beside `http2`";
            faults.at_with(header_list.span, "`headerList` is a bound on requests", help);
        }
        Some(Self(http2))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Http2::schema(generator);
        schema.insert("not".to_owned(), json!({ "required": ["headerList"] }));
        schema
    }
}
