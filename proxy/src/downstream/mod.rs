//! Who calls us? Sockets, their connections, and one request after the other.

pub mod fleet;
mod http1;
mod http2;
mod listener;
pub mod original_dst;
mod tls;
