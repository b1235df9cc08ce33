//! What is counted of the connections of one route with one upstream, when nobody reads what they carry?

use std::sync::Arc;

use super::super::cells::{Counter, WorkerId};
use super::flag::Flag;
use super::series::{Series, SeriesCap, Value};

/// The counters of one direction, route and upstream, shared by all generations that have the same three names.
#[derive(Debug)]
pub struct ConnectionMetrics {
    pub(super) ended: Series<Flag>,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl ConnectionMetrics {
    /// Series that exist from the start: octets each way, and the place of flags that find none.
    pub(super) const SERIES: usize = 3;

    pub(super) fn new(workers: usize, cap: &Arc<SeriesCap>) -> Self {
        Self {
            ended: Series::new(workers, cap),
            received: Counter::new(workers),
            sent: Counter::new(workers),
        }
    }

    /// A connection has ended like this.
    pub fn ended(&self, worker: WorkerId, flag: Flag) {
        self.ended.inc(worker, flag);
    }

    /// So many octets have come from the downstream, and so many have gone to it, since this was last told.
    pub fn moved(&self, worker: WorkerId, received: u64, sent: u64) {
        self.received.add(worker, received);
        self.sent.add(worker, sent);
    }
}

impl Value for Flag {
    fn same(self, other: Self) -> bool {
        self == other
    }
}
