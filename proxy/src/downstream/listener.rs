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
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::original_dst::{Refused, original_dst};
use super::{http1, tcp, tls};
use crate::http1::ServerConn;
use crate::message::Ends;
use crate::snapshot::{ListenerId, Snapshot};
use crate::worker::Worker;

/// How long accepting rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
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
}

/// Connections that are open in each direction, over all listeners: what a drain waits for.
#[derive(Debug, Clone, Default)]
pub struct Open([Occupancy; 2]);

impl Open {
    fn enter(&self, direction: Direction) -> Option<Permit> {
        self.of(direction).enter(usize::MAX)
    }

    /// How many.
    pub fn count(&self, direction: Direction) -> usize {
        self.of(direction).0.load(Ordering::Acquire)
    }

    fn of(&self, direction: Direction) -> &Occupancy {
        &self.0[usize::from(direction == Direction::Outbound)]
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts until told to stop; connections that are in the backlog then are still taken.
pub async fn accept(
    worker: Rc<Worker>,
    id: ListenerId,
    listener: TcpListener,
    occupancy: Occupancy,
    open: Open,
    stop: impl Future<Output = ()>,
) {
    let _stay = worker.stay(id);
    let mut stop = pin!(stop);
    let mut stopping = false;
    loop {
        let accepted = poll_fn(|cx| {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(Some(accepted));
            }
            stopping = stopping || stop.as_mut().poll(cx).is_ready();
            if stopping { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        match accepted {
            None => return,
            Some(Ok((stream, peer))) => admit(&worker, id, stream, peer, &occupancy, &open),
            Some(Err(error)) if is_the_peers(&error) => {}
            Some(Err(_)) => {
                worker.shared.metrics.limit_exceeded(worker.id, "file-descriptors");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
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
    let held = (permit, open.enter(id.direction), worker.stay(id));
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
