//! Who calls us? Sockets, their connections, and one request after the other.

pub mod fleet;
mod http;
mod listener;
