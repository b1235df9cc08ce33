//! What do operators see? Exit codes and messages of the commands, before and beside a running sidecar.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::draft::get;
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};

/// Five faults, each with the place and the words that its message must have.
const FAULTY: &str = "apiVersion: outrigger/v1
kind: Sidecar
name: us
outbound: {listen: 127.0.0.1:1}
---
apiVersion: outrigger/v1
kind: Upstream
name: up
discovery: {static: [127.0.0.1:8000]}
retrys: {attempts: 2}
timeouts: {request: 300}
---
apiVersion: outrigger/v1
kind: HTTPRoute
name: calls
hosts: [up]
rules:
  - backendRefs: [{name: upp}]
    retry: {attempts: 2, attempts: 3}
    timeouts: {connect: fast}
";
const FAULTS: [(&str, &str); 5] = [
    (":10:1", "did you mean `retry`?"),
    (":11:21", "300"),
    (":18:26", "upp"),
    (":19:26", "attempts"),
    (":20:25", "fast"),
];

fn outrigger(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(arguments).arg(path).output().unwrap()
}

fn folder(policy: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.yaml"), policy).unwrap();
    dir
}

fn assert_all_faults(said: &str) {
    for (place, words) in FAULTS {
        assert!(said.contains(&format!("policy.yaml{place}")), "{place} is not in:\n{said}");
        assert!(said.contains(words), "{words} is not in:\n{said}");
    }
}

#[test]
fn cf_2_validate_names_every_fault_and_its_place() {
    let dir = folder(FAULTY);
    let output = outrigger(&["validate"], dir.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_all_faults(&said);
}

#[test]
fn cf_1_run_refuses_what_validate_refuses() {
    let dir = folder(FAULTY);
    let output = outrigger(&["run", "--config"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert_all_faults(&String::from_utf8(output.stderr).unwrap());
}

#[test]
fn cf_1_a_running_sidecar_refuses_it_too() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    fs::write(rig.policy_file(), FAULTY).unwrap();
    rig.counts("config_in_sync", &[], 0);
    assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 200);
    eventually("the last message", || rig.complaints().contains("policy.yaml:20:25").then_some(()));
    assert_all_faults(&rig.complaints());
}

/// Names that resolve nowhere, ports that are taken: none of it is asked for.
#[test]
fn cf_6_validate_needs_no_network() {
    let dir = folder(
        "apiVersion: outrigger/v1\nkind: Sidecar\nname: us\noutbound: {listen: 192.0.2.1:1}\n---\n\
         apiVersion: outrigger/v1\nkind: Upstream\nname: up\ndiscovery: {dns: name.invalid, port: 80}\n",
    );
    let output = outrigger(&["validate"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn cf_1_usage_is_no_fault_of_the_policy() {
    let output = outrigger(&["valdate"], Path::new("policy"));
    assert_eq!(output.status.code(), Some(2));
}

/// Nothing written but addresses: still there are deadlines, retries that are safe and bounded, and metrics.
#[test]
fn cf_8_an_empty_policy_is_a_safe_one() {
    let (alive, broken) = (Origin::always(200), Origin::start(|_, _| Reply::Reset));
    let gone = free_addr();
    let rig = Rig::start(&[upstream("up", &[gone, alive.addr], ""), upstream("broken", &[broken.addr], "")]);
    assert!(
        (0..3).all(|_| rig.caller().send(&get("up")).unwrap().status() == 200),
        "who refuses is passed over"
    );
    assert_eq!(
        (rig.caller().send(&get("broken")).unwrap().status(), broken.count()),
        (502, 1),
        "what was sent is not"
    );
    rig.counts("request_duration_seconds_count", &[], 4);
}

#[test]
fn a_demo_that_is_told_to_end_takes_its_keys_along() {
    for told in [Signal::TERM, Signal::INT] {
        let dir = TempDir::new().unwrap();
        let demo = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["demo", "--duration", "60s", "--output", "json"])
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let certs = || fs::read_dir(dir.path()).unwrap().flatten().map(|folder| folder.path().join("certs"));
        let log = || certs().any(|certs| certs.with_file_name("holdings.log").exists());
        eventually("a sidecar of the demo", || log().then_some(()));
        assert!(certs().all(|certs| certs.join("holdings/tls.key").exists()));
        kill_process(Pid::from_child(&demo), told).unwrap();
        let output = demo.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"{"), "{output:?}");
        assert!(certs().all(|certs| !certs.exists()), "keys outlive the demo");
    }
}
