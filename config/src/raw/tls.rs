//! What may a document say of identities and TLS?

use super::declare::{mapping, words};
use super::types::{List, Text};
use crate::model::PeerIdentity;
use crate::scalars::Host;

mapping! {
    /// Who the sidecar is. The files are watched.
    Identity {
        /// Absolute path of the directory of `tls.crt`, `tls.key`, `ca.crt` and perhaps `ca.crl`.
        "certDir" => cert_dir: Text, required;
    }
}

mapping! {
    /// How an upstream's endpoints are spoken with.
    Tls {
        /// Who proves an identity.
        "mode" => mode: TlsMode;
        /// The server's name that is asked for. Unless written: what DNS is asked for, else the first `dns:` identity.
        "sni" => sni: Host;
        /// Who the endpoints may be; each of them is one of these.
        "peerIdentities" => peer_identities: List<PeerIdentity>;
        /// With `mode: simple`, absolute path of the roots to trust instead of the system's.
        "caFile" => ca_file: Text;
    }
}

/// Who proves an identity to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Mutual,
    Simple,
    Off,
}

/// What an inbound port asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortTls {
    Strict,
    Permissive,
    Off,
}

words!(TlsMode { "mutual" => Self::Mutual, "simple" => Self::Simple, "off" => Self::Off, });
words!(PortTls { "strict" => Self::Strict, "permissive" => Self::Permissive, "off" => Self::Off, });
