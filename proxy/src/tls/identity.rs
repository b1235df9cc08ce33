//! Who are we? What the files of one moment say, checked as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_config::model::PeerIdentity;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::files::{Files, Unreadable};
use super::peer::Leaf;
use super::pem;
use super::refusal::Refusal;
use super::trust::{Trust, TrustError, Usage};

/// A key with its certificates, and the roots to trust. Prints neither.
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) trust: Arc<Trust>,
    pub(super) trust_fingerprint: u64,
    /// Of the files that it was read from.
    pub fingerprint: u64,
    /// The key's file can be read by others.
    pub key_is_exposed: bool,
    /// Who we are.
    pub name: PeerIdentity,
    /// Until when.
    pub leaf: Standing,
    /// Until when those vouch whom we trust, in the order of `ca.crt`.
    pub roots: Vec<Standing>,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
}

/// Why files are no identity. Says where, never what is in them.
#[derive(Debug)]
pub enum IdentityError {
    /// A file cannot be read.
    Unreadable(Unreadable),
    /// This file holds nothing of what it is for, or something that cannot be understood.
    Malformed(&'static str),
    /// `tls.key` is not the key of `tls.crt`.
    Mismatch,
    /// `tls.crt` would be refused by others.
    Refused(Refusal),
}

impl Identity {
    /// What the files in this directory mean now. Blocks.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        Self::new(&Files::read(dir)?, None, SystemTime::now())
    }

    /// What the files mean at this time. They are refused unless the key is that of the certificate, and the
    /// certificate one that peers who trust the same roots would believe, as client and as server. A certificate that
    /// `running` shows already may have expired since: there is no better one, and roots may still change.
    pub fn new(files: &Files, running: Option<&Self>, now: SystemTime) -> Result<Self, IdentityError> {
        let malformed = |file| move || IdentityError::Malformed(file);
        let chain = pem::certificates(&files.chain).ok_or_else(malformed(Files::CHAIN))?;
        let first = chain.first().ok_or_else(malformed(Files::CHAIN))?;
        let trust = Trust::new(&files.roots, files.revoked.as_deref()).map_err(|error| match error {
            TrustError::Roots | TrustError::NoRoots => IdentityError::Malformed(Files::ROOTS),
            TrustError::Revoked => IdentityError::Malformed(Files::REVOKED),
        })?;
        let leaf = Leaf::read(first).map_err(IdentityError::Refused)?;
        let name = leaf.identity().ok_or(IdentityError::Refused(Refusal::Malformed))?;
        let known = running.and_then(|running| running.key.cert.first()).is_some_and(|old| old == first);
        let at = if known { leaf.not_before } else { seconds(now) };
        vouched(&chain, &trust, at).map_err(IdentityError::Refused)?;
        let roots = pem::certificates(&files.roots).unwrap_or_default();
        let roots = roots.iter().map(Standing::of).collect::<Option<_>>();
        Ok(Self {
            key: Arc::new(pair(&chain, &files.key)?),
            trust: Arc::new(trust),
            trust_fingerprint: files.trust_fingerprint(),
            fingerprint: files.fingerprint(),
            key_is_exposed: files.key_is_exposed(),
            name,
            leaf: Standing::new(leaf.not_before, leaf.not_after),
            roots: roots.ok_or_else(malformed(Files::ROOTS))?,
        })
    }
}

/// The certificate's own key.
fn pair(chain: &[CertificateDer<'static>], key: &[u8]) -> Result<CertifiedKey, IdentityError> {
    let malformed = || IdentityError::Malformed(Files::KEY);
    let der = pem::private_key(key).ok_or_else(malformed)?;
    let key = PrivateKeyDer::try_from(&**der).map_err(|_| malformed())?;
    let key = any_supported_type(&key).map_err(|_| malformed())?;
    let pair = CertifiedKey::new(chain.to_vec(), key);
    pair.keys_match().map_err(|_| IdentityError::Mismatch)?;
    Ok(pair)
}

/// Whoever trusts our roots would believe us. What they took back is for others to hold against us: if it were held
/// here, a list that revokes us would keep us from learning whom else it revokes.
fn vouched(chain: &[CertificateDer<'static>], trust: &Trust, at: i64) -> Result<(), Refusal> {
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.max(0).cast_unsigned()));
    let Some((leaf, intermediates)) = chain.split_first() else { return Err(Refusal::NoCertificate) };
    let trust = trust.without_revocations();
    trust.verify(leaf, intermediates, Usage::Server, at)?;
    trust.verify(leaf, intermediates, Usage::Client, at)
}

impl Standing {
    /// With less of its life left than this part, a certificate should have been renewed (SE-3): cert-manager and SPIRE
    /// renew when a third or a half is left.
    const LATE: u32 = 3;
    /// With less than this part left, or this time if that is less, we want no new callers: they find others, while
    /// handshakes still succeed. Not earlier, since certificates of replicas often expire together.
    const LAST: (u32, Duration) = (20, Duration::from_mins(10));

    fn new(not_before: i64, not_after: i64) -> Self {
        let time =
            |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned());
        Self { not_before: time(not_before), not_after: time(not_after) }
    }

    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let validity = certificate.validity();
        Some(Self::new(validity.not_before.timestamp(), validity.not_after.timestamp()))
    }

    /// It should have been renewed by now.
    pub fn is_late(&self, now: SystemTime) -> bool {
        self.left(now) < self.life() / Self::LATE
    }

    /// Nobody new should rely on it.
    pub fn is_ending(&self, now: SystemTime) -> bool {
        self.left(now) < (self.life() / Self::LAST.0).min(Self::LAST.1)
    }

    /// Until it expires; zero after.
    pub fn left(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    fn life(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

impl IdentityError {
    /// A label of `identity_reloads_total`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Malformed(_) => "malformed",
            Self::Mismatch => "mismatch",
            Self::Refused(refusal) => refusal.label(),
        }
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

impl From<Unreadable> for IdentityError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, leaf, trust, .. } = self;
        f.debug_struct("Identity")
            .field("name", name)
            .field("leaf", leaf)
            .field("trust", trust)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Malformed(file) => {
                write!(f, "{file} cannot be understood: it should be PEM of what it is for")
            }
            Self::Mismatch => f.write_str("tls.key is not the key of tls.crt"),
            Self::Refused(refusal) => write!(f, "tls.crt would be refused: {refusal}"),
        }
    }
}

impl std::error::Error for IdentityError {}
