//! How does a connection to an endpoint come about?

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::policy::outcome::ConnectFailure;

/// A connected socket without Nagle's delay. The caller bounds the wait.
pub async fn connect(addr: SocketAddr) -> Result<TcpStream, ConnectFailure> {
    let stream = TcpStream::connect(addr).await.map_err(|error| classify(&error))?;
    stream.set_nodelay(true).map_err(|error| classify(&error))?;
    Ok(stream)
}

fn classify(error: &io::Error) -> ConnectFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Unreachable,
    }
}
