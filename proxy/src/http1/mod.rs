//! What is on the wire of HTTP/1? Heads, framing and bodies (RFC 9112), for both sides of the proxy.
//!
//! The codec is our own on both sides, so that a request costs four system calls, no buffer while a connection is idle,
//! and the request head stays intact for a retry; [`head`] and [`body`] are strict and pure, [`wire`] moves octets,
//! [`server`] and [`client`] are the two ends.

pub mod body;
pub mod channel;
pub mod client;
pub mod encoder;
pub mod head;
pub mod server;
pub mod websocket;
pub mod wire;

pub use body::{Chunk, Decoder};
pub use channel::Channel;
pub use client::ClientConn;
pub use encoder::Encoder;
pub use server::{Ended, ServerConn};
pub use wire::Wire;
