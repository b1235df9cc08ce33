//! Who calls? A handshake where the port asks for one, and what may pass without.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::Method;
use outrigger_config::model::{Accepts, InboundTls};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::http1::LEAVING;
use super::{http1, http2, tcp};
use crate::clock::{Alarm, now};
use crate::http1::ServerConn;
use crate::http1::server::LINGER;
use crate::message::{Ends, Known, RequestHead};
use crate::snapshot::{ListenerId, Snapshot};
use crate::telemetry::Protocol;
use crate::tls::{Alpn, HANDSHAKE, ServerSide, Stream};
use crate::worker::Worker;

/// Says that there is no TLS to be had here, in words that every client understands: `handshake_failure` (RFC 8446 §6.2).
pub const NO_TLS: [u8; 7] = [21, 3, 1, 0, 2, 2, 40];

/// Serves a connection to a port that takes TLS, to its end.
pub async fn serve(
    worker: Rc<Worker>,
    listener: ListenerId,
    accepts: Accepts,
    side: Arc<ServerSide>,
    (tcp, ends): (TcpStream, Ends),
) {
    let metrics = worker.shared.metrics.downstream(listener.direction);
    let unknown = metrics.active(worker.id, Protocol::Unknown);
    let alarm = worker.timers.alarm();
    // Boxed, so that a connection doesn't hold the room for its handshake as long as it lives.
    let greeted = Box::pin(greet(&worker, listener, accepts, &side, tcp, &alarm)).await;
    let begun = match greeted {
        Ok(begun) => begun,
        Err(Parted::Quietly) => return,
        Err(Parted::Failed(word)) => {
            return worker.shared.metrics.handshake(worker.id, word);
        }
    };
    drop((side, unknown));
    let (stream, ahead, alpn) = match begun {
        Begun::Tls(stream, alpn) => (stream, Vec::new(), alpn),
        Begun::Plain(tcp, ahead) => (tcp.into(), ahead, None),
    };
    let mut down = ServerConn::new(stream, ends, alarm, listener.drains());
    down.channel.wire.unread(&ahead);
    let silent = down.channel.wire.stream().proof().is_none() && ahead.is_empty();
    if silent && accepts != Accepts::Http {
        // It was waited for once.
        return tcp::pass(&worker, listener, None, down).await;
    }
    match alpn {
        Some(Alpn::Tcp) => tcp::serve(worker, listener, Accepts::Opaque, down).await,
        _ if accepts == Accepts::Opaque => tcp::serve(worker, listener, accepts, down).await,
        None if accepts == Accepts::Detect => tcp::serve(worker, listener, accepts, down).await,
        Some(Alpn::Http2) => Box::pin(http2::serve(worker, listener, down)).await,
        Some(_) => {
            down.speaks_http1();
            http1::serve(worker, listener, down).await;
        }
        // Who agreed on nothing shows what it speaks.
        None => http1::serve(worker, listener, down).await,
    }
}

/// How a connection goes on.
enum Begun {
    Tls(Stream, Option<Alpn>),
    /// With what was read of it.
    Plain(TcpStream, Vec<u8>),
}

/// Why it doesn't.
enum Parted {
    /// It ended before it said anything.
    Quietly,
    /// A handshake failed: the word for it.
    Failed(&'static str),
}

/// The first octets, and the handshake if they begin one.
async fn greet(
    worker: &Worker,
    listener: ListenerId,
    accepts: Accepts,
    side: &ServerSide,
    mut tcp: TcpStream,
    alarm: &Alarm,
) -> Result<Begun, Parted> {
    let begun = now();
    let (until, patience) = {
        let snapshot = worker.snapshot_for(listener);
        // Whoever needs no TLS may wait for a server that speaks first.
        let quiet = accepts != Accepts::Http && !is_strict(&snapshot, listener);
        let patience = quiet.then(|| begun + snapshot.config.sidecar.detection.timeout);
        (begun + snapshot.limits().handshake_timeout, patience)
    };
    let mut ahead = Vec::new();
    let first = loop {
        // Nothing is in hand yet: a drain doesn't wait for it, but for a moment if it has just come.
        let last = if worker.leaves(listener) { begun + LEAVING } else { until };
        let by = patience.unwrap_or(until).min(last);
        if listener.drains() {
            alarm.set_idle(by);
        } else {
            alarm.set(by);
        }
        match within(alarm, first_octets(worker, &mut tcp, &mut ahead)).await {
            Ok(first) => break first,
            Err(Late) if last < until && now() >= last => return Err(Parted::Quietly),
            Err(Late) if patience.is_some_and(|patience| now() >= patience) => {
                worker.shared.metrics.downstream(listener.direction).detected(worker.id, "timeout");
                return Ok(Begun::Plain(tcp, ahead));
            }
            Err(Late) if now() >= until => return Err(Parted::Failed("timeout")),
            Err(Late) => {}
        }
    };
    match first {
        None => return Err(Parted::Quietly),
        Some(HANDSHAKE) => alarm.set(until),
        Some(_) => return Ok(Begun::Plain(tcp, ahead)),
    }
    let place = enter(worker, alarm).await.ok_or(Parted::Failed("timeout"))?;
    let shaken = within(alarm, side.accept(tcp, &ahead, alpn(accepts))).await;
    drop(place);
    let tls = match shaken {
        Ok(Ok(tls)) => tls,
        Ok(Err(failed)) => {
            let word = failed.error.label();
            alarm.set(now() + LINGER);
            let _ = within(alarm, failed.part()).await;
            return Err(Parted::Failed(word));
        }
        Err(Late) => return Err(Parted::Failed("timeout")),
    };
    let result = if tls.is_resumed() { "resumed" } else { "full" };
    worker.shared.metrics.handshake(worker.id, result);
    let alpn = tls.alpn();
    Ok(Begun::Tls(tls.into(), alpn))
}

/// Reads what comes first; answers the first octet of it, `None`: it ended.
async fn first_octets(worker: &Worker, tcp: &mut TcpStream, ahead: &mut Vec<u8>) -> Option<u8> {
    poll_fn(|cx| {
        worker.scratch.lend(|buffer| {
            let mut buf = ReadBuf::new(buffer);
            if ready!(pin!(&mut *tcp).poll_read(cx, &mut buf)).is_ok() {
                ahead.extend_from_slice(buf.filled());
            }
            Poll::Ready(ahead.first().copied())
        })
    })
    .await
}

/// What is spoken within TLS on a port that takes its connections for this.
fn alpn(accepts: Accepts) -> Alpn {
    match accepts {
        Accepts::Http => Alpn::Either,
        Accepts::Opaque => Alpn::Tcp,
        Accepts::Detect => Alpn::Any,
    }
}

/// A place among the handshakes of this worker; `None`: there was none in time.
async fn enter<'w>(worker: &'w Worker, alarm: &Alarm) -> Option<impl Drop + use<'w>> {
    let all = worker.snapshot().limits().max_handshakes;
    let places = worker.handshakes.of((all / worker.shared.metrics.workers()).max(1));
    if let Ok(place) = places.try_acquire() {
        return Some(place);
    }
    worker.shared.metrics.limit_exceeded(worker.id, "handshakes");
    within(alarm, places.acquire()).await.ok()?.ok()
}

/// The alarm rang first.
struct Late;

async fn within<T>(alarm: &Alarm, what: impl Future<Output = T>) -> Result<T, Late> {
    let mut what = pin!(what);
    poll_fn(|cx| match what.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => alarm.poll(cx).map(|()| Err(Late)),
    })
    .await
}

/// Whether the port takes TLS only; as it is now, whatever it was when a connection came.
pub fn is_strict(snapshot: &Snapshot, listener: ListenerId) -> bool {
    snapshot.tls.is_some() && matches!(snapshot.inbound_tls(listener), InboundTls::Strict { .. })
}

/// Whether the port takes this request in plaintext: a probe asks for one of a few paths, and for nothing else.
pub fn takes_plaintext(snapshot: &Snapshot, listener: ListenerId, head: &RequestHead) -> bool {
    if snapshot.tls.is_none() {
        return true;
    }
    match snapshot.inbound_tls(listener) {
        InboundTls::Off | InboundTls::Permissive => true,
        InboundTls::Strict { plaintext_paths } => {
            matches!(head.method, Method::GET | Method::HEAD)
                && !head.known.has(Known::UPGRADE)
                && plaintext_paths.iter().any(|path| *path == head.target.path())
        }
    }
}
