//! What is on the wire of HTTP/2? Streams of a shared connection (RFC 9113), for both sides of the proxy.
//!
//! Frames, HPACK and flow control are the `h2` crate's. Ours is what it leaves to its user: [`guard`] counts what a peer
//! may make us do, [`fields`] turns heads into those of [`crate::message`] and back, [`channel`] passes content on,
//! [`server`] and [`client`] are the two ends.

pub mod channel;
pub mod client;
pub mod fields;
pub mod guard;
mod scan;
pub mod server;
mod tally;

use std::time::Duration;

pub use channel::Channel;
pub use client::{ClientStream, Connection};
pub use guard::Watch;
pub use server::ServerStream;

/// Octets that one stream may have waiting to be sent.
const SEND_BUFFER: usize = 32 * 1024;

/// For how long a connection takes requests, by a `chance` in `[0, 1]`: not all end at one moment (REQUIREMENTS U16).
pub fn life(longest: Duration, chance: f64) -> Duration {
    longest.mul_f64(1.0 - chance / 10.0)
}

/// What small DATA frames may cost that wait to be passed on, in the `h2` crate's measure: what each lacks to 256 octets. By
/// default that is half a connection's window, which 2,000 short messages of a stream that is held up exceed, and with it
/// falls the whole connection; by this it takes sixteen times as many, which are some 8 MiB of ours.
pub fn small_frames(connection_window: u32) -> usize {
    connection_window as usize * 8
}

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
