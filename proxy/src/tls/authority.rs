//! Who vouches where nobody does yet? A certificate authority for development: a root, and the leaves that it signs.
//!
//! Not for production: its key lies beside what it signs, and it revokes nothing. cert-manager, SPIRE or any issuer that
//! writes files does that.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use outrigger_config::model::SpiffeId;
use outrigger_config::scalars::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use zeroize::Zeroizing;

use super::files::Files;

/// How long ago a certificate says that it became valid: clocks of two hosts differ.
const SKEW: Duration = Duration::from_mins(5);

/// A root with its key.
pub struct Authority {
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: Zeroizing<String>,
}

impl Authority {
    /// A new root, valid for so long, and its key.
    pub fn create(name: &str, life: Duration) -> Result<(Self, Zeroizing<String>), Error> {
        let mut params = params(name, life)?;
        // Leaves only: nobody whom it vouches for can vouch for others.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let text = Zeroizing::new(key.serialize_pem());
        let root = params.self_signed(&key)?.pem();
        Ok((Self { root, issuer: Issuer::new(params, key) }, text))
    }

    /// The one that was created earlier.
    pub fn load(root: String, key: &str) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(&root, KeyPair::from_pem(key)?)?;
        Ok(Self { root, issuer })
    }

    /// The root's certificate in PEM.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A leaf for a workload, as X509-SVID §3 and §4 want it: one URI SAN, for signing only, as client and server.
    pub fn issue(&self, id: &SpiffeId, dns: &[Host], life: Duration) -> Result<Issued, Error> {
        let name = id.path().rsplit('/').next().unwrap_or_default();
        let mut params = params(name, life)?;
        params.subject_alt_names.push(SanType::URI(id.as_str().try_into()?));
        for host in dns {
            params.subject_alt_names.push(SanType::DnsName(host.as_str().try_into()?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// What the files of a leaf would hold if they were written.
    pub fn files(&self, issued: &Issued) -> Files {
        Files {
            chain: issued.certificate.clone().into_bytes(),
            key: Zeroizing::new(issued.key.as_bytes().to_vec()),
            roots: self.root.clone().into_bytes(),
            revoked: None,
            dir: PathBuf::new(),
            exposed: false,
        }
    }
}

/// Valid from now on for so long.
fn params(name: &str, life: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(SKEW);
    params.not_after = epoch + (now + life);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}
