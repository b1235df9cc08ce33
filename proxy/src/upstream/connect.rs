//! How does a connection to an endpoint come about?

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use tokio::net::TcpStream;

use super::Upstream;
use super::dialed::Dialed;
use crate::policy::outcome::{ConnectFailure, TlsFailure};
use crate::telemetry::WorkerId;
use crate::tls::{Alpn, ClientSide, HandshakeError, Refusal, Stream};

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// The endpoint's doing, or the network's.
    Failed(ConnectFailure),
    /// We have no file descriptor, port or memory left: nobody was asked, and nobody is to blame but us.
    Exhausted,
}

/// A connection to an endpoint, within TLS where the upstream asks for it. The caller bounds the wait, and `stage` tells
/// it what it has waited for.
pub async fn connect(
    upstream: &Upstream,
    addr: SocketAddr,
    alpn: Alpn,
    (worker, stage): (WorkerId, &Stage),
) -> Result<Stream, ConnectError> {
    let tcp = connect_tcp(addr, upstream.stand.dialed.as_deref()).await?;
    let Some(side) = &upstream.tls else { return Ok(tcp.into()) };
    stage.set(true);
    // Boxed, so that who never shakes hands doesn't hold the room for it.
    let shaken = Box::pin(side.connect(tcp, addr.ip(), alpn)).await;
    stage.set(false);
    match shaken {
        Ok(tls) => {
            upstream.metrics.handshake(worker, if tls.is_resumed() { "resumed" } else { "full" });
            Ok(tls.into())
        }
        Err(error) => {
            upstream.metrics.handshake(worker, error.label());
            Err(ConnectError::Failed(ConnectFailure::Tls(in_short(error, side))))
        }
    }
}

/// How far a connection has come: whether a handshake is under way.
#[derive(Debug, Default)]
pub struct Stage(AtomicBool);

impl Stage {
    fn set(&self, in_handshake: bool) {
        self.0.store(in_handshake, Ordering::Relaxed);
    }

    /// What it is when time runs out.
    pub fn timed_out(&self) -> ConnectFailure {
        if self.0.load(Ordering::Relaxed) {
            ConnectFailure::Tls(TlsFailure::TimedOut)
        } else {
            ConnectFailure::TimedOut
        }
    }
}

/// Counts the handshake that was given up for this.
pub fn timed_out(upstream: &Upstream, worker: WorkerId, failure: ConnectFailure) {
    if failure == ConnectFailure::Tls(TlsFailure::TimedOut) {
        upstream.metrics.handshake(worker, "timeout");
    }
}

/// What the rest of the house makes of it; the metric has it in full.
fn in_short(error: HandshakeError, side: &ClientSide) -> TlsFailure {
    match error {
        HandshakeError::Refused(Refusal::WrongIdentity) => TlsFailure::WrongIdentity,
        HandshakeError::Refused(_) => TlsFailure::Untrusted,
        HandshakeError::RefusedByPeer => refused_by(side),
        HandshakeError::Alpn => TlsFailure::Alpn,
        HandshakeError::Version
        | HandshakeError::Incompatible
        | HandshakeError::Malformed
        | HandshakeError::Truncated => TlsFailure::Failed,
    }
}

/// What it means that an endpoint doesn't believe us.
pub fn unwelcome(upstream: &Upstream) -> ConnectFailure {
    ConnectFailure::Tls(upstream.tls.as_ref().map_or(TlsFailure::Refused, refused_by))
}

fn refused_by(side: &ClientSide) -> TlsFailure {
    if side.has_expired() { TlsFailure::Expired } else { TlsFailure::Refused }
}

/// A connected socket without Nagle's delay.
async fn connect_tcp(addr: SocketAddr, dialed: Option<&Dialed>) -> Result<TcpStream, ConnectError> {
    let connected = match dialed {
        None => TcpStream::connect(addr).await,
        Some(dialed) => dialed.connect(addr).await,
    };
    let stream = connected.map_err(|error| classify(&error))?;
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
