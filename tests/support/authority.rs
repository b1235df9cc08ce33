//! Who vouches for whom in a test? An authority that signs anything, and the directories in which sidecars find it.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Cell<u64>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// The number that its authority knows it by.
    pub serial: u64,
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, issued: Cell::new(0) }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate as it should be, for `spiffe://tests/{name}` and `localhost`.
    pub fn issue(&self, name: &str) -> Pair {
        self.issue_with(name, |_| {})
    }

    /// The same, but for what `change` does to it.
    pub fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = leaf(name);
        self.issued.set(self.issued.get() + 1);
        let serial = self.issued.get();
        params.serial_number = Some(SerialNumber::from(serial));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem(), serial }
    }

    /// Takes these certificates back, in PEM.
    pub fn revoke(&self, pairs: &[&Pair]) -> String {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A directory as a sidecar wants it, with a certificate for this name.
    pub fn house(&self, name: &str) -> TempDir {
        let dir = TempDir::new().unwrap();
        self.furnish(dir.path(), &self.issue(name));
        dir
    }

    /// Writes what a sidecar with this certificate wants.
    pub fn furnish(&self, dir: &Path, pair: &Pair) {
        fs::write(dir.join("ca.crt"), self.pem()).unwrap();
        fs::write(dir.join("tls.key"), &pair.key).unwrap();
        fs::write(dir.join("tls.crt"), &pair.cert).unwrap();
    }
}

/// A certificate that nobody vouches for but itself.
pub fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair { cert: leaf(name).self_signed(&key).unwrap().pem(), key: key.serialize_pem(), serial: 0 }
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let id = format!("spiffe://tests/{name}");
    params.subject_alt_names =
        vec![SanType::URI(id.try_into().unwrap()), SanType::DnsName("localhost".try_into().unwrap())];
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2099, 1, 1));
    params
}
