//! Between whom was a connection to be?

use std::net::SocketAddr;

/// The ends of a connection from a downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who calls.
    pub peer: SocketAddr,
    /// Whom it meant to call, where rules redirected it to us; `None`: us.
    pub meant: Option<SocketAddr>,
}

impl From<SocketAddr> for Ends {
    /// Of a connection that was meant for us.
    fn from(peer: SocketAddr) -> Self {
        Self { peer, meant: None }
    }
}
