//! How do we answer those who call us? With our certificate, and only if they show one that we believe.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::credentials::{Credentials, Following};
use super::identity::Identity;
use super::peer::{Leaf, PeerCert};
use super::provider::{Alpn, INSIDE, provider};
use super::refusal::Refusal;
use super::trust::Usage;
use super::verify::Callers;

/// Our side of inbound handshakes. Follows the credentials by itself.
#[derive(Debug)]
pub struct ServerSide {
    credentials: Arc<Credentials>,
    configs: Following<ServerConfig>,
}

impl ServerSide {
    /// By these credentials.
    pub fn new(credentials: Arc<Credentials>) -> Self {
        let configs = Following::new(&credentials.current(), configs);
        Self { credentials, configs }
    }

    /// Whose they are.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// For the next handshake, with the identity in use.
    pub(super) fn config(&self, alpn: Alpn) -> Arc<ServerConfig> {
        self.configs.get(&self.credentials.current(), alpn, configs)
    }

    /// Who called, by the certificates of a finished handshake. A session that was resumed (RFC 8446 §2.2) is judged by
    /// the time of now: its certificate was verified earlier, and may have expired.
    pub fn peer(&self, shown: Option<&[CertificateDer<'static>]>) -> Result<PeerCert, Refusal> {
        let chain = shown.unwrap_or_default();
        let leaf = Leaf::read(chain.first().ok_or(Refusal::NoCertificate)?)?;
        let now = UnixTime::now();
        if now.as_secs().cast_signed() > leaf.not_after {
            return Err(Refusal::Expired);
        }
        Ok(PeerCert::new(leaf.identity().ok_or(Refusal::Malformed)?, chain, now))
    }

    /// Whether a live connection's peer would still be let in, by the roots and lists of now. That its certificate has
    /// expired meanwhile is no reason: it was valid when it was shown, and its successor is for the next connection.
    pub fn still_trusts(&self, peer: &PeerCert) -> Result<(), Refusal> {
        let trust = Arc::clone(&self.credentials.current().identity.trust);
        peer.judged_by(&trust, Usage::Client)
    }
}

fn configs(identity: &Identity) -> [Arc<ServerConfig>; Alpn::ALL.len()] {
    // Tickets of another identity's time are refused: they would bring in those whom its roots vouched for.
    let ticketer = Ticketer::new().inspect_err(|error| tracing::warn!(%error, "no session tickets")).ok();
    Alpn::ALL.map(|alpn| {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(INSIDE)
            .expect("the provider has cipher suites of TLS 1.3")
            .with_client_cert_verifier(Arc::new(Callers { trust: Arc::clone(&identity.trust) }))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))));
        config.alpn_protocols = alpn.protocols();
        if let Some(ticketer) = &ticketer {
            config.ticketer = Arc::clone(ticketer);
        }
        Arc::new(config)
    })
}
