//! Is a sidecar who its files say, also when they change, and does it keep their secret?

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::caller::Caller;
use crate::support::draft::ask;
use crate::support::rig::{Rig, Wishes, eventually, upstream};

/// A root for development, and what it signs.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(TempDir::new().unwrap());
        root.certs(&["init"]);
        root
    }

    fn certs(&self, words: &[&str]) -> PathBuf {
        let made = outrigger(&[&["certs"], words, &["--dir", self.0.path().to_str().unwrap()]].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.0.path().join(words.get(1).unwrap_or(&""))
    }

    /// A directory for `certDir`.
    fn issue(&self, name: &str) -> PathBuf {
        self.certs(&["issue", name, "--trust-domain", "tests"])
    }

    /// The same, valid since yesterday and for five minutes more.
    fn issue_ending(&self, name: &str) -> PathBuf {
        let read = |file: &str| fs::read_to_string(self.0.path().join(file)).unwrap();
        let root =
            Issuer::from_ca_cert_pem(&read("ca.crt"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://tests/{name}").try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let epoch = date_time_ymd(1970, 1, 1);
        params.not_before = epoch + now.saturating_sub(Duration::from_hours(24));
        params.not_after = epoch + (now + Duration::from_mins(5));
        let (key, dir) = (KeyPair::generate().unwrap(), self.issue(name));
        fs::write(dir.join("tls.crt"), params.signed_by(&key, &root).unwrap().pem()).unwrap();
        fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        dir
    }
}

/// A mounted Secret, whose files are swapped all at once.
struct Mount(TempDir);

impl Mount {
    fn of(files: &Path) -> Self {
        let mount = Self(TempDir::new().unwrap());
        mount.swap(files);
        mount
    }

    fn swap(&self, files: &Path) {
        symlink(files, self.0.path().join("..new")).unwrap();
        fs::rename(self.0.path().join("..new"), self.0.path().join("..data")).unwrap();
    }

    fn sidecar(&self) -> Rig {
        let sidecar = format!("identity: {{certDir: {}}}", self.0.path().display());
        Rig::with(&Wishes { sidecar, ..Wishes::default() }, &[])
    }
}

fn outrigger(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(words).output().unwrap()
}

/// Waits until files were refused as such; who polls just before the signal comes refuses them twice.
fn malformed(rig: &Rig) {
    let count = || rig.metric("identity_reloads_total", &[("result", "malformed")]);
    eventually("a refusal", || (count() > 0).then_some(()));
}

fn expiry(rig: &Rig, certificate: &str) -> u64 {
    rig.metric("certificate_expiry_timestamp_seconds", &[("certificate", certificate)])
}

#[test]
fn se_2_files_are_taken_up_when_they_change_and_only_if_they_fit_together() {
    let root = Root::new();
    let [first, second] = ["a", "b"].map(|name| root.issue(name));
    let mount = Mount::of(&first);
    let rig = mount.sidecar();
    let known = expiry(&rig, "leaf");
    let longer = root.certs(&["issue", "c", "--trust-domain", "tests", "--valid-for", "2000h"]);
    mount.swap(&longer);
    rig.counts("identity_reloads_total", &[("result", "loaded")], 1);
    let renewed = expiry(&rig, "leaf");
    assert!(renewed > known + 3600, "{known} and then {renewed}");
    // One file at a time: in between the key is not that of the certificate.
    fs::copy(second.join("tls.key"), longer.join("tls.key")).unwrap();
    mount.swap(&first);
    rig.counts("identity_reloads_total", &[("result", "loaded")], 2);
    rig.counts("identity_in_sync", &[], 1);
    mount.swap(&longer);
    rig.counts("identity_reloads_total", &[("result", "mismatch")], 1);
    rig.counts("identity_in_sync", &[], 0);
    assert_eq!(expiry(&rig, "leaf"), known, "the one in use stays");
    assert!(rig.complaints().contains("the one in use stays"), "{}", rig.complaints());
    fs::write(longer.join("tls.crt"), "garbage").unwrap();
    rig.signal(Signal::HUP);
    malformed(&rig);
    assert_eq!(rig.probe("/readyz"), Some(200));
    assert_eq!(rig.metric("config_generation", &[]), 1, "no new snapshot is needed");
    mount.swap(&first);
    rig.counts("identity_in_sync", &[], 1);
}

#[test]
fn se_3_expiry_is_seen_warned_of_and_ends_readiness_before_it_comes() {
    let root = Root::new();
    let (good, ending) = (root.issue("good"), root.issue_ending("ending"));
    let mount = Mount::of(&good);
    let rig = mount.sidecar();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let month = expiry(&rig, "leaf").abs_diff(now + 720 * 3600);
    assert!(month < 300, "{month}");
    assert!(expiry(&rig, "root-1") > expiry(&rig, "leaf"));
    assert!(!rig.complaints().contains("third"), "{}", rig.complaints());
    mount.swap(&ending);
    eventually("an end of readiness", || (rig.probe("/readyz") == Some(503)).then_some(()));
    assert_eq!(rig.ask("/readyz").unwrap().body, b"the certificate is about to expire\n");
    assert_eq!(rig.probe("/livez"), Some(200), "a restart would not help");
    mount.swap(&good);
    eventually("readiness", || (rig.probe("/readyz") == Some(200)).then_some(()));
    // Who starts with it is told at once.
    drop(rig);
    mount.swap(&root.certs(&["issue", "short", "--trust-domain", "tests", "--valid-for", "2m"]));
    let rig = mount.sidecar();
    eventually("a warning", || rig.complaints().contains("less than a third").then_some(()));
}

#[test]
fn se_6_no_private_key_leaves_the_process() {
    let root = Root::new();
    let mount = Mount::of(&root.issue("a"));
    let key = mount.0.path().join("..data/tls.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let rig = mount.sidecar();
    eventually("a warning", || rig.complaints().contains("can be read by others").then_some(()));
    fs::copy(&key, key.with_file_name("tls.crt")).unwrap();
    rig.signal(Signal::HUP);
    malformed(&rig);
    let page = |from, path: &str| {
        String::from_utf8(Caller::of(from).send(&ask("GET", path, "admin")).unwrap().body).unwrap()
    };
    let config = page(rig.control, "/config");
    assert!(config.contains("certDir"), "{config}");
    let told = [config, page(rig.control, "/upstreams"), rig.scrape(), rig.complaints()].concat();
    for line in fs::read_to_string(&key).unwrap().lines() {
        assert!(!told.contains(line), "{line} in\n{told}");
    }
}

#[test]
fn se_2_without_its_files_a_sidecar_says_so_and_an_explanation_needs_none() {
    let dir = TempDir::new().unwrap();
    let policy = dir.path().join("policy.yaml");
    let sidecar = "apiVersion: outrigger/v1\nkind: Sidecar\nname: a\nidentity: {certDir: /nowhere/certs}\n\
                   outbound: {listen: 127.0.0.1:0}\nadmin: {listen: 127.0.0.1:0, metrics: 127.0.0.1:0}\n---\n";
    let tls = "tls: {mode: mutual, peerIdentities: [\"spiffe://tests/up\"]}";
    fs::write(&policy, sidecar.to_owned() + &upstream("up", &["127.0.0.1:1".parse().unwrap()], tls)).unwrap();
    let policy = policy.to_str().unwrap();
    let run = outrigger(&["run", "--config", policy]);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/certs/tls.key"), "{said}");
    for command in [&["validate", policy][..], &["explain", "--config", policy, "http://up/"]] {
        let done = outrigger(command);
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
