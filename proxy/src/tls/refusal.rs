//! Why is a certificate not good enough? One word for the peer's alert, the metric and the log.

use std::fmt;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

/// Why a peer is not believed. Nothing in it comes from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It showed none.
    NoCertificate,
    /// Nobody vouches for it but itself.
    SelfSigned,
    /// Nobody whom we trust vouches for it.
    UnknownCa,
    /// Its time is over.
    Expired,
    /// Its time has not come; or one of the clocks is wrong.
    NotYetValid,
    /// It is right, and belongs to somebody else than we expect.
    WrongIdentity,
    /// Its issuer took it back.
    Revoked,
    /// It is for something else (RFC 5280 §4.2.1.3, §4.2.1.12).
    BadKeyUsage,
    /// It cannot be read, or says what no certificate of a workload may.
    Malformed,
}

impl Refusal {
    /// A label of `tls_handshakes_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::SelfSigned => "self-signed",
            Self::UnknownCa => "unknown-ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::WrongIdentity => "wrong-identity",
            Self::Revoked => "revoked",
            Self::BadKeyUsage => "bad-key-usage",
            Self::Malformed => "malformed",
        }
    }

    /// What the failed handshake was refused for, if we refused it for the peer's certificate.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::NoCertificatesPresented => Some(Self::NoCertificate),
            Error::InvalidCertificate(error) => Some(match error {
                CertificateError::Other(OtherError(inner)) => {
                    inner.downcast_ref::<Self>().copied().unwrap_or(Self::Malformed)
                }
                CertificateError::UnknownIssuer => Self::UnknownCa,
                CertificateError::Expired => Self::Expired,
                CertificateError::NotValidYet => Self::NotYetValid,
                CertificateError::ApplicationVerificationFailure => Self::WrongIdentity,
                CertificateError::Revoked => Self::Revoked,
                CertificateError::InvalidPurpose => Self::BadKeyUsage,
                _ => Self::Malformed,
            }),
            _ => None,
        }
    }
}

/// The variants are those whose alert tells the peer what is wrong with it (RFC 8446 §6.2).
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(match refusal {
            Refusal::NoCertificate => return Self::NoCertificatesPresented,
            Refusal::SelfSigned => CertificateError::Other(OtherError(Arc::new(refusal))),
            Refusal::UnknownCa => CertificateError::UnknownIssuer,
            Refusal::Expired => CertificateError::Expired,
            Refusal::NotYetValid => CertificateError::NotValidYet,
            Refusal::WrongIdentity => CertificateError::ApplicationVerificationFailure,
            Refusal::Revoked => CertificateError::Revoked,
            Refusal::BadKeyUsage => CertificateError::InvalidPurpose,
            Refusal::Malformed => CertificateError::BadEncoding,
        })
    }
}

impl From<webpki::Error> for Refusal {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { .. } | E::InvalidCertValidity => Self::Expired,
            E::CertNotValidYet { .. } => Self::NotYetValid,
            E::CertRevoked => Self::Revoked,
            E::CertNotValidForName(_) => Self::WrongIdentity,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension | E::CaUsedAsEndEntity => {
                Self::BadKeyUsage
            }
            // All that says: no path leads to a root of ours that may vouch for this.
            E::UnknownIssuer
            | E::InvalidSignatureForPublicKey
            | E::EndEntityUsedAsCa
            | E::NameConstraintViolation
            | E::PathLenConstraintViolated
            | E::MaximumNameConstraintComparisonsExceeded
            | E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded
            | E::CertDistrusted => Self::UnknownCa,
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "it shows no certificate",
            Self::SelfSigned => "the certificate is signed by nobody but itself",
            Self::UnknownCa => "the certificate leads to no root that we trust",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::WrongIdentity => "the certificate is somebody else's",
            Self::Revoked => "the certificate is revoked",
            Self::BadKeyUsage => "the certificate is not for this use",
            Self::Malformed => "the certificate is malformed",
        })
    }
}

impl std::error::Error for Refusal {}
