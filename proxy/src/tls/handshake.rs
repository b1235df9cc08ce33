//! How does a connection get into TLS, or why doesn't it? One word for every way to fail.

use std::io;
use std::net::IpAddr;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::net::TcpStream;

use super::client::ClientSide;
use super::proof::{Marks, Proof};
use super::provider::Alpn;
use super::refusal::Refusal;
use super::secure::{ALERT, Tls};
use super::server::ServerSide;
use super::session::Session;
use super::trust::Usage;

/// How a record of a handshake begins, and nothing that HTTP knows (RFC 8446 §5.1).
pub const HANDSHAKE: u8 = 22;
/// How much we go on reading after a handshake that failed.
const LINGER: usize = 64 * 1024;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeError {
    /// We don't believe the peer.
    Refused(Refusal),
    /// The peer doesn't believe us, or wants nothing to do with us.
    RefusedByPeer,
    /// No version of TLS in common.
    Version,
    /// No cipher suite, key exchange or signature in common.
    Incompatible,
    /// What is to be spoken inside is not spoken by both (RFC 7301 §3.2).
    Alpn,
    /// What came is not TLS.
    Malformed,
    /// The connection ended in the middle.
    Truncated,
}

impl HandshakeError {
    /// A label of `tls_handshakes_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.label(),
            Self::RefusedByPeer => "refused-by-peer",
            Self::Version => "wrong-version",
            Self::Incompatible => "incompatible",
            Self::Alpn => "wrong-alpn",
            Self::Malformed => "malformed-handshake",
            Self::Truncated => "truncated",
        }
    }

    fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        tls.map_or(Self::Truncated, Self::of_tls)
    }

    fn of_tls(error: &Error) -> Self {
        if let Some(refusal) = Refusal::of(error) {
            return Self::Refused(refusal);
        }
        match error {
            Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::Alpn
            }
            Error::AlertReceived(AlertDescription::ProtocolVersion)
            | Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                // Who says nothing of signatures is older than TLS 1.2 (RFC 5246 §7.4.1.4.1).
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::Version,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::AlertReceived(_) => Self::RefusedByPeer,
            _ => Self::Malformed,
        }
    }
}

/// The peer has ended a connection with an alert that refuses us. Within TLS 1.3 that may be how it answers our certificate, after the
/// handshake is over on our side (RFC 8446 §4.4.2.4): it has looked at nothing that we sent.
pub fn is_alert(error: &io::Error) -> bool {
    error.kind() == ALERT
}

/// A handshake that failed. The peer may not have heard why yet.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: HandshakeError,
    tls: Tls,
}

impl Failed {
    /// Ends our direction, and reads on until the peer ends its own: what it has sent already would be answered with a
    /// reset, and that would overtake the alert. The caller bounds the wait.
    pub async fn part(mut self) {
        self.tls.part(LINGER).await;
    }
}

impl ServerSide {
    /// Answers a handshake, of which `ahead` was read already. The caller bounds the wait.
    pub async fn accept(&self, tcp: TcpStream, ahead: &[u8], alpn: Alpn) -> Result<Tls, Box<Failed>> {
        let marks = Marks::of(Some(self.credentials()));
        let conn =
            UnbufferedServerConnection::new(self.config(alpn)).expect("no configuration of ours is refused");
        let tls = shake_hands(tcp, Session::server(conn), ahead).await?;
        match self.peer(tls.session.state().peer_certificates()) {
            Ok(peer) => Ok(tls.proved(Proof::new(peer, Usage::Client, marks))),
            Err(refusal) => Err(Box::new(Failed { error: HandshakeError::Refused(refusal), tls })),
        }
    }
}

impl ClientSide {
    /// Begins a handshake with the endpoint at this address. The caller bounds the wait.
    pub async fn connect(&self, tcp: TcpStream, at: IpAddr, alpn: Alpn) -> Result<Tls, HandshakeError> {
        let marks = Marks::of(self.credentials());
        let conn = UnbufferedClientConnection::new(self.config(alpn), self.server_name(at))
            .map_err(|error| HandshakeError::of_tls(&error))?;
        let tls = shake_hands(tcp, Session::client(conn), &[]).await.map_err(|failed| failed.error)?;
        let peer = self.peer(tls.session.state().peer_certificates()).map_err(HandshakeError::Refused)?;
        Ok(tls.proved(Proof::new(peer, Usage::Server, marks)))
    }
}

async fn shake_hands(tcp: TcpStream, session: Session, ahead: &[u8]) -> Result<Tls, Box<Failed>> {
    let mut tls = Tls::new(tcp, session);
    match tls.shake_hands(ahead).await {
        Ok(()) => Ok(tls),
        Err(error) => Err(Box::new(Failed { error: HandshakeError::of(&error), tls })),
    }
}
