//! Does a fault stay where it is? Breakers, ejection and checks before real upstreams.

mod balance;
mod breaker;
mod defaults;
mod grpc;
mod health;
mod outlier;
mod patience;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::draft::answer;
use crate::support::origin::{Origin, Reply};

/// An origin that answers checks and real requests as it is told meanwhile.
struct Patient {
    origin: Origin,
    /// By path: `/ping`, `/ready`, and all else.
    says: [Arc<AtomicU16>; 3],
}

const PING: usize = 0;
const READY: usize = 1;
const ELSE: usize = 2;

impl Patient {
    /// All is well.
    fn well() -> Self {
        let says = [(); 3].map(|()| Arc::new(AtomicU16::new(200)));
        let told = says.clone();
        let origin = Origin::start(move |_, request| {
            let nth = match request.target() {
                "/ping" => PING,
                "/ready" => READY,
                _ => ELSE,
            };
            Reply::Answer(answer(told[nth].load(Ordering::SeqCst)))
        });
        Self { origin, says }
    }

    /// From now on.
    fn say(&self, nth: usize, status: u16) {
        self.says[nth].store(status, Ordering::SeqCst);
    }

    /// Requests that were no checks.
    fn real(&self) -> usize {
        self.origin.seen().iter().filter(|seen| !["/ping", "/ready"].contains(&seen.message.target())).count()
    }

    fn addr(&self) -> SocketAddr {
        self.origin.addr
    }
}

fn addrs(patients: &[Patient]) -> Vec<SocketAddr> {
    patients.iter().map(Patient::addr).collect()
}
