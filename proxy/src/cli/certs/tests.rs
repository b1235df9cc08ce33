//! Do the files that `certs` writes make an identity, and does it leave alone what is there?

use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;
use crate::tls::Identity;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    certs: Certs,
}

fn certs(dir: &Path, words: &[&str]) -> Result<(), String> {
    let at = ["--dir", dir.to_str().unwrap()];
    let at = if words[0] == "show" { &at[1..] } else { &at[..] };
    let line = ["certs"].iter().chain(words).chain(at).copied();
    run(&Line::try_parse_from(line).unwrap().certs).map_err(|failure| match failure {
        Failure::Because(reason) | Failure::With(_, reason) => reason,
        Failure::Said => String::new(),
    })
}

#[test]
fn se_1_what_is_issued_is_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    let issue = ["issue", "holdings", "--trust-domain", "simplebank", "--dns", "Holdings.internal"];
    let missing = certs(dir.path(), &issue).unwrap_err();
    assert!(missing.contains("certs init"), "{missing}");
    certs(dir.path(), &["init"]).unwrap();
    certs(dir.path(), &issue).unwrap();
    let identity = Identity::load(&dir.path().join("holdings")).unwrap();
    assert_eq!(identity.name.to_string(), "spiffe://simplebank/holdings");
    assert!(!identity.key_is_exposed);
    for wrong in ["../holdings", "a b", ""] {
        assert!(certs(dir.path(), &["issue", wrong, "--trust-domain", "simplebank"]).is_err(), "{wrong}");
    }
}

#[test]
fn se_6_keys_are_their_owners_and_nothing_is_overwritten_unasked() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["init"]).unwrap();
    let key = dir.path().join("ca.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&key).unwrap();
    let refused = certs(dir.path(), &["init"]).unwrap_err();
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(fs::read(&key).unwrap(), before);
    certs(dir.path(), &["init", "--force"]).unwrap();
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no draft stays behind");
}

#[test]
fn what_is_shown_says_who_and_until_when() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["init"]).unwrap();
    certs(dir.path(), &["issue", "ui", "--trust-domain", "simplebank", "--dns", "ui", "--valid-for", "2h"])
        .unwrap();
    certs(dir.path(), &["show"]).unwrap();
    let files = files(dir.path()).unwrap();
    let names: Vec<_> =
        files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["ca.crt", "ui/tls.crt", "ui/ca.crt"]);
    let [shown] = &shown::certificates(&fs::read(&files[1]).unwrap()).unwrap()[..] else {
        panic!("one leaf")
    };
    let found = Found { file: files[1].clone(), shown: shown.clone() };
    let described = found.describe(SystemTime::now());
    assert_eq!(described["identities"], json!(["spiffe://simplebank/ui", "dns:ui"]));
    assert_eq!(described["issuer"], json!("CN=Outrigger development root"));
    assert_eq!(described["authority"], json!(false));
    let later = SystemTime::now() + Duration::from_hours(3);
    assert!(Told { found: &found, now: later }.to_string().contains("expired"));
    assert!(Told { found: &found, now: SystemTime::now() }.to_string().contains("1h59m left"));
}
