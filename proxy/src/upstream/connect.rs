//! How does a connection to an endpoint come about?

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use tokio::net::TcpStream;

use crate::policy::outcome::ConnectFailure;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// The endpoint's doing, or the network's.
    Failed(ConnectFailure),
    /// We have no file descriptor, port or memory left: nobody was asked, and nobody is to blame but us.
    Exhausted,
}

/// A connected socket without Nagle's delay. The caller bounds the wait.
pub async fn connect(addr: SocketAddr) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect(addr).await.map_err(|error| classify(&error))?;
    stream.set_nodelay(true).map_err(|error| classify(&error))?;
    Ok(stream)
}

fn classify(error: &io::Error) -> ConnectError {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    if Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno)) {
        return ConnectError::Exhausted;
    }
    ConnectError::Failed(match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Unreachable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_is_not_blamed_on_the_endpoint() {
        let of = |errno: Errno| classify(&io::Error::from(errno));
        assert_eq!(of(Errno::MFILE), ConnectError::Exhausted);
        assert_eq!(of(Errno::ADDRNOTAVAIL), ConnectError::Exhausted);
        assert_eq!(of(Errno::CONNREFUSED), ConnectError::Failed(ConnectFailure::Refused));
        assert_eq!(of(Errno::HOSTUNREACH), ConnectError::Failed(ConnectFailure::Unreachable));
    }
}
