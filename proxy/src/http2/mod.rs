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

pub use channel::Channel;
pub use client::{ClientStream, Connection};
pub use guard::Watch;
pub use server::ServerStream;

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
