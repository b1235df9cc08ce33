//! What is on the wire of HTTP/1? Heads, framing and bodies (RFC 9112), for both sides of the proxy.
//!
//! The codec is our own on both sides, so that a request costs four system calls, no buffer while a connection is idle,
//! and the request head stays intact for a retry; [`head`] and [`body`] are strict and pure, [`wire`] moves octets,
//! [`server`] and [`client`] are the two ends.

pub mod body;
pub mod client;
pub mod encoder;
pub mod head;
pub mod known;
pub mod server;
pub mod transfer;
pub mod wire;

pub use body::{Chunk, Decoder, Framing, Malformation, TrailerLimits};
pub use client::{ClientConn, ReceiveError};
pub use encoder::Encoder;
pub use head::{HeadError, HeadLimits, RequestHead, ResponseHead, Version};
pub use known::Known;
pub use server::{Ended, ServerConn};
pub use transfer::{TransferError, poll_transfer};
pub use wire::{Scratch, Wire};
