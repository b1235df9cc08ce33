//! Who is who? Identities that certificates prove, and whom TLS is spoken with.

use std::sync::Arc;

/// What a workload is called over its certificate: `spiffe://trust-domain/path` (SPIFFE-ID §2). Made only by the parser.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    pub(crate) text: Arc<str>,
    /// Where the trust domain ends in `text`.
    pub(crate) domain_end: usize,
}

/// An identity that a certificate proves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerIdentity {
    /// By its URI SAN.
    Spiffe(SpiffeId),
    /// By a DNS SAN; lower case, never a wildcard.
    Dns(Arc<str>),
}

/// Where the sidecar's own identity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Holds `tls.crt`, `tls.key`, `ca.crt` and perhaps `ca.crl`. Absolute.
    pub cert_dir: String,
}

/// What an inbound port asks of those who call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundTls {
    /// Plaintext only.
    Off,
    /// Mutual TLS, or plaintext without an identity: for the time in which callers change over.
    Permissive,
    /// Mutual TLS only.
    Strict {
        /// Paths, exact, that plaintext may ask for all the same: probes of those who have no certificate.
        plaintext_paths: Vec<String>,
    },
}

/// How an upstream's endpoints are spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    /// Plaintext.
    Off,
    /// They prove who they are, we don't: services outside.
    Simple {
        /// The server's name (RFC 6066 §3); `None`: it is told none.
        sni: Option<String>,
        /// Any of these must be proved. Not empty.
        peers: Vec<PeerIdentity>,
        /// Absolute path of the roots to trust; `None`: the system's.
        ca_file: Option<String>,
    },
    /// Both prove who they are, by the roots of [`IdentityFiles`].
    Mutual {
        /// The server's name (RFC 6066 §3); `None`: it is told none.
        sni: Option<String>,
        /// Any of these must be proved. Not empty.
        peers: Vec<PeerIdentity>,
    },
}

impl SpiffeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id as shared text.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Who vouches for it: the part before the path.
    pub fn trust_domain(&self) -> &str {
        &self.text[Self::SCHEME.len()..self.domain_end]
    }

    /// What the trust domain calls it: from the first `/` on.
    pub fn path(&self) -> &str {
        &self.text[self.domain_end..]
    }
}
