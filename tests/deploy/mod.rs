//! Does what lies in `deploy/` fit what a sidecar is and shows? Alerts, dashboard, Compose, Kubernetes.

mod alerts;
mod compose;
mod kubernetes;
mod kustomize;
mod monitored;
mod scrape;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::Regex;

/// A path below `deploy/`.
fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(file)
}

/// A file below `deploy/`.
fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What the first group of a pattern finds.
fn found<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// Runs a program in `deploy/`; `None`, said aloud: it is not installed.
fn run(program: &str, package: &str, words: &[&str], input: &str) -> Option<Output> {
    let piped = Stdio::piped;
    let mut command = Command::new(program);
    command.args(words).current_dir(path("")).stdin(piped()).stdout(piped()).stderr(piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            missing(program, package);
            return None;
        }
        child => child.unwrap(),
    };
    // Who ends without having read it says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    Some(child.wait_with_output().unwrap())
}

/// The same, and it must be content.
#[track_caller]
fn passes(program: &str, package: &str, words: &[&str], input: &str) -> Option<String> {
    let output = run(program, package, words, input)?;
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success(), "{program} {words:?}: {said}{complained}");
    Some(said)
}

/// Not by `eprint!`, which the test harness keeps to itself.
fn missing(program: &str, package: &str) {
    let line = format!("\nSKIPPED: a test of deploy/, since there is no `{program}`; install {package}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// A sidecar would run with the policy in this directory.
#[track_caller]
fn is_valid(policy: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    let output = command.arg("validate").arg(policy).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", policy.display());
}
