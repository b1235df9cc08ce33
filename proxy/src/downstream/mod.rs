//! Who calls us? Sockets, their connections, and one request after the other.

mod detect;
pub mod fleet;
mod hello;
mod http1;
mod http2;
mod listener;
pub mod original_dst;
mod tcp;
mod tls;
