//! How do we answer those who call us? With our certificate, and only if they show one that we believe.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;

use super::credentials::{Credentials, Following};
use super::identity::Identity;
use super::peer::{Leaf, PeerCert};
use super::provider::{Alpn, INSIDE, provider};
use super::refusal::Refusal;
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

    /// Who called, by the certificates of a finished handshake.
    pub fn peer(&self, shown: Option<&[CertificateDer<'static>]>) -> Result<PeerCert, Refusal> {
        PeerCert::shown(shown, |leaf| Leaf::read(leaf)?.identity().ok_or(Refusal::Malformed))
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
        // Whatever is offered for a port that carries no HTTP is the application's business.
        if alpn != Alpn::Tcp {
            config.alpn_protocols = alpn.protocols();
        }
        if let Some(ticketer) = &ticketer {
            config.ticketer = Arc::clone(ticketer);
        }
        Arc::new(config)
    })
}
