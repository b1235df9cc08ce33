//! What happens when certificates, keys and roots change under those who use them?

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::SerialNumber;
use rustls::HandshakeKind;

use super::hands::shake;
use super::issuer::{
    Ca, HOLDINGS, Pair, UI, client, client_of, files, identity, params, rogue, server, valid,
};
use crate::tls::trust::Usage;
use crate::tls::{Credentials, Files, Identity, IdentityError, PeerCert, Refusal, Standing};

fn write(dir: &Path, pair: &Pair, roots: &str) {
    fs::write(dir.join("tls.crt"), &pair.chain).unwrap();
    fs::write(dir.join("tls.key"), &pair.key).unwrap();
    fs::write(dir.join("ca.crt"), roots).unwrap();
}

#[test]
fn se_2_a_mounted_secret_is_read_from_one_side_of_its_swap() {
    let ca = Ca::new("simplebank");
    let dir = tempfile::tempdir().unwrap();
    for (nth, id) in [("..1", HOLDINGS), ("..2", UI)] {
        fs::create_dir(dir.path().join(nth)).unwrap();
        write(&dir.path().join(nth), &ca.leaf(id), &ca.pem());
    }
    symlink("..1", dir.path().join("..data")).unwrap();
    let first = Identity::load(dir.path()).unwrap();
    symlink("..2", dir.path().join("..new")).unwrap();
    fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
    let second = Identity::load(dir.path()).unwrap();
    assert_eq!([&first, &second].map(|found| found.name.to_string()), [HOLDINGS, UI]);
    assert_ne!(first.fingerprint, second.fingerprint);
}

#[test]
fn se_2_what_does_not_fit_together_is_no_identity() {
    let ca = Ca::new("simplebank");
    let (leaf, other) = (ca.leaf(UI), ca.leaf(UI));
    let now = SystemTime::now();
    let label = |chain: &str, key: &str, roots: &str, revoked: Option<&str>| {
        let pair = Pair { chain: chain.to_owned(), key: key.to_owned() };
        Identity::new(&files(&pair, roots, revoked), None, now).err().map(|error| error.label())
    };
    let (chain, key, roots) = (&*leaf.chain, &*leaf.key, &*ca.pem());
    assert_eq!(label(chain, key, roots, None), None);
    assert_eq!(label(chain, &other.key, roots, None), Some("mismatch"));
    for broken in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert_eq!(label(broken, key, roots, None), Some("malformed"), "{broken}");
        assert_eq!(label(chain, broken, roots, None), Some("malformed"), "{broken}");
        assert_eq!(label(chain, key, broken, None), Some("malformed"), "{broken}");
    }
    let no_list = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert_eq!(label(chain, key, roots, Some(no_list)), Some("malformed"));
    assert_eq!(label(chain, key, roots, Some("")), None, "a list of nothing");
    let half = &key[..key.len() / 2];
    assert_eq!(label(chain, half, roots, None), Some("malformed"));
    let missing = Identity::load(Path::new("/nowhere")).err();
    assert!(matches!(missing, Some(IdentityError::Unreadable(_))), "{missing:?}");
}

#[test]
fn se_2_one_that_expired_in_use_may_stay_while_roots_change() {
    let ca = Ca::new("simplebank");
    let mut brief = params(UI);
    valid(&mut brief, -100, 100);
    let (running, later) = (ca.sign(&brief), SystemTime::now() + Duration::from_secs(200));
    let old = identity(&running, &ca.pem(), None);
    let list = ca.revoke(&[1]);
    assert!(Identity::new(&files(&running, &ca.pem(), Some(&list)), Some(&old), later).is_ok());
    let mut expired = params(UI);
    valid(&mut expired, -100, 50);
    let refused = Identity::new(&files(&ca.sign(&expired), &ca.pem(), None), Some(&old), later).err();
    assert!(matches!(refused, Some(IdentityError::Refused(Refusal::Expired))), "{refused:?}");
}

#[test]
fn se_2_new_handshakes_use_the_new_leaf_and_roots_overlap() {
    let (old, new) = (Ca::new("simplebank 1"), Ca::new("simplebank 2"));
    let both = old.pem() + &new.pem();
    let answerer = server(identity(&old.leaf(HOLDINGS), &old.pem(), None));
    let ours = Credentials::new(identity(&old.leaf(UI), &old.pem(), None));
    let caller = client_of(&ours, &[HOLDINGS]);
    let leaf =
        |hands: &super::hands::Hands| caller.peer(hands.client.peer_certificates()).unwrap().der().to_vec();
    let first = leaf(&shake(&caller, &answerer).ok().unwrap());
    // The order of a root's change: everybody trusts both, then leaves change, then the old root goes.
    ours.replace(identity(&old.leaf(UI), &both, None));
    assert!(shake(&caller, &answerer).is_ok(), "one of the two trusts the new root");
    answerer.credentials().replace(identity(&old.leaf(HOLDINGS), &both, None));
    answerer.credentials().replace(identity(&new.leaf(HOLDINGS), &both, None));
    let second = leaf(&shake(&caller, &answerer).ok().unwrap());
    assert_ne!(first, second, "the next handshake has the new leaf");
    ours.replace(identity(&new.leaf(UI), &new.pem(), None));
    assert!(shake(&caller, &answerer).is_ok());
    answerer.credentials().replace(identity(&new.leaf(HOLDINGS), &new.pem(), None));
    assert!(shake(&caller, &answerer).is_ok());
    let late = client(rogue(&old.leaf(UI), &both), &[HOLDINGS]);
    assert_eq!(
        shake(&late, &answerer).err().unwrap().caller(),
        Some(Refusal::UnknownCa),
        "the old root is gone"
    );
}

#[test]
fn se_2_sessions_are_resumed_and_do_not_outlive_the_identity() {
    let ca = Ca::new("simplebank");
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    let caller = client(identity(&ca.leaf(UI), &ca.pem(), None), &[HOLDINGS]);
    let kind = || shake(&caller, &answerer).ok().unwrap().server.handshake_kind().unwrap();
    assert_eq!(kind(), HandshakeKind::Full);
    let hands = shake(&caller, &answerer).ok().unwrap();
    assert_eq!(hands.server.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(answerer.peer(hands.server.peer_certificates()).unwrap().identity().to_string(), UI);
    answerer.credentials().replace(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    assert_eq!(kind(), HandshakeKind::Full, "a ticket of before");
    assert_eq!(kind(), HandshakeKind::Resumed);
    caller.credentials().unwrap().replace(identity(&ca.leaf(UI), &ca.pem(), None));
    assert_eq!(kind(), HandshakeKind::Full, "a session that another certificate began");
}

#[test]
fn se_2_a_session_does_not_outlive_its_certificate() {
    let ca = Ca::new("simplebank");
    let answerer = server(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    let mut over = params(UI);
    valid(&mut over, -100, -1);
    let chain = crate::tls::pem::certificates(ca.sign(&over).chain.as_bytes()).unwrap();
    assert_eq!(answerer.peer(Some(&chain)).unwrap_err(), Refusal::Expired);
}

#[test]
fn se_7_live_connections_end_when_their_certificate_is_taken_back() {
    let ca = Ca::new("simplebank");
    let numbered = |id: &str, serial: u64| {
        let mut params = params(id);
        params.serial_number = Some(SerialNumber::from(serial));
        ca.sign(&params)
    };
    let leaf = numbered(HOLDINGS, 10);
    let answerer = server(identity(&leaf, &ca.pem(), None));
    let [good, bad] = [41, 42].map(|serial| {
        let caller = client(identity(&numbered(UI, serial), &ca.pem(), None), &[HOLDINGS]);
        let hands = shake(&caller, &answerer).ok().unwrap();
        answerer.peer(hands.server.peer_certificates()).unwrap()
    });
    let ours = Credentials::new(identity(&numbered(UI, 43), &ca.pem(), None));
    let caller = client_of(&ours, &[HOLDINGS]);
    let proved = caller.peer(shake(&caller, &answerer).ok().unwrap().client.peer_certificates()).unwrap();
    let trust = answerer.credentials().trust_generation();
    answerer.credentials().replace(identity(&ca.leaf(HOLDINGS), &ca.pem(), None));
    assert_eq!(
        answerer.credentials().trust_generation(),
        trust,
        "another leaf changes nobody else's standing"
    );
    answerer.credentials().replace(identity(&leaf, &ca.pem(), Some(&ca.revoke(&[42]))));
    assert_ne!(answerer.credentials().trust_generation(), trust);
    let judge = |peer: &PeerCert| peer.judged_by(&answerer.credentials().identity().trust, Usage::Client);
    assert_eq!(judge(&good), Ok(()));
    assert_eq!(judge(&bad), Err(Refusal::Revoked));
    ours.replace(identity(&numbered(UI, 43), &ca.pem(), Some(&ca.revoke(&[10]))));
    assert_eq!(proved.judged_by(&ours.identity().trust, Usage::Server), Err(Refusal::Revoked));
    answerer.credentials().replace(identity(&ca.leaf(HOLDINGS), &ca.pem(), Some(&ca.revoke(&[]))));
    assert_eq!(judge(&bad), Ok(()), "the list changed its mind");
}

#[test]
fn se_3_a_certificate_is_late_with_a_third_left_and_ends_with_a_twentieth() {
    let at = |secs: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let of = |life: u64| Standing { not_before: at(1000), not_after: at(1000 + life) };
    let hour = of(3600);
    assert!(!hour.is_late(at(1000 + 2399)) && hour.is_late(at(1000 + 2401)));
    assert!(!hour.is_ending(at(1000 + 3419)) && hour.is_ending(at(1000 + 3421)));
    let year = of(365 * 86_400);
    let end = 1000 + 365 * 86_400;
    assert!(!year.is_ending(at(end - 601)) && year.is_ending(at(end - 599)), "ten minutes suffice");
    assert!(hour.is_ending(at(9999)) && hour.left(at(9999)).is_zero());
}

#[test]
fn se_6_a_key_that_others_can_read_is_told() {
    let (ca, dir) = (Ca::new("simplebank"), tempfile::tempdir().unwrap());
    write(dir.path(), &ca.leaf(UI), &ca.pem());
    for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(dir.path().join("tls.key"), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Files::read(dir.path()).unwrap().key_is_exposed(), exposed, "{mode:o}");
    }
}
