//! Is the image what the README says, and does the unit hold? Read from their files, and from what was built of them.
//!
//! `docker build -t outrigger . && OUTRIGGER_IMAGE=outrigger cargo test image` looks into the built one too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::rig::eventually;

const BINARY: &str = "/usr/local/bin/outrigger";
const POLICY: &str = "apiVersion: outrigger/v1\nkind: Sidecar\nname: image\noutbound: {}\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Instructions with their continued lines, without comments.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

/// The value of the only instruction of this name in the last stage.
fn last(name: &str) -> String {
    let all = instructions();
    let stage = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let mut found = all[stage..].iter().filter_map(|line| line.strip_prefix(name)).map(str::trim);
    let value = found.next().unwrap_or_else(|| panic!("no {name} in the last stage")).to_owned();
    assert_eq!(found.next(), None, "{name} is said once");
    value
}

#[test]
fn u_25_the_last_stage_holds_a_binary_and_nothing_that_needs_a_shell() {
    let all = instructions();
    let stage = all.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    assert!(all[stage].starts_with("FROM gcr.io/distroless/cc-debian12:nonroot"), "{}", all[stage]);
    let others: Vec<_> = all[stage + 1..].iter().filter(|line| line.starts_with("RUN")).collect();
    assert!(others.is_empty(), "nothing is run in it: {others:?}");
    assert_eq!(last("USER"), "2102:2102");
    assert_eq!(last("ENTRYPOINT"), format!("[\"{BINARY}\"]"));
    assert_eq!(last("CMD"), "[\"run\", \"--config\", \"/etc/outrigger\"]");
    let check = last("HEALTHCHECK");
    let (_, command) = check.split_once("CMD ").unwrap();
    assert_eq!(command, format!("[\"{BINARY}\", \"wait\", \"--timeout\", \"1s\"]"));
}

#[test]
fn u_25_the_image_is_built_with_the_workspaces_compiler_of_files_that_docker_sees() {
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let all = instructions();
    assert!(all[0].starts_with(&format!("FROM rust:{version}-")), "{}", all[0]);
    let seen = read(".dockerignore");
    for line in all.iter().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        for source in &words[..words.len() - 1] {
            let top = source.split('/').next().unwrap();
            assert!(
                seen.lines().any(|line| line == format!("!{top}")),
                "{source} is hidden by .dockerignore"
            );
            assert!(root().join(source).exists(), "{source}");
        }
    }
}

/// Says aloud what is missing.
#[allow(clippy::print_stderr, reason = "a test that shows nothing says so")]
fn skip(missing: &str) {
    eprintln!("SKIPPED: {missing}");
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A container; gone with the value.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.0]).stdout(Stdio::null()).status();
    }
}

#[test]
fn u_25_the_built_image_runs_read_only_without_any_right() {
    let Ok(image) = std::env::var("OUTRIGGER_IMAGE") else {
        return skip("OUTRIGGER_IMAGE names no built image, so nothing is known of what is in it");
    };
    let described: Value = serde_json::from_str(&docker(&["image", "inspect", &image])).unwrap();
    let config = &described[0]["Config"];
    assert_eq!((&config["User"], &config["Entrypoint"]), (&json!("2102:2102"), &json!([BINARY])));

    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("policy.yaml"), POLICY).unwrap();
    let policy = format!("{}:/etc/outrigger:ro", dir.path().display());
    // Readable for the image's user too.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), open).unwrap();
    let confined =
        ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"];
    let run = [&["run", "--detach", "--volume", &policy][..], &confined, &[&image]].concat();
    let container = Container(docker(&run));
    docker(&["exec", &container.0, BINARY, "wait", "--timeout", "10s"]);
    docker(&["exec", &container.0, BINARY, "drain"]);
    let health = ["inspect", "--format", "{{.State.Health.Status}}", &container.0];
    eventually("health", || (docker(&health) == "healthy").then_some(()));
    docker(&["stop", &container.0]);
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.ExitCode}}", &container.0]),
        "0",
        "SIGTERM ends process 1"
    );

    let files = Command::new("sh")
        .args(["-c", "docker export \"$0\" | tar --list", &container.0])
        .output()
        .map(|output| String::from_utf8(output.stdout).unwrap())
        .unwrap();
    assert!(files.lines().any(|file| file == BINARY.trim_start_matches('/')), "{files}");
    for shell in ["bin/sh", "bin/bash", "bin/dash", "bin/busybox", "usr/bin/apt", "usr/bin/dpkg"] {
        assert!(!files.lines().any(|file| file.ends_with(shell)), "{shell}");
    }
}

/// What `systemd-analyze` knows of units, with our binary where the unit expects it.
#[test]
fn u_25_the_unit_is_well_formed_and_confined() {
    let unit = read("deploy/systemd/outrigger.service");
    for held in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=\n",
        "LimitNOFILE=",
        "KillMode=mixed",
    ] {
        assert!(unit.contains(held), "{held}");
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("outrigger.service");
    fs::write(&path, unit.replace(BINARY, env!("CARGO_BIN_EXE_outrigger"))).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
        return skip("`systemd-analyze` is not installed, so nobody has read the unit");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // Whether the machine's other units are in order is not asked here.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("outrigger")).collect();
    assert!(ours.is_empty(), "{said}");
}
