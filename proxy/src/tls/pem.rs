//! What is in a PEM file (RFC 7468)? Certificates, lists of revoked ones, and a private key that leaves no copy.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use zeroize::Zeroizing;

/// All certificates; `None`: the file is no PEM.
pub(super) fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()
}

/// All lists of revoked certificates; `None`: the file is no PEM.
pub(super) fn revocations(text: &[u8]) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()
}

/// The first private key: PKCS #8, PKCS #1 or SEC 1. Every buffer that holds a part of it is zeroed and never grows,
/// for growth leaves what was there before.
pub(super) fn private_key(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const LABELS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let text = str::from_utf8(text).ok()?;
    let body = LABELS.iter().find_map(|label| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
        Some(rest.split_once(&format!("-----END {label}-----"))?.0)
    })?;
    let mut dense = Zeroizing::new(Vec::with_capacity(body.len()));
    dense.extend(body.bytes().filter(|octet| !octet.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; dense.len()]);
    let length = STANDARD.decode_slice(&*dense, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn se_6_a_key_is_found_among_other_sections_and_read_to_the_octet() {
        let key = rcgen::KeyPair::generate().unwrap();
        let text = format!("# ours\n-----BEGIN NOTE-----\nAAAA\n-----END NOTE-----\n{}", key.serialize_pem());
        assert_eq!(*private_key(text.as_bytes()).unwrap(), key.serialize_der());
        let windows = key.serialize_pem().replace('\n', "\r\n");
        assert_eq!(*private_key(windows.as_bytes()).unwrap(), key.serialize_der());
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA",
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(private_key(text.as_bytes()).is_none(), "{text}");
        }
        assert!(private_key(b"\xff\xfe").is_none());
    }
}
