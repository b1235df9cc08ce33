//! What do all tests need? A sidecar process, an upstream that does as told, and peers that speak raw octets.

pub mod authority;
pub mod caller;
pub mod draft;
pub mod frames;
pub mod inside;
pub mod link;
pub mod namespaces;
pub mod origin;
pub mod peer;
pub mod rig;
pub mod scripted;
pub mod secret;
pub mod server;
pub mod servers;
pub mod sidecar;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

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

/// An address on which nobody listens now. It lies below the ports that the kernel hands out by itself, so that no
/// connection and no origin of another test takes it meanwhile; two processes may still choose the same.
pub fn free_addr() -> SocketAddr {
    static CHOSEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = CHOSEN.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + process::id().wrapping_mul(97).wrapping_add(nth) % 20_000;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("it is below 30,000")));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}
