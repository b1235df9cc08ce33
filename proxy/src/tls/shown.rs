//! What does a certificate say, for people? Read without being believed.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::identity::Standing;
use super::pem;

/// A certificate's own words.
#[derive(Debug, Clone)]
pub struct Shown {
    /// `spiffe:` and `dns:` identities, as policies write them.
    pub identities: Vec<String>,
    /// Whom it is about.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// It may sign others.
    pub is_authority: bool,
    /// When it is valid.
    pub standing: Standing,
}

/// All certificates of a PEM file; `None`: it has none, or something that is no certificate.
pub fn certificates(text: &[u8]) -> Option<Vec<Shown>> {
    let found = pem::certificates(text)?.iter().map(|der| shown(der)).collect::<Option<Vec<_>>>()?;
    (!found.is_empty()).then_some(found)
}

fn shown(der: &CertificateDer<'_>) -> Option<Shown> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let identity = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(plain(uri)),
        GeneralName::DNSName(name) => Some(plain(&format!("dns:{name}"))),
        _ => None,
    };
    Some(Shown {
        identities: names.iter().filter_map(identity).collect(),
        subject: plain(&certificate.subject().to_string()),
        issuer: plain(&certificate.issuer().to_string()),
        is_authority: certificate.is_ca(),
        standing: Standing::of(der)?,
    })
}

/// A certificate must not drive the terminal that shows it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
