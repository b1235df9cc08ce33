//! How does an HTTP/1 connection live? One request at a time, until either side has had enough, or its first octets say
//! that it is one of HTTP/2.

use std::rc::Rc;
use std::time::Duration;

use super::{http2, tls};
use crate::clock::now;
use crate::http1::{Ended, ServerConn};
use crate::pipeline::{self, After, Down, Failure};
use crate::snapshot::ListenerId;
use crate::telemetry::{Flag, Protocol};
use crate::worker::Worker;

/// How long a connection that is to end waits for the request that may be on its way.
pub const LEAVING: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, listener: ListenerId, mut down: ServerConn) {
    let metrics = worker.shared.metrics.downstream(listener.direction);
    down.active = Some(metrics.active(worker.id, Protocol::Http1));
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
        if let Some(proof) = down.channel.wire.stream().proof()
            && worker.distrusts(listener.direction, proof)
        {
            return;
        }
        let after = match head {
            Ok(head) if is_plain(&down) && !tls::takes_plaintext(&snapshot, listener, &head) => {
                refuse(&worker, listener, &mut down, Failure::PlaintextRefused)
            }
            Ok(head) => {
                pipeline::handle(&worker, &snapshot, listener, &mut Down::Http1(&mut down), head).await
            }
            Err(Ended::Quietly) => return,
            // Whose first request is on its way would take our leaving for a failure, and a kept connection's for its end.
            Err(Ended::Roused) if worker.leaves(listener) && !down.is_fresh() => return,
            Err(Ended::Roused) => continue,
            Err(Ended::Tls) => {
                metrics.protocol_error(worker.id, "tls-to-plaintext");
                down.channel.wire.out().extend_from_slice(&tls::NO_TLS);
                After::Close
            }
            // HTTP/2 has no probes that would pass.
            Err(Ended::Http2) if is_plain(&down) && tls::is_strict(&snapshot, listener) => {
                refuse(&worker, listener, &mut down, Failure::PlaintextRefused)
            }
            Err(Ended::Malformed(error)) => refuse(&worker, listener, &mut down, Failure::BadRequest(error)),
            Err(Ended::Slow) => refuse(&worker, listener, &mut down, Failure::SlowHead),
            Err(Ended::Http2) => {
                drop((snapshot, down.active.take()));
                // Boxed, so that a connection of HTTP/1 doesn't hold the room for it.
                return Box::pin(http2::serve(worker, listener, down)).await;
            }
        };
        match after {
            After::Keep(since) => idle_since = since,
            After::Close => return down.close(&worker.scratch).await,
            After::Abort => return down.abort(),
        }
    }
}

fn is_plain(down: &ServerConn) -> bool {
    down.channel.wire.stream().proof().is_none()
}

/// Answers what is not even a request.
fn refuse(worker: &Worker, listener: ListenerId, down: &mut ServerConn, failure: Failure) -> After {
    pipeline::refuse(&mut Down::Http1(down), failure);
    count_refused(worker, listener, failure);
    After::Close
}

/// What is not even a request has no route, but it is counted.
pub fn count_refused(worker: &Worker, listener: ListenerId, failure: Failure) {
    let (snapshot, metrics) = (worker.snapshot(), &worker.shared.metrics);
    let code = failure.status().as_u16();
    let flag = Flag::DownstreamProtocolError;
    snapshot.unrouted(listener.direction).record(worker.id, code, flag, Duration::ZERO);
    metrics.downstream(listener.direction).protocol_error(worker.id, failure.cause());
    if let Some(limit) = failure.limit() {
        metrics.limit_exceeded(worker.id, limit);
    }
}
