//! Who vouches for a certificate, and has nobody taken it back? Chains, validity, key usage, revocation, in one place.

use std::fmt;
use std::path::Path;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};

use super::pem;
use super::provider::provider;
use super::refusal::Refusal;

/// Which end of a connection a certificate is shown by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Client,
    Server,
}

/// Roots, and what they took back.
pub(super) struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
}

/// Why there is nobody to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrustError {
    /// The roots are no PEM, or one of them no certificate.
    Roots,
    /// There is none.
    NoRoots,
    /// The lists of revoked certificates are no PEM, or one of them no such list.
    Revoked,
}

impl Trust {
    /// All certificates of `roots` are trusted, and all lists in `revoked` are heeded; both PEM.
    pub(super) fn new(roots: &[u8], revoked: Option<&[u8]>) -> Result<Self, TrustError> {
        let roots = pem::certificates(roots).ok_or(TrustError::Roots)?;
        let anchor = |root| Some(anchor_from_trusted_cert(root).ok()?.to_owned());
        let anchors = roots.iter().map(anchor).collect::<Option<Vec<_>>>().ok_or(TrustError::Roots)?;
        if anchors.is_empty() {
            return Err(TrustError::NoRoots);
        }
        let lists = revoked.map_or(Some(Vec::new()), pem::revocations).ok_or(TrustError::Revoked)?;
        let list = |der: &_| Some(BorrowedCertRevocationList::from_der(der).ok()?.to_owned().ok()?.into());
        let revoked = lists.iter().map(|der| list(der)).collect::<Option<_>>().ok_or(TrustError::Revoked)?;
        Ok(Self { anchors, revoked })
    }

    /// The roots in this file, else the system's. The error is for people.
    pub(super) fn outside(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else { return Self::system() };
        let roots = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::new(&roots, None).map_err(|_| format!("{}: no certificates in PEM", file.display()))
    }

    /// Those that come with the distribution, which takes back what browsers distrust; roots compiled into a binary age with
    /// it, and know no company's own authority.
    fn system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let anchor = |root| Some(anchor_from_trusted_cert(root).ok()?.to_owned());
        let anchors: Vec<_> = found.certs.iter().filter_map(anchor).collect();
        if anchors.is_empty() {
            let reason = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            return Err(format!("the system has no roots to trust{reason}; write `caFile`"));
        }
        Ok(Self { anchors, revoked: Vec::new() })
    }

    /// Nothing of theirs is taken back, whatever lists say: to judge ourselves by.
    pub(super) fn without_revocations(&self) -> Self {
        Self { anchors: self.anchors.clone(), revoked: Vec::new() }
    }

    /// A root vouches for `leaf`, which is valid `at` that time, meant for this `usage`, and not taken back.
    ///
    /// RFC 5280 §6 by `webpki`. Only issuers with a list are asked whether they took something back, for every
    /// certificate of the path; a list past its `nextUpdate` is still heeded, since to drop it would make valid again
    /// what it revoked, and to insist on a newer one would refuse everybody when the issuer is late.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        at: UnixTime,
    ) -> Result<(), Refusal> {
        let parsed = EndEntityCert::try_from(leaf)?;
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let algorithms = provider().signature_verification_algorithms.all;
        let purpose = match usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let verdict =
            parsed.verify_for_usage(algorithms, &self.anchors, intermediates, at, purpose, revocation, None);
        verdict.map(|_| ()).map_err(|error| match Refusal::from(error) {
            Refusal::UnknownCa if parsed.issuer() == parsed.subject() => Refusal::SelfSigned,
            refusal => refusal,
        })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { anchors, revoked } = self;
        write!(f, "Trust({} roots, {} lists)", anchors.len(), revoked.len())
    }
}
