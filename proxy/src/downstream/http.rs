//! How does an HTTP/1 connection live? One request at a time, until either side has had enough.

use std::rc::Rc;
use std::time::Duration;

use crate::clock::now;
use crate::http1::{Ended, ServerConn};
use crate::pipeline::{self, After, Failure};
use crate::snapshot::ListenerId;
use crate::telemetry::Flag;
use crate::worker::Worker;

/// How long a connection that is to end waits for the request that may be on its way.
const LEAVING: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, listener: ListenerId, mut down: ServerConn) {
    let mut idle_since = now();
    loop {
        let snapshot = worker.snapshot_for(listener);
        let (limits, heads, trailers) = (*snapshot.limits(), snapshot.head_limits, snapshot.trailer_limits);
        drop(snapshot);
        let idle =
            if worker.leaves(listener) { limits.idle_timeout.min(LEAVING) } else { limits.idle_timeout };
        let head =
            down.read_head(&worker.scratch, (&heads, trailers), idle_since + idle, limits.head_timeout).await;
        // A request is treated by the configuration of its arrival, not of the idle time before it.
        let snapshot = worker.snapshot_for(listener);
        let after = match head {
            Ok(head) => pipeline::handle(&worker, &snapshot, listener, &mut down, head).await,
            Err(Ended::Quietly) => return,
            Err(Ended::Malformed(error)) => refuse(&worker, listener, &mut down, Failure::BadRequest(error)),
            Err(Ended::Slow) => refuse(&worker, listener, &mut down, Failure::SlowHead),
        };
        match after {
            After::Keep(since) => idle_since = since,
            After::Close => return down.close(&worker.scratch).await,
            After::Abort => return down.abort(),
        }
    }
}

/// Answers what is not even a request. It has no route, but it is counted.
fn refuse(worker: &Worker, listener: ListenerId, down: &mut ServerConn, failure: Failure) -> After {
    pipeline::refuse(down, failure);
    let (snapshot, metrics) = (worker.snapshot(), &worker.shared.metrics);
    let code = failure.status().as_u16();
    snapshot.unrouted(listener.direction).record(
        worker.id,
        code,
        Flag::DownstreamProtocolError,
        Duration::ZERO,
    );
    metrics.downstream(listener.direction).protocol_error(worker.id, failure.cause());
    if let Some(limit) = failure.limit() {
        metrics.limit_exceeded(worker.id, limit);
    }
    After::Close
}
