//! What can operators and Prometheus see? Two small servers on a thread of their own, apart from the data path (BH-5).
//!
//! - `admin.listen`, loopback or a socket file unless the policy says otherwise: `pages` on what runs, and the switches
//!   that end injected faults and begin a drain.
//! - `admin.metrics`: `probes` and the scrape.
//!
//! Neither waits for a worker: what they show lies in atomics and short locks.

mod door;
mod pages;
mod probes;
mod server;
mod standing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use outrigger_config::model::{self, AdminAddress};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use self::door::Door;
use self::server::Wish;
pub use self::standing::Standing;
use crate::telemetry::WorkerId;
use crate::worker::Shared;

/// Both ports, bound and not served yet: connections wait in the backlog.
#[derive(Debug)]
pub struct Ports {
    admin: Door,
    metrics: Door,
}

/// A port or file that cannot be had.
#[derive(Debug)]
pub struct BindError {
    field: &'static str,
    addr: AdminAddress,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {} ({}): {}", self.addr, self.field, self.error)
    }
}

impl std::error::Error for BindError {}

/// The running servers. Dropped, they end by themselves.
#[derive(Debug)]
pub struct Server {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Ports {
    /// Binds both. Before anything else of a sidecar starts, so that a second one on the same ports does no harm.
    pub fn bind(wanted: &model::Admin) -> Result<Self, BindError> {
        let bind = |field, addr| Door::bind(&addr).map_err(|error| BindError { field, addr, error });
        Ok(Self {
            admin: bind("admin.listen", wanted.listen.clone())?,
            metrics: bind("admin.metrics", AdminAddress::Port(wanted.metrics))?,
        })
    }

    /// Where they listen: admin, metrics. Says which port the kernel chose for port 0.
    pub fn addrs(&self) -> io::Result<[AdminAddress; 2]> {
        Ok([self.admin.addr()?, self.metrics.addr()?])
    }

    /// Starts to answer. From now on the process is live; it is ready while it serves ([`Phase`](crate::worker::Phase)).
    pub fn serve(self, shared: Arc<Shared>, standing: Arc<Standing>) -> io::Result<Server> {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(|| work(self, shared, standing, stopped))?;
        Ok(Server { thread, stop })
    }
}

impl Server {
    /// Ends both servers, and with them what they still answer.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}

fn work(ports: Ports, shared: Arc<Shared>, standing: Arc<Standing>, stopped: oneshot::Receiver<()>) {
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "no admin interface, no metrics and no probes"),
    };
    let (same, metrics) = (Arc::clone(&shared), Arc::clone(&shared.metrics));
    let crowded = || metrics.limit_exceeded(WorkerId::CONTROL, "admin-connections");
    let pages = move |wish: Wish, path: &str| pages::page(&shared, &standing, wish, path);
    let probes = move |wish: Wish, path: &str| probes::page(&same, wish, path);
    let serving = async {
        tokio::join!(
            server::serve(ports.admin, pages, crowded),
            server::serve(ports.metrics, probes, crowded),
        )
    };
    runtime.block_on(async {
        tokio::select! {
            (Err(error), _) | (_, Err(error)) = serving => tracing::error!(%error, "the admin thread cannot listen"),
            _ = stopped => {}
        }
    });
}
