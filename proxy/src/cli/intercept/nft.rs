//! What does the kernel say to rules? `nft` takes them to it; where it cannot, this says what is missing.

use std::fs;
use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

/// Bit of the capability to change rules (capabilities(7)).
const NET_ADMIN: u32 = 12;

/// Makes these the rules, all or none of them.
pub(super) fn load(rules: &str) -> Result<(), String> {
    let output = run(&["-f", "-"], rules)?;
    if output.status.success() { Ok(()) } else { Err(because(&output)) }
}

/// Our table as the kernel has it.
pub(super) fn list() -> Result<String, String> {
    let output = run(&["list", "table", "inet", "outrigger"], "")?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(because(&output))
    }
}

/// Whether this process may look at rules and change them.
pub(super) fn may_change() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> NET_ADMIN & 1 == 1)
}

fn run(arguments: &[&str], input: &str) -> Result<Output, String> {
    let piped = Stdio::piped;
    let child = Command::new("nft").args(arguments).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let mut child = child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "`nft` is not installed (Debian's package `nftables`); \
                                `outrigger intercept print` says what it would be told"
            .to_owned(),
        _ => format!("cannot run `nft`: {error}"),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // If it doesn't listen, it says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(|error| format!("cannot run `nft`: {error}"))
}

fn because(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    if may_change() {
        format!("nft: {said}")
    } else {
        format!(
            "CAP_NET_ADMIN is missing: it takes root, or a container with that capability alone (nft: {said})"
        )
    }
}
