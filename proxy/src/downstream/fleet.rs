//! Who carries the traffic? The worker threads, what they are told, and the listeners that they hold together.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use outrigger_config::model::twin;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};

use super::listener::{Occupancy, Open, accept, bind};
use crate::clock::now;
use crate::snapshot::ListenerId;
use crate::telemetry::WorkerId;
use crate::worker::{Leaving, Shared, Worker};

/// How often idle upstream connections are looked after.
const SWEEP: Duration = Duration::from_secs(1);
/// How long they are left alone after that, however many want one of them: hardly longer than it takes to connect, and
/// long beside a look at them all.
const REST: Duration = Duration::from_millis(5);

/// All workers.
#[derive(Debug)]
pub struct Fleet {
    crew: Vec<Crew>,
    listeners: BTreeMap<ListenerId, Occupancy>,
    open: Open,
}

#[derive(Debug)]
struct Crew {
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

/// What a worker is told.
enum Order {
    Listen(ListenerId, std::net::TcpListener, Occupancy),
    Unlisten(ListenerId),
    Drain(Duration),
    Dismiss,
}

/// Sockets that are bound and not yet served: a generation that cannot have all of its ports has none.
#[derive(Debug)]
pub struct Bound(Vec<(ListenerId, Vec<std::net::TcpListener>)>);

/// A port that cannot be had.
#[derive(Debug)]
pub struct BindError {
    /// Which.
    pub listener: ListenerId,
    /// Why.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.listener.addr, self.error)
    }
}

impl Fleet {
    /// Starts `workers` threads.
    pub fn start(shared: &Arc<Shared>, workers: usize, descriptors: u64) -> io::Result<Self> {
        let open = Open::default();
        let start = |id: usize| {
            let (orders, receiver) = mpsc::unbounded_channel();
            let (shared, open) = (Arc::clone(shared), open.clone());
            let thread = thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || work(WorkerId::new(id), shared, descriptors, open, receiver))?;
            Ok(Crew { orders, thread: Some(thread) })
        };
        let crew = (0..workers).map(start).collect::<io::Result<_>>()?;
        Ok(Self { crew, listeners: BTreeMap::new(), open })
    }

    /// One worker without a thread: a task of this thread's `LocalRuntime`, so that whoever drives that runtime's clock
    /// drives the worker's. It ends with the runtime.
    pub fn here(shared: &Arc<Shared>, descriptors: u64) -> Self {
        let open = Open::default();
        let (orders, receiver) = mpsc::unbounded_channel();
        let worker = Worker::new(WorkerId::new(0), Arc::clone(shared), descriptors);
        tokio::task::spawn_local(live(worker, open.clone(), receiver));
        Self { crew: vec![Crew { orders, thread: None }], listeners: BTreeMap::new(), open }
    }

    /// Binds what is wanted and not there yet.
    pub fn bind(&self, wanted: &[ListenerId], backlog: u32) -> Result<Bound, BindError> {
        let missing = wanted.iter().filter(|id| !self.listeners.contains_key(id));
        let mut bound = Vec::new();
        for &listener in missing {
            let is_twin = wanted.iter().any(|other| twin(other.addr) == Some(listener.addr));
            let sockets: io::Result<_> =
                self.crew.iter().map(|_| bind(listener.addr, is_twin, backlog)).collect();
            match sockets {
                Ok(sockets) => bound.push((listener, sockets)),
                // Where there is no IPv6, none is redirected.
                Err(error) if is_twin && lacks_v6(&error) => {}
                Err(error) => return Err(BindError { listener, error }),
            }
        }
        Ok(Bound(bound))
    }

    /// Serves what was bound, and ends what is no longer wanted: nothing new comes there, what is there goes on.
    pub fn serve(&mut self, bound: Bound, wanted: &[ListenerId]) {
        for (id, sockets) in bound.0 {
            let occupancy = Occupancy::default();
            for (crew, socket) in self.crew.iter().zip(sockets) {
                let _ = crew.orders.send(Order::Listen(id, socket, occupancy.clone()));
            }
            self.listeners.insert(id, occupancy);
        }
        self.listeners.retain(|id, _| {
            let stays = wanted.contains(id);
            if !stays {
                self.crew.iter().for_each(|crew| drop(crew.orders.send(Order::Unlisten(*id))));
            }
            stays
        });
    }

    /// Inbound connections are told to go, idle ones one after the other within `spread`.
    pub fn drain(&self, spread: Duration) {
        self.crew.iter().for_each(|crew| drop(crew.orders.send(Order::Drain(spread))));
    }

    /// Nobody new is let in.
    pub fn close(&mut self) {
        self.serve(Bound(Vec::new()), &[]);
    }

    /// Everybody is told to go after the exchange in hand, the service itself too.
    pub fn dismiss(&self) {
        self.crew.iter().for_each(|crew| drop(crew.orders.send(Order::Dismiss)));
    }

    /// Who is here, for as long as the fleet lives and longer.
    pub fn open(&self) -> Open {
        self.open.clone()
    }

    /// Ends all threads, and with them whatever is still open.
    pub fn stop(mut self) {
        for crew in &mut self.crew {
            let (orders, _) = mpsc::unbounded_channel();
            crew.orders = orders;
        }
        for thread in self.crew.iter_mut().filter_map(|crew| crew.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// The host has no such address, or nothing of the kind.
fn lacks_v6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].map(Some).contains(&errno)
}

/// A worker's thread.
fn work(
    id: WorkerId,
    shared: Arc<Shared>,
    descriptors: u64,
    open: Open,
    orders: mpsc::UnboundedReceiver<Order>,
) {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a worker cannot start"),
    };
    runtime.block_on(async { live(Worker::new(id, shared, descriptors), open, orders).await });
}

/// A worker's life on the runtime of its thread.
async fn live(worker: Rc<Worker>, open: Open, orders: mpsc::UnboundedReceiver<Order>) {
    tokio::task::spawn_local(Rc::clone(&worker.timers).tick());
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    obey(worker, open, orders).await;
}

/// Does as told, until nobody can tell it anything any more.
async fn obey(worker: Rc<Worker>, open: Open, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut stops = BTreeMap::new();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Listen(id, socket, occupancy) => {
                let listener = match TcpListener::from_std(socket) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(%error, listener = %id.addr, "a worker cannot listen");
                        continue;
                    }
                };
                let (stop, stopped) = oneshot::channel::<()>();
                stops.insert(id, stop);
                let stopped = async move { drop(stopped.await) };
                tokio::task::spawn_local(accept(
                    Rc::clone(&worker),
                    id,
                    listener,
                    occupancy,
                    open.clone(),
                    stopped,
                ));
            }
            Order::Unlisten(id) => drop(stops.remove(&id)),
            Order::Drain(spread) => {
                worker.leaving.set(Leaving::Callers);
                worker.timers.hasten_idle(now(), spread);
            }
            Order::Dismiss => {
                worker.leaving.set(Leaving::Everybody);
                worker.timers.hasten_idle(now(), Duration::ZERO);
            }
        }
    }
}

/// Looks after idle upstream connections, which nobody else polls: now and then, and when one may have use elsewhere.
async fn sweep(worker: Rc<Worker>) {
    let mut wanted = worker.shared.wanted.subscribe();
    let trusts = || {
        let snapshot = worker.snapshot();
        snapshot.tls.as_ref().map(|tls| tls.credentials().trust_generation())
    };
    let mut trust = trusts();
    loop {
        due(&mut wanted).await;
        poll_fn(|cx| {
            worker.tidy();
            let trusted = std::mem::replace(&mut trust, trusts());
            if trusted != trust {
                // Whoever waits for a request looks whether its peer is still believed.
                worker.timers.hasten_idle(now(), SWEEP);
            }
            worker.pools.sweep(cx, &worker.scratch, now());
            worker.multiplexed.sweep(now());
            Poll::Ready(())
        })
        .await;
    }
}

/// Until they are to be looked after again. Who asks meanwhile is heard after the rest.
async fn due(wanted: &mut watch::Receiver<()>) {
    tokio::time::sleep(REST).await;
    let _ = tokio::time::timeout(SWEEP, wanted.changed()).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bh_2_many_who_want_a_connection_cost_one_look() {
        let (wants, mut wanted) = watch::channel(());
        let began = Instant::now();
        let looking = async {
            for looks in 1.. {
                due(&mut wanted).await;
                if began.elapsed() >= 20 * REST {
                    return looks;
                }
            }
            0
        };
        let asking = async {
            loop {
                wants.send_replace(());
                sleep(REST / 5).await;
            }
        };
        let looks = tokio::select! {
            looks = looking => looks,
            () = asking => unreachable!("it asks for ever"),
        };
        assert!((10..=20).contains(&looks), "{looks}");
        due(&mut wanted).await;
        let began = Instant::now();
        wants.send_replace(());
        due(&mut wanted).await;
        assert!(began.elapsed() < 2 * REST, "who asks during the rest is heard after it");
    }
}
