//! Does anything print a private key?

use std::fmt::{Debug, Write};
use std::time::SystemTime;

use super::issuer::{Ca, HOLDINGS, Pair, UI, client, files, identity, server};
use crate::tls::Identity;
use crate::tls::authority::Authority;

/// The key's octets as somebody might print them: base64, hexadecimal, a list of numbers.
fn spellings(pair: &Pair) -> Vec<String> {
    let der = crate::tls::pem::private_key(pair.key.as_bytes()).unwrap();
    // What is before is the same in every key of the kind.
    let secret = &der[36..52];
    let hex = secret.iter().fold(String::new(), |mut hex, octet| {
        write!(hex, "{octet:02x}").unwrap();
        hex
    });
    let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let lines = pair.key.lines().filter(|line| !line.starts_with("-----"));
    lines.map(str::to_owned).chain([hex.to_uppercase(), hex, list]).collect()
}

#[test]
fn se_6_nothing_prints_a_private_key() {
    let ca = Ca::new("simplebank");
    let leaf = ca.leaf(HOLDINGS);
    let spellings = spellings(&leaf);
    assert!(spellings.iter().any(|spelling| leaf.key.contains(spelling)), "the test can fail");
    let check = |what: &str, printed: &dyn Debug| {
        for text in [format!("{printed:?}"), format!("{printed:#?}").replace('\n', "").replace("    ", "")] {
            let told = spellings.iter().find(|spelling| text.contains(*spelling));
            assert!(told.is_none(), "{what}: {text}");
        }
    };
    check("files", &files(&leaf, &ca.pem(), None));
    check("identity", &identity(&leaf, &ca.pem(), None));
    let answerer = server(identity(&leaf, &ca.pem(), None));
    check("server", &answerer);
    check("server's config", &answerer.config(crate::tls::Alpn::Either));
    let caller = client(identity(&leaf, &ca.pem(), None), &[UI]);
    check("client", &caller);
    check("client's config", &caller.config(crate::tls::Alpn::Either));
    // Errors, where a key is not what it should be: in the place of something else, broken, of another certificate.
    let swapped = Pair { chain: leaf.key.clone(), key: leaf.chain.clone() };
    let broken = Pair { chain: leaf.chain.clone(), key: leaf.key.replace("-----END", "!\n-----END") };
    let other = Pair { chain: ca.leaf(UI).chain, key: leaf.key.clone() };
    for (what, pair) in [("swapped", swapped), ("broken", broken), ("other", other)] {
        for roots in [ca.pem(), leaf.key.clone()] {
            let error = Identity::new(&files(&pair, &roots, None), None, SystemTime::now()).unwrap_err();
            check(what, &error);
            check(what, &error.to_string());
        }
    }
    let (root, key) = Authority::create("root", std::time::Duration::from_hours(1)).unwrap();
    let printed = format!("{root:?}");
    assert!(key.lines().all(|line| !printed.contains(line)), "{printed}");
}
