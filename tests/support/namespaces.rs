//! Where does a test get hosts of its own? Two network namespaces joined by a cable, gone with the value, whatever became of
//! the test; none, said aloud, where that is not allowed or a program is missing.
//!
//! What is outside of them is not touched: the cable is made in them, and so are rules.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::servers::{Place, said};

/// The user that sidecars run as.
pub const SIDECAR: u32 = 2102;
/// The user that applications and their callers run as.
pub const APPLICATION: u32 = 1000;

/// What is run, with the Debian package that has it.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setpriv", "util-linux"),
    ("curl", "curl"),
    ("/usr/bin/python3", "python3"),
];

/// A network namespace.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// Its address on the cable.
    pub v4: Ipv4Addr,
    /// The same, of IPv6.
    pub v6: Ipv6Addr,
}

/// Two hosts on one cable. Each sends to the other what it knows no other way for.
pub fn pair() -> Option<[Host; 2]> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let missing = PROGRAMS.iter().filter(|(program, _)| {
        let mut asked = Command::new(program);
        asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_err()
    });
    let missing: Vec<_> = missing.map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return skipped(&format!("install {}", missing.join(", ")));
    }
    if let Some(closed) = closed_to_others(Path::new(env!("CARGO_BIN_EXE_outrigger"))) {
        return skipped(&format!(
            "other users may not enter {}, below which the binary is",
            closed.display()
        ));
    }
    bury();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut hosts = Vec::new();
    for nth in 1..=2u8 {
        let name = format!("outrigger-{}-{number}-{nth}", process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        if !made.status.success() {
            return skipped(&String::from_utf8_lossy(&made.stderr));
        }
        hosts.push(Host {
            name,
            v4: Ipv4Addr::new(10, 77, 0, nth),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, nth.into()),
        });
    }
    let [one, other] = <[Host; 2]>::try_from(hosts).unwrap();
    ip(&format!("link add cable netns {} type veth peer name cable netns {}", one.name, other.name));
    one.set_up(&other);
    other.set_up(&one);
    Some([one, other])
}

/// The directory on the way to a file that keeps other users out.
fn closed_to_others(file: &Path) -> Option<&Path> {
    let is_open = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    file.ancestors().skip(1).find(|dir| !is_open(dir))
}

/// Takes away what tests have left that were killed themselves.
fn bury() {
    for name in said(Command::new("ip").args(["netns", "list"])).lines() {
        let name = name.split(' ').next().unwrap_or_default();
        let made_by = name.strip_prefix("outrigger-").and_then(|rest| rest.split('-').next());
        if made_by.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            end(name);
        }
    }
}

/// Ends a network namespace, with whoever still runs there and would keep it alive.
fn end(name: &str) {
    let pids = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output();
    let pids = pids.map(|found| String::from_utf8_lossy(&found.stdout).into_owned()).unwrap_or_default();
    let _ = Command::new("kill").arg("-9").args(pids.split_whitespace()).stderr(Stdio::null()).status();
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

/// Not by `eprint!`, which the test harness keeps to itself.
fn skipped<T>(why: &str) -> Option<T> {
    let line = format!(
        "\nSKIPPED: a test in network namespaces, which takes root and some programs: {}\n",
        why.trim()
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn ip(words: &str) {
    said(Command::new("ip").args(words.split(' ')));
}

impl Host {
    fn set_up(&self, peer: &Self) {
        let Self { name, v4, v6 } = self;
        for words in [
            "link set lo up".to_owned(),
            format!("addr add {v4}/24 dev cable"),
            format!("addr add {v6}/64 dev cable nodad"),
            "link set cable up".to_owned(),
            format!("route add default via {}", peer.v4),
            format!("-6 route add default via {}", peer.v6),
        ] {
            ip(&format!("-n {name} {words}"));
        }
    }

    /// A command of the one who may do everything there.
    pub fn root(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).stdin(Stdio::null());
        command
    }

    /// A command of a user without any capability.
    pub fn user(&self, user: u32, program: &str) -> Command {
        let mut command = self.root("setpriv");
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--bounding-set", "-all"]);
        command.args(["--no-new-privs", "--", program]);
        command
    }

    /// For a server that listens on this port of every address.
    pub fn place(&self, port: u16) -> Place {
        let within = ["ip", "netns", "exec", &self.name].map(str::to_owned).into();
        Place { addr: SocketAddr::new(IpAddr::V4(self.v4), port), within }
    }

    /// What an application gets from a URL.
    #[track_caller]
    pub fn curl(&self, url: &str) -> String {
        said(&mut self.curling(APPLICATION, url))
    }

    /// How this user asks for a URL.
    pub fn curling(&self, user: u32, url: &str) -> Command {
        let mut command = self.user(user, "curl");
        command.args(["--silent", "--show-error", "--globoff", "--max-time", "10", "--noproxy", "*", url]);
        command
    }

    /// All rules that hold there.
    pub fn rules(&self) -> String {
        said(self.root("nft").args(["list", "ruleset"]))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        end(&self.name);
    }
}
