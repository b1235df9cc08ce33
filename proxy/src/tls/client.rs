//! How do we call others? By the name that the policy gives them, and only if they prove whom it expects.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_config::model::{PeerIdentity, UpstreamTls};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::{CertificateDer, IpAddr, ServerName};

use super::credentials::{Credentials, Following};
use super::identity::Identity;
use super::peer::{PeerCert, proves};
use super::provider::{Alpn, INSIDE, OUTSIDE, provider};
use super::refusal::Refusal;
use super::trust::Trust;
use super::verify::Expected;

/// Our side of handshakes with an upstream. Follows the credentials by itself.
#[derive(Debug)]
pub struct ClientSide {
    sni: Option<ServerName<'static>>,
    peers: Arc<[PeerIdentity]>,
    trusts: Trusts,
}

#[derive(Debug)]
enum Trusts {
    /// Roots of their own, and nothing that changes.
    Simple([Arc<ClientConfig>; Alpn::ALL.len()]),
    /// Those of our identity.
    Mutual { credentials: Arc<Credentials>, configs: Following<ClientConfig> },
}

impl ClientSide {
    /// As an upstream's policy says; `None`: in plaintext. Reads `caFile` or the system's roots. The error is for people.
    pub fn new(tls: &UpstreamTls, credentials: Option<&Arc<Credentials>>) -> Result<Option<Self>, String> {
        match tls {
            UpstreamTls::Off => Ok(None),
            UpstreamTls::Simple { sni, peers, ca_file } => {
                let trust = Arc::new(Trust::outside(ca_file.as_deref().map(Path::new))?);
                let peers: Arc<[_]> = peers.as_slice().into();
                let trusts = Trusts::Simple(configs(&trust, &peers, None));
                Ok(Some(Self { sni: name(sni.as_deref()), peers, trusts }))
            }
            UpstreamTls::Mutual { sni, peers } => {
                let credentials = credentials.ok_or("`mode: mutual` without an identity")?;
                let peers: Arc<[_]> = peers.as_slice().into();
                let following = Following::new(&credentials.current(), |identity| mutual(identity, &peers));
                let trusts = Trusts::Mutual { credentials: Arc::clone(credentials), configs: following };
                Ok(Some(Self { sni: name(sni.as_deref()), peers, trusts }))
            }
        }
    }

    /// Whose identity it shows; `None`: nobody's.
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        match &self.trusts {
            Trusts::Mutual { credentials, .. } => Some(credentials),
            Trusts::Simple(_) => None,
        }
    }

    /// The certificate that it shows is one that nobody believes any more.
    pub fn has_expired(&self) -> bool {
        let left = |ours: &Arc<Credentials>| ours.identity().leaf.left(SystemTime::now());
        self.credentials().is_some_and(|ours| left(ours).is_zero())
    }

    /// What to ask for at this endpoint. An address is not sent (RFC 6066 §3), but sessions are kept by it, so that each
    /// endpoint gets back its own tickets.
    pub(super) fn server_name(&self, endpoint: std::net::IpAddr) -> ServerName<'static> {
        self.sni.clone().unwrap_or_else(|| ServerName::IpAddress(IpAddr::from(endpoint)))
    }

    /// For the next handshake, with the identity in use. One that has expired is shown: to take up an earlier session
    /// instead would leave it to each server when, and in which words, it refuses us.
    pub(super) fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let config = self.usual(alpn);
        if !self.has_expired() {
            return config;
        }
        let mut config = Arc::unwrap_or_clone(config);
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    fn usual(&self, alpn: Alpn) -> Arc<ClientConfig> {
        match &self.trusts {
            Trusts::Simple(configs) => Arc::clone(&configs[alpn as usize]),
            Trusts::Mutual { credentials, configs } => {
                configs.get(&credentials.current(), alpn, |identity| mutual(identity, &self.peers))
            }
        }
    }

    /// Who answered, by the certificates of a finished handshake: one of those whom the policy expects.
    pub fn peer(&self, shown: Option<&[CertificateDer<'static>]>) -> Result<PeerCert, Refusal> {
        PeerCert::shown(shown, |leaf| proves(leaf, &self.peers).cloned())
    }
}

fn mutual(identity: &Identity, peers: &Arc<[PeerIdentity]>) -> [Arc<ClientConfig>; Alpn::ALL.len()] {
    configs(&identity.trust, peers, Some(identity))
}

/// With a store of sessions of its own: none outlives the identity or the roots that it was made with.
fn configs(
    trust: &Arc<Trust>,
    peers: &Arc<[PeerIdentity]>,
    identity: Option<&Identity>,
) -> [Arc<ClientConfig>; Alpn::ALL.len()] {
    Alpn::ALL.map(|alpn| {
        let verifier = Expected { trust: Arc::clone(trust), peers: Arc::clone(peers) };
        let versions = if identity.is_some() { INSIDE } else { OUTSIDE };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has cipher suites of both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.key))))
            }
            None => builder.with_no_client_auth(),
        };
        // A service outside may refuse those who offer only what it doesn't know (RFC 7301 §3.2).
        if alpn != Alpn::Tcp || identity.is_some() {
            config.alpn_protocols = alpn.protocols();
        }
        Arc::new(config)
    })
}

fn name(sni: Option<&str>) -> Option<ServerName<'static>> {
    sni.and_then(|name| ServerName::try_from(name.to_owned()).ok())
}
