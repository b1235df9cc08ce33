//! Who signs what the tests show? An authority that signs anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_config::model::{PeerIdentity, UpstreamTls};
use outrigger_config::scalars::Scalar;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::tls::trust::Trust;
use crate::tls::{ClientSide, Credentials, Files, Identity, ServerSide, Standing, pem};

pub(super) const HOLDINGS: &str = "spiffe://simplebank/holdings";
pub(super) const UI: &str = "spiffe://simplebank/ui";

pub(super) struct Ca(pub(super) CertifiedIssuer<'static, KeyPair>);

/// A chain and its key in PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// Another authority that this one vouches for.
    pub(super) fn below(&self, name: &str) -> Self {
        let mut params = authority(name);
        params.serial_number = Some(SerialNumber::from(77));
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A leaf as it should be.
    pub(super) fn leaf(&self, id: &str) -> Pair {
        self.sign(&params(id))
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    /// Takes back the certificates with these numbers. The list itself is long out of date.
    pub(super) fn revoke(&self, serials: &[u64]) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

/// Of a workload with this id, valid for an hour around now.
pub(super) fn params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "workload");
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    valid(&mut params, -1800, 1800);
    params
}

/// From so many seconds before or after now to so many.
pub(super) fn valid(params: &mut CertificateParams, from: i64, to: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let at = |offset: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(offset));
    (params.not_before, params.not_after) = (at(from), at(to));
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The files as a helper would write them.
pub(super) fn files(pair: &Pair, roots: &str, revoked: Option<&str>) -> Files {
    Files {
        chain: pair.chain.clone().into_bytes(),
        key: Zeroizing::new(pair.key.clone().into_bytes()),
        roots: roots.as_bytes().to_vec(),
        revoked: revoked.map(|list| list.as_bytes().to_vec()),
        dir: PathBuf::from("/certs"),
        exposed: false,
    }
}

/// An identity that passed every check.
pub(super) fn identity(pair: &Pair, roots: &str, revoked: Option<&str>) -> Identity {
    Identity::new(&files(pair, roots, revoked), None, SystemTime::now()).unwrap()
}

/// The identity of somebody who does not check what to show.
pub(super) fn rogue(pair: &Pair, roots: &str) -> Identity {
    let der = pem::private_key(pair.key.as_bytes()).unwrap();
    let key = any_supported_type(&PrivateKeyDer::try_from(&**der).unwrap()).unwrap();
    let chain = pem::certificates(pair.chain.as_bytes()).unwrap();
    let whenever = Standing { not_before: SystemTime::UNIX_EPOCH, not_after: SystemTime::UNIX_EPOCH };
    Identity {
        key: Arc::new(CertifiedKey::new(chain, key)),
        trust: Arc::new(Trust::new(roots.as_bytes(), None).unwrap()),
        trust_fingerprint: 0,
        fingerprint: 0,
        key_is_exposed: false,
        name: peer(UI),
        leaf: whenever,
        roots: Vec::new(),
    }
}

pub(super) fn peer(text: &str) -> PeerIdentity {
    PeerIdentity::parse(text).unwrap()
}

pub(super) fn server(identity: Identity) -> ServerSide {
    ServerSide::new(Credentials::new(identity))
}

/// A caller who expects one of these.
pub(super) fn client(identity: Identity, expected: &[&str]) -> ClientSide {
    client_of(&Credentials::new(identity), expected)
}

pub(super) fn client_of(credentials: &Arc<Credentials>, expected: &[&str]) -> ClientSide {
    let peers = expected.iter().map(|text| peer(text)).collect();
    let mutual = UpstreamTls::Mutual { sni: None, peers };
    ClientSide::new(&mutual, Some(credentials)).unwrap().unwrap()
}
