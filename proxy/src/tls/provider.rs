//! Which cryptography? aws-lc, the order of its key exchanges, and the versions of TLS.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

/// Between sidecars, which are all ours.
pub(super) const INSIDE: &[&SupportedProtocolVersion] = &[&TLS13];
/// Towards services that are not.
pub(super) const OUTSIDE: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What is spoken inside (RFC 7301), as it is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
    /// HTTP/2 or HTTP/1.1, in this order of preference.
    Either,
    /// No HTTP at all. Between sidecars it is said, so that none takes it for HTTP; others needn't know our word for it.
    Tcp,
    /// Any of these.
    Any,
}

impl Alpn {
    pub(super) const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Either, Self::Tcp, Self::Any];

    /// RFC 7301 §6, and a word of ours.
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[b"h2"],
            Self::Either => &[b"h2", b"http/1.1"],
            Self::Tcp => &[TCP],
            Self::Any => &[b"h2", b"http/1.1", TCP],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// Octets, whatever they mean.
pub(super) const TCP: &[u8] = b"outrigger-tcp";

/// The one provider of the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        // draft-ietf-tls-ecdhe-mlkem §3: what is recorded today stays secret when there are quantum computers. A client
        // sends the X25519 half as a share of its own, so a server without ML-KEM costs no round trip.
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
    });
    Arc::clone(&PROVIDER)
}
