//! Who is believed, as caller and as answerer?

use std::collections::HashSet;
use std::sync::Arc;

use outrigger_config::model::UpstreamTls;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion};

use super::hands::{Failed, shake, shake_as};
use super::issuer::{Ca, HOLDINGS, Pair, UI, client, files, identity, params, rogue, server, valid};
use crate::tls::provider::{OUTSIDE, provider};
use crate::tls::{Alpn, ClientSide, Identity, IdentityError, Refusal};

type Wrong = (&'static str, Pair, Refusal);

/// Everything that can be wrong with a leaf, and what it is called.
fn wrong_leaves(ca: &Ca) -> Vec<Wrong> {
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = params(UI);
        change(&mut params);
        ca.sign(&params)
    };
    let key = KeyPair::generate().unwrap();
    let own = params(UI).self_signed(&key).unwrap().pem();
    let wrong = [
        ("self-signed", Pair { chain: own, key: key.serialize_pem() }, Refusal::SelfSigned),
        ("another authority", Ca::new("other").leaf(UI), Refusal::UnknownCa),
        ("another authority of the same name", Ca::new("simplebank").leaf(UI), Refusal::UnknownCa),
        ("expired", with(&|p| valid(p, -3600, -60)), Refusal::Expired),
        ("not yet valid", with(&|p| valid(p, 60, 3600)), Refusal::NotYetValid),
        (
            "no key for signing",
            with(&|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
            Refusal::BadKeyUsage,
        ),
        (
            "a key that signs certificates",
            with(&|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            Refusal::BadKeyUsage,
        ),
        (
            "for code",
            with(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
            Refusal::BadKeyUsage,
        ),
        (
            "an authority",
            with(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Refusal::BadKeyUsage,
        ),
    ];
    wrong.into_iter().chain(wrong_names(ca)).collect()
}

/// Names that no workload may have: none, several, or one that SPIFFE does not know.
fn wrong_names(ca: &Ca) -> impl Iterator<Item = Wrong> {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let names = [
        ("two ids", vec![uri(UI), uri(HOLDINGS)]),
        ("an id and another URI", vec![uri("https://ui"), uri(UI)]),
        ("an id in capitals", vec![uri("SPIFFE://simplebank/ui")]),
        ("an id with a query", vec![uri("spiffe://simplebank/ui?a")]),
        ("a trust domain", vec![uri("spiffe://simplebank")]),
        (NOBODY, Vec::new()),
        (EVERYBODY, vec![dns("*.internal")]),
    ];
    names.into_iter().map(|(what, names)| {
        let mut params = params(UI);
        params.subject_alt_names = names;
        (what, ca.sign(&params), Refusal::Malformed)
    })
}

const NOBODY: &str = "nobody's";
const EVERYBODY: &str = "everybody's";

#[test]
fn se_1_callers_are_refused_each_for_its_own_reason() {
    let ca = Ca::new("simplebank");
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    for (what, leaf, expected) in wrong_leaves(&ca) {
        let failed = shake(&client(rogue(&leaf, &ca.pem()), &[HOLDINGS]), &answerer).err();
        assert_eq!(failed.as_ref().and_then(Failed::caller), Some(expected), "{what}: {failed:?}");
    }
    let only_server = {
        let mut params = params(UI);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        ca.sign(&params)
    };
    let failed = shake(&client(rogue(&only_server, &ca.pem()), &[HOLDINGS]), &answerer).err();
    assert_eq!(failed.as_ref().and_then(Failed::caller), Some(Refusal::BadKeyUsage), "{failed:?}");
}

#[test]
fn se_1_answerers_are_refused_each_for_its_own_reason() {
    let ca = Ca::new("simplebank");
    for (what, leaf, expected) in wrong_leaves(&ca) {
        // A certificate that names nobody we know is, seen from here, somebody else's.
        let expected = match what {
            NOBODY | EVERYBODY => Refusal::WrongIdentity,
            _ => expected,
        };
        let caller = client(identity(&ca.leaf(HOLDINGS), &ca.pem(), None), &[UI]);
        let failed = shake(&caller, &server(rogue(&leaf, &ca.pem()))).err();
        assert_eq!(failed.as_ref().and_then(Failed::answerer), Some(expected), "{what}: {failed:?}");
    }
}

#[test]
fn se_1_a_right_chain_with_the_wrong_identity_is_refused() {
    let ca = Ca::new("simplebank");
    let caller = |expected: &[&str]| client(identity(&ca.leaf(UI), &ca.pem(), None), expected);
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    for near in [
        "spiffe://simplebank/holdings2",
        "spiffe://simplebank/holding",
        "spiffe://simplebanks/holdings",
        "dns:holdings",
    ] {
        let failed = shake(&caller(&[near]), &answerer).err().unwrap();
        assert_eq!(failed.answerer(), Some(Refusal::WrongIdentity), "{near}: {failed:?}");
    }
    let caller = caller(&[UI, HOLDINGS]);
    let hands = shake(&caller, &answerer).unwrap_or_else(|failed| panic!("{failed:?}"));
    let proved = caller.peer(hands.client.peer_certificates()).unwrap();
    assert_eq!(proved.identity().to_string(), HOLDINGS, "the one of both that it is");
    assert_eq!(answerer.peer(hands.server.peer_certificates()).unwrap().identity().to_string(), UI);
}

#[test]
fn se_1_who_shows_nothing_is_refused() {
    let ca = Ca::new("simplebank");
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.crt");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let simple = UpstreamTls::Simple {
        sni: Some("holdings.internal".to_owned()),
        peers: vec![super::issuer::peer(HOLDINGS)],
        ca_file: Some(ca_file.display().to_string()),
    };
    let caller = ClientSide::new(&simple, None).unwrap().unwrap();
    let failed = shake(&caller, &answerer).err().unwrap();
    assert_eq!(failed.caller(), Some(Refusal::NoCertificate), "{failed:?}");
    assert_eq!(answerer.peer(None).unwrap_err(), Refusal::NoCertificate);
}

#[test]
fn se_1_names_of_dns_are_identities_too() {
    let ca = Ca::new("simplebank");
    let named = |names: &[&str]| {
        let mut params = params(UI);
        params.subject_alt_names =
            names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        ca.sign(&params)
    };
    let caller =
        |expected: &str| client(identity(&named(&["UI.internal", "ui"]), &ca.pem(), None), &[expected]);
    let answerer = server(rogue(&named(&["*.bank.internal"]), &ca.pem()));
    assert!(shake(&caller("dns:holdings.bank.internal"), &answerer).is_ok());
    for other in ["dns:bank.internal", "dns:a.b.bank.internal", "dns:holdings.internal", HOLDINGS] {
        assert_eq!(
            shake(&caller(other), &answerer).err().unwrap().answerer(),
            Some(Refusal::WrongIdentity),
            "{other}"
        );
    }
    let hands = shake(&caller("dns:holdings.bank.internal"), &answerer).ok().unwrap();
    assert_eq!(
        answerer.peer(hands.server.peer_certificates()).unwrap().identity().to_string(),
        "dns:ui.internal"
    );
}

#[test]
fn se_1_an_absent_extended_key_usage_is_any_and_intermediates_are_followed() {
    let ca = Ca::new("simplebank");
    let below = ca.below("simplebank eu");
    let mut unsaid = params(UI);
    unsaid.extended_key_usages.clear();
    let mut leaf = below.sign(&unsaid);
    leaf.chain.push_str(&below.pem());
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    assert!(shake(&client(identity(&leaf, &ca.pem(), None), &[HOLDINGS]), &answerer).is_ok());
}

#[test]
fn se_7_what_was_taken_back_is_refused_leaf_and_intermediate() {
    let ca = Ca::new("simplebank");
    let mut numbered = params(UI);
    numbered.serial_number = Some(SerialNumber::from(42));
    let leaf = ca.sign(&numbered);
    let below = ca.below("simplebank eu");
    let mut under = below.leaf(UI);
    under.chain.push_str(&below.pem());
    let refused = |pair: &Pair, serials: &[u64]| {
        let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), Some(&ca.revoke(serials))));
        shake(&client(rogue(pair, &ca.pem()), &[HOLDINGS]), &answerer)
            .err()
            .and_then(|failed| failed.caller())
    };
    assert_eq!(refused(&leaf, &[41, 42]), Some(Refusal::Revoked));
    assert_eq!(refused(&leaf, &[41]), None);
    assert_eq!(refused(&under, &[77]), Some(Refusal::Revoked), "all that it vouches for");
    assert_eq!(refused(&under, &[42]), None);
}

#[test]
fn se_7_a_list_that_nobody_signed_takes_back_nobody() {
    let ca = Ca::new("simplebank");
    let mut numbered = params(UI);
    numbered.serial_number = Some(SerialNumber::from(42));
    let leaf = ca.sign(&numbered);
    let forged = Ca::new("other").revoke(&[42]);
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), Some(&forged)));
    assert!(shake(&client(identity(&leaf, &ca.pem(), None), &[HOLDINGS]), &answerer).is_ok());
}

#[test]
fn se_1_sidecars_speak_tls_1_3_with_a_key_exchange_of_both_kinds() {
    let ca = Ca::new("simplebank");
    let caller = client(identity(&ca.leaf(UI), &ca.pem(), None), &[HOLDINGS]);
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    let hands = shake(&caller, &answerer).ok().unwrap();
    assert_eq!(hands.client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = hands.client.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(hands.server.alpn_protocol(), Some(&b"http/1.1"[..]));
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&OUTSIDE[1..])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let failed = shake_as(Arc::new(old), answerer.config(Alpn::Either), &caller).err().unwrap();
    assert!(matches!(failed, Failed::Server(rustls::Error::PeerIncompatible(_))), "{failed:?}");
}

#[test]
fn se_1_nobody_starts_with_what_others_would_refuse() {
    let ca = Ca::new("simplebank");
    let now = std::time::SystemTime::now();
    for (what, leaf, expected) in wrong_leaves(&ca) {
        match Identity::new(&files(&leaf, &ca.pem(), None), None, now) {
            Err(IdentityError::Refused(refusal)) => assert_eq!(refusal, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn every_refusal_has_a_word_and_survives_the_way_through_the_handshake() {
    use Refusal as R;
    let all = [
        R::NoCertificate,
        R::SelfSigned,
        R::UnknownCa,
        R::Expired,
        R::NotYetValid,
        R::WrongIdentity,
        R::Revoked,
        R::BadKeyUsage,
        R::Malformed,
    ];
    let words: HashSet<_> = all.iter().map(|refusal| refusal.label()).collect();
    assert_eq!(words.len(), all.len());
    for refusal in all {
        assert_eq!(Refusal::of(&refusal.into()), Some(refusal));
    }
}
