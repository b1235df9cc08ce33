//! How does a connection live of which nobody said that it is HTTP? What it speaks is found out, if that is asked, and what
//! is not HTTP passes as it is.
//!
//! Nothing is waited for where a server may speak first: on ports that are declared or listed, the upstream is connected to
//! at once. Elsewhere the first octets are waited for, no longer than `detection.timeout`, and each time that this ran out
//! is counted (REQUIREMENTS U19).

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use outrigger_config::model::Accepts;

use super::detect::{More, Speaks, look};
use super::{http1, tls};
use crate::clock::now;
use crate::http1::ServerConn;
use crate::pipeline;
use crate::snapshot::ListenerId;
use crate::telemetry::Protocol;
use crate::worker::Worker;

/// What is read of a connection before it is given up as nothing that we know: the largest hello that clients send, twice.
const MOST: usize = 16 * 1024;

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, listener: ListenerId, accepts: Accepts, mut down: ServerConn) {
    let metrics = worker.shared.metrics.downstream(listener.direction);
    let unknown = metrics.active(worker.id, Protocol::Unknown);
    let seen = match accepts {
        Accepts::Opaque if !worker.snapshot_for(listener).asks_for_names(listener, down.ends.meant) => {
            Some(Speaks::Opaque)
        }
        Accepts::Opaque | Accepts::Detect => detect(&worker, listener, &mut down).await,
        Accepts::Http => Some(Speaks::Http),
    };
    drop(unknown);
    match seen {
        None => {}
        Some(Speaks::Http) if accepts != Accepts::Opaque => {
            http1::serve(worker, listener, down).await;
        }
        Some(Speaks::Tls { sni }) => pass(&worker, listener, sni.as_deref(), down).await,
        Some(Speaks::Http | Speaks::Opaque) => pass(&worker, listener, None, down).await,
    }
}

/// What is no HTTP passes, but not in plaintext where only TLS is taken: there is nothing in it that could be a probe.
pub async fn pass(worker: &Worker, listener: ListenerId, sni: Option<&str>, mut down: ServerConn) {
    let snapshot = worker.snapshot_for(listener);
    let metrics = worker.shared.metrics.downstream(listener.direction);
    match down.channel.wire.stream().proof() {
        None if tls::is_strict(&snapshot, listener) => {
            return metrics.protocol_error(worker.id, "plaintext-refused");
        }
        Some(proof) if worker.distrusts(listener.direction, proof) => return,
        _ => {}
    }
    down.active = Some(metrics.active(worker.id, Protocol::Tcp));
    pipeline::pass(worker, &snapshot, listener, sni, &mut down).await;
}

/// What the first octets show; `None`: it is gone before they said anything.
async fn detect(worker: &Worker, listener: ListenerId, down: &mut ServerConn) -> Option<Speaks> {
    let metrics = worker.shared.metrics.downstream(listener.direction);
    let until = now() + worker.snapshot_for(listener).config.sidecar.detection.timeout;
    let found = loop {
        let wire = &mut down.channel.wire;
        let ahead = wire.ahead().len();
        let otherwise = match look(wire.ahead()) {
            Ok(seen) => break seen,
            Err(More(otherwise)) if ahead >= MOST => break otherwise,
            Err(More(otherwise)) => otherwise,
        };
        if listener.drains() && ahead == 0 {
            down.alarm.set_idle(until);
        } else {
            down.alarm.set(until);
        }
        let read = poll_fn(|cx| {
            // First of all what has come: who is on the way out listens to the end.
            let read = worker.scratch.lend(|buffer| wire.poll_read_ahead(cx, &mut buffer[..MOST]));
            if let Poll::Ready(read) = read {
                return Poll::Ready(Some(read));
            }
            down.alarm.poll(cx).map(|()| None)
        });
        match read.await {
            // An end is something to pass on, like all that came before it.
            Some(Ok(0)) => break otherwise,
            Some(Err(_)) => return None,
            None if now() >= until => {
                metrics.detected(worker.id, "timeout");
                return Some(otherwise);
            }
            // A drain that rouses it hears its first octets all the same: they are on their way, and the wait is short.
            Some(Ok(1..)) | None => {}
        }
    };
    metrics.detected(worker.id, found.label());
    Some(found)
}
