//! What do all tests need? A sidecar process, an upstream that does as told, and peers that speak raw octets.

pub mod caller;
pub mod draft;
pub mod origin;
pub mod peer;
pub mod rig;
pub mod scripted;
pub mod sidecar;

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `holds`.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An address on which nobody listens now; somebody else may take it before the caller does.
pub fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}
