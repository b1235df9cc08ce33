//! What is counted of the connections that others open to us?

use std::sync::Arc;

use super::super::cells::{Counter, Gauge, Held, WorkerId};
use super::series::{Series, SeriesCap};

/// What a downstream connection speaks, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Accepted, not yet detected.
    Unknown,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything else: relayed blind.
    Tcp,
}

impl Protocol {
    pub(super) const ALL: [Self; 4] = [Self::Unknown, Self::Http1, Self::Http2, Self::Tcp];

    /// The word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

/// The counters of one direction's connections.
#[derive(Debug)]
pub struct DownstreamMetrics {
    pub(super) accepted: Counter,
    pub(super) active: [Gauge; Protocol::ALL.len()],
    pub(super) refused: Series<&'static str>,
    pub(super) protocol_errors: Series<&'static str>,
    pub(super) distrusted: Series<&'static str>,
    pub(super) detections: Series<&'static str>,
}

impl DownstreamMetrics {
    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            accepted: Counter::new(workers),
            active: Protocol::ALL.map(|_| Gauge::new(workers)),
            refused: Series::new(workers, cap),
            protocol_errors: Series::new(workers, cap),
            distrusted: Series::new(workers, cap),
            detections: Series::new(workers, cap),
        }
    }

    /// A connection ended since its peer is believed no more, because of this.
    pub fn distrusted(&self, worker: WorkerId, reason: &'static str) {
        self.distrusted.inc(worker, reason);
    }

    /// A connection was accepted.
    pub fn accepted(&self, worker: WorkerId) {
        self.accepted.inc(worker);
    }

    /// A connection of this protocol is open until the guard is dropped. Once more is known of it, take the next
    /// guard and drop this one.
    pub fn active(&self, worker: WorkerId, protocol: Protocol) -> Held {
        self.active[protocol as usize].hold(worker)
    }

    /// This is what the first octets of a connection showed, or that none came in time.
    pub fn detected(&self, worker: WorkerId, result: &'static str) {
        self.detections.inc(worker, result);
    }

    /// A connection was turned away because of this.
    pub fn refused(&self, worker: WorkerId, reason: &'static str) {
        self.refused.inc(worker, reason);
    }

    /// The peer broke its protocol like this.
    pub fn protocol_error(&self, worker: WorkerId, reason: &'static str) {
        self.protocol_errors.inc(worker, reason);
    }
}
