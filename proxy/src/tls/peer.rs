//! Whom does a certificate name? SPIFFE IDs and DNS names, and what a handshake proved.

use std::sync::Arc;

use outrigger_config::model::{PeerIdentity, SpiffeId};
use outrigger_config::scalars::{Host, Scalar};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::refusal::Refusal;
use super::trust::{Trust, Usage};

/// A peer's certificate and the identity that it proved. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PeerCert(Arc<Proved>);

#[derive(Debug)]
struct Proved {
    identity: PeerIdentity,
    chain: Vec<CertificateDer<'static>>,
    at: UnixTime,
}

impl PeerCert {
    /// Of the chain that a finished handshake showed. A session that was resumed (RFC 8446 §2.2) is judged by the time of
    /// now: its certificate was verified earlier, and may have expired.
    pub(super) fn shown(
        chain: Option<&[CertificateDer<'static>]>,
        identity: impl FnOnce(&CertificateDer<'_>) -> Result<PeerIdentity, Refusal>,
    ) -> Result<Self, Refusal> {
        let chain = chain.unwrap_or_default();
        let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
        let identity = identity(leaf)?;
        let at = UnixTime::now();
        if at.as_secs().cast_signed() > Leaf::read(leaf)?.not_after {
            return Err(Refusal::Expired);
        }
        Ok(Self(Arc::new(Proved { identity, chain: chain.to_vec(), at })))
    }

    /// Who it is: the SPIFFE ID if there is one, else the first DNS name; of an upstream, the one of its
    /// `peerIdentities` that it proved.
    pub fn identity(&self) -> &PeerIdentity {
        &self.0.identity
    }

    /// The certificate itself, in DER.
    pub fn der(&self) -> &[u8] {
        &self.0.chain[0]
    }

    /// Whether these roots and lists would have let it in when it was proved. That it has expired meanwhile is no reason to
    /// end its connection: it was valid when it was shown, and its successor is for the next one.
    pub(super) fn judged_by(&self, trust: &Trust, usage: Usage) -> Result<(), Refusal> {
        let Proved { chain, at, .. } = &*self.0;
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        trust.verify(leaf, intermediates, usage, *at)
    }
}

/// What a leaf says of its bearer and its time.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) spiffe: Option<SpiffeId>,
    /// Without wildcards.
    pub(super) dns: Vec<Arc<str>>,
    /// Seconds since the epoch.
    pub(super) not_before: i64,
    /// Seconds since the epoch.
    pub(super) not_after: i64,
}

impl Leaf {
    /// Reads a certificate whose chain is verified elsewhere.
    pub(super) fn read(der: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
        let names = certificate.subject_alternative_name().map_err(|_| Refusal::Malformed)?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let uris: Vec<_> = names.iter().filter_map(uri).collect();
        let spiffe = match uris.iter().find(|uri| is_spiffe(uri)) {
            None => None,
            // X509-SVID §2: exactly one URI SAN; two would leave it to each reader whom it means.
            Some(uri) if uris.len() == 1 => Some(SpiffeId::parse(uri).map_err(|_| Refusal::Malformed)?),
            Some(_) => return Err(Refusal::Malformed),
        };
        check_key_usage(&certificate, spiffe.is_some())?;
        let dns = names.iter().filter_map(dns).filter_map(|name| Host::parse(name).ok());
        let validity = certificate.validity();
        Ok(Self {
            spiffe,
            dns: dns.map(|host| host.as_str().into()).collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Who its bearer is; `None`: it names nobody.
    pub(super) fn identity(&self) -> Option<PeerIdentity> {
        let spiffe = self.spiffe.clone().map(PeerIdentity::Spiffe);
        spiffe.or_else(|| self.dns.first().cloned().map(PeerIdentity::Dns))
    }
}

/// The one of `expected` that the certificate proves. DNS names as RFC 9525 §6.3 matches them, wildcards included.
pub(super) fn proves<'e>(
    der: &CertificateDer<'_>,
    expected: &'e [PeerIdentity],
) -> Result<&'e PeerIdentity, Refusal> {
    let leaf = Leaf::read(der)?;
    let parsed = EndEntityCert::try_from(der)?;
    let is = |expected: &&PeerIdentity| match expected {
        PeerIdentity::Spiffe(id) => leaf.spiffe.as_ref() == Some(id),
        PeerIdentity::Dns(name) => ServerName::try_from(&**name)
            .is_ok_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok()),
    };
    expected.iter().find(is).ok_or(Refusal::WrongIdentity)
}

/// RFC 8446 §4.4.2.2: whoever proves itself by signing has a key for signing. X509-SVID §4.3: and for nothing that
/// would make others.
fn check_key_usage(certificate: &X509Certificate<'_>, is_svid: bool) -> Result<(), Refusal> {
    let usage = certificate.key_usage().map_err(|_| Refusal::Malformed)?;
    let wrong = usage.is_some_and(|usage| {
        let makes_others = usage.value.key_cert_sign() || usage.value.crl_sign();
        !usage.value.digital_signature() || is_svid && makes_others
    });
    if wrong { Err(Refusal::BadKeyUsage) } else { Ok(()) }
}

/// RFC 3986 §3.1: schemes have no case; the id behind it is then refused for its spelling, not overlooked.
fn is_spiffe(uri: &str) -> bool {
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

fn dns<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    }
}
