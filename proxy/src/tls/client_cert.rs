//! What may an application know of its caller's certificate? The words of `x-forwarded-client-cert`.

use std::fmt::Write;

use outrigger_config::model::PeerIdentity;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// One element as Envoy writes it ("x-forwarded-client-cert"): `By` is the identity that was called, `Hash` the SHA-256 of
/// the caller's certificate in DER, `URI` or `DNS` its identity. No value needs quotes: the letters of a SPIFFE ID
/// (SPIFFE-ID §2) and of a DNS name are no separators.
pub(super) fn element(by: Option<&PeerIdentity>, der: &[u8], caller: &PeerIdentity) -> String {
    let mut element = String::new();
    // Envoy's `By` is a URI SAN.
    if let Some(PeerIdentity::Spiffe(id)) = by {
        let _ = write!(element, "By={id};");
    }
    if let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() {
        element.push_str("Hash=");
        for octet in suite.common.hash_provider.hash(der).as_ref() {
            let _ = write!(element, "{octet:02x}");
        }
        element.push(';');
    }
    let key = match caller {
        PeerIdentity::Spiffe(_) => "URI",
        PeerIdentity::Dns(_) => "DNS",
    };
    let _ = write!(element, "{key}={}", caller.as_str());
    element
}

#[cfg(test)]
mod tests {
    use outrigger_config::scalars::Scalar;

    use super::*;

    #[test]
    fn se_4_the_application_is_told_in_envoys_words() {
        let [holdings, ui] =
            ["spiffe://bank/holdings", "spiffe://bank/ui"].map(|id| PeerIdentity::parse(id).unwrap());
        // FIPS 180-4, the example of one block.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            element(Some(&holdings), b"abc", &ui),
            format!("By=spiffe://bank/holdings;Hash={hash};URI=spiffe://bank/ui")
        );
        let name = PeerIdentity::parse("dns:ui.internal").unwrap();
        assert_eq!(element(None, b"abc", &name), format!("Hash={hash};DNS=ui.internal"));
    }

    #[test]
    fn se_4_no_identity_has_a_letter_that_would_need_quotes() {
        for separator in [',', ';', '=', '"', ' '] {
            assert!(PeerIdentity::parse(&format!("spiffe://bank/a{separator}b")).is_err());
            assert!(PeerIdentity::parse(&format!("dns:a{separator}b")).is_err());
        }
    }
}
