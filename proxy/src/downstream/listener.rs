//! How does a connection come in? A listener of each worker on the same port, and a bound on how many may be open.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use outrigger_config::model::{Accepts, Direction};
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::original_dst::{Refused, original_dst};
use super::{http1, tcp, tls};
use crate::http1::ServerConn;
use crate::message::Ends;
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker::Worker;

/// How long accepting rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// How long a handshake takes among machines that stand together.
const HANDSHAKE: Duration = Duration::from_millis(2);
/// A filter in the kernel's language (`bpf(4)`) that takes everything but the first segment of a handshake: SYN without ACK
/// (RFC 9293 §3.1). It sees a segment from its TCP header on.
const DEAF: [SockFilter; 5] = [
    // A ← the octet of flags
    SockFilter::new(0x30, 0, 0, 13),
    // A ← A & (SYN | ACK)
    SockFilter::new(0x54, 0, 0, 0x12),
    // A = SYN?
    SockFilter::new(0x15, 0, 1, 0x02),
    // drop it
    SockFilter::new(0x06, 0, 0, 0),
    // take all of it
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
/// Descriptors kept for upstream connections, files and the admin side when downstreams take all they can.
const RESERVED_DESCRIPTORS: u64 = 64;

/// A bound socket that shares its port with the other workers' (`SO_REUSEPORT`). One of IPv6 on every address takes IPv4 too,
/// unless it is `only_v6`.
pub fn bind(addr: SocketAddr, only_v6: bool, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// How many connections a listener holds, over all workers.
#[derive(Debug, Clone, Default)]
pub struct Occupancy(Arc<AtomicUsize>);

/// One place of a listener.
#[derive(Debug)]
struct Permit(Arc<AtomicUsize>);

impl Occupancy {
    fn enter(&self, max: usize) -> Option<Permit> {
        let entered = self.0.fetch_add(1, Ordering::AcqRel) < max;
        let permit = Permit(Arc::clone(&self.0));
        entered.then_some(permit)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Connections that are open in each direction, and the listeners: what the end of a sidecar waits for.
#[derive(Debug, Clone, Default)]
pub struct Open {
    connections: [Occupancy; 2],
    listeners: Occupancy,
}

impl Open {
    /// How many connections.
    pub fn count(&self, direction: Direction) -> usize {
        self.of(direction).count()
    }

    /// Nobody can come any more, and who came before is counted.
    pub fn is_closed(&self) -> bool {
        self.listeners.count() == 0
    }

    fn of(&self, direction: Direction) -> &Occupancy {
        &self.connections[usize::from(direction == Direction::Outbound)]
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts until told to stop; who has knocked by then is still let in ([`last_of`]).
pub async fn accept(
    worker: Rc<Worker>,
    id: ListenerId,
    listener: TcpListener,
    occupancy: Occupancy,
    open: Open,
    stop: impl Future<Output = ()>,
) {
    let _held = (worker.stay(id), open.listeners.enter(usize::MAX));
    let mut stop = pin!(stop);
    loop {
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(Some(accepted));
            }
            stop.as_mut().poll(cx).map(|()| None)
        })
        .await;
        match accepted {
            None => break,
            Some(Ok((stream, peer))) => admit(&worker, id, stream, peer, &occupancy, &open),
            Some(Err(error)) if is_the_peers(&error) => {}
            Some(Err(_)) => {
                worker.shared.metrics.limit_exceeded(worker.id, "file-descriptors");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    for (stream, peer) in last_of(listener).await {
        admit(&worker, id, stream, peer, &occupancy, &open);
    }
}

/// Closes a listener without resetting anybody: who would begin to knock is not heard and knocks again a second later,
/// perhaps at our successor's; whose handshake is under way finishes it and is let in.
async fn last_of(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    // Where the kernel takes no filter, whoever comes at the very end is reset.
    if SockRef::from(&listener).attach_filter(&DEAF).is_ok() {
        tokio::time::sleep(HANDSHAKE).await;
    }
    let mut last = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                last.extend(stream.map(|stream| (stream, peer)));
            }
            Err(error) if is_the_peers(&error) || error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return last,
        }
    }
}

/// The connection was gone before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn admit(
    worker: &Rc<Worker>,
    id: ListenerId,
    stream: TcpStream,
    peer: SocketAddr,
    occupancy: &Occupancy,
    open: &Open,
) {
    let metrics = worker.shared.metrics.downstream(id.direction);
    let max = worker.snapshot().limits().max_connections;
    let refused = |reason| {
        metrics.refused(worker.id, reason);
        worker.shared.metrics.limit_exceeded(worker.id, reason);
    };
    let Some(permit) = occupancy.enter(max) else { return refused("connections") };
    // The kernel gives out the lowest free number, so the number says how many are taken.
    if u64::try_from(stream.as_raw_fd()).is_ok_and(|fd| fd + RESERVED_DESCRIPTORS > worker.descriptors) {
        return refused("file-descriptors");
    }
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let snapshot = worker.snapshot_for(id);
    let (id, meant) = if snapshot.captures(id) {
        match meant_for(&snapshot, id, &stream, peer) {
            Ok((entry, meant)) => (entry, Some(meant)),
            Err(refused) => return metrics.refused(worker.id, refused.label()),
        }
    } else {
        (id, None)
    };
    let ends = Ends { peer, meant };
    metrics.accepted(worker.id);
    let held = (permit, open.of(id.direction).enter(usize::MAX), worker.stay(id));
    let accepts = snapshot.accepts(id, meant);
    if let Some(side) = snapshot.server_side(id) {
        let side = Arc::clone(side);
        return spawn(worker, tls::serve(Rc::clone(worker), id, accepts, side, (stream, ends)), held);
    }
    let down = ServerConn::new(stream, ends, worker.timers.alarm(), id.drains());
    if accepts == Accepts::Http {
        spawn(worker, http1::serve(Rc::clone(worker), id, down), held);
    } else {
        spawn(worker, tcp::serve(Rc::clone(worker), id, accepts, down), held);
    }
}

/// The entry by which a captured connection is treated, and whom it was meant for.
fn meant_for(
    snapshot: &Snapshot,
    socket: ListenerId,
    stream: &TcpStream,
    peer: SocketAddr,
) -> Result<(ListenerId, SocketAddr), Refused> {
    let meant = original_dst(stream, peer)?;
    let way = socket.direction;
    if snapshot.is_own(way, meant) || snapshot.was_dialed(way, peer, meant) {
        return Err(Refused::Loop);
    }
    let entry = snapshot.entry(socket, meant).ok_or(Refused::UnknownPort)?;
    Ok((entry, meant))
}

/// A task of its own for a connection, with what it holds until its end.
fn spawn(worker: &Rc<Worker>, connection: impl Future<Output = ()> + 'static, held: impl Sized + 'static) {
    let connection = contained(Rc::clone(worker), connection);
    tokio::task::spawn_local(async move {
        connection.await;
        drop(held);
    });
}

/// A panic ends its own connection and nothing else. Boxed, so that the task doesn't hold the connection twice.
pub fn contained(worker: Rc<Worker>, connection: impl Future<Output = ()>) -> impl Future<Output = ()> {
    let mut connection = Box::pin(connection);
    poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| connection.as_mut().poll(cx))).unwrap_or_else(|_| {
            worker.shared.metrics.connection_panicked(worker.id);
            Poll::Ready(())
        })
    })
}

#[cfg(test)]
mod tests;
