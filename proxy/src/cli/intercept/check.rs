//! Does it work? A connection to an address that nobody has must arrive at the sidecar.
//!
//! Where the sidecar doesn't run yet, this process takes its place at the outbound port and sends a word of its own to whom
//! it finds there. Where it runs, it is asked something that it refuses in its own words, and passes on to nobody.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use outrigger_config::model::{Capture, Config, twin};
use rustix::process::geteuid;

use super::nft;
use super::ruleset::Ruleset;
use crate::cli::print;
use crate::downstream::original_dst::original_dst;

/// Nobody has them (RFC 5737 §3, RFC 3849).
const NOBODY: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2))];
/// Any that is not left out by chance.
const PORT: u16 = 20_002;
/// More than a connection within one host ever takes.
const PATIENCE: Duration = Duration::from_secs(2);
/// No request, since it has no Host (RFC 9112 §3.2): every policy refuses it before it is routed.
const NO_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
/// What only a sidecar says.
const REASON: &str = "x-outrigger-reason";

/// What became of a connection.
enum Found {
    /// It arrived.
    Redirected,
    /// The host has no way to send it.
    NoRoute,
}

/// Tries the rules out, and says what it found.
pub(super) fn run(config: &Config, ruleset: &Ruleset) -> Result<(), String> {
    let told = |line: String| print(line + "\n").map_err(|_| "nobody reads the result".to_owned());
    if geteuid().as_raw() == ruleset.uid {
        let uid = ruleset.uid;
        return Err(format!(
            "this process runs as user {uid}, whose connections are not redirected: run it as another"
        ));
    }
    if nft::may_change() {
        let found = nft::list()?;
        let missing = |port: &u16| !found.contains(&format!("redirect to :{port}"));
        if let Some(port) = ruleset.ports().into_iter().find(missing) {
            return Err(format!("the rules redirect nothing to port {port}: apply them again"));
        }
    }
    let captured = config.sidecar.outbound.as_ref().filter(|outbound| outbound.capture == Capture::Redirect);
    if let Some(listen) = captured.map(|outbound| outbound.listen) {
        let ways = [Some(listen), twin(listen)].into_iter().flatten().zip(NOBODY);
        let found = ways.map(|(listen, nobody)| {
            let to = SocketAddr::new(nobody, PORT);
            let found = dial(listen, to).map_err(|error| format!("a connection to {to}: {error}"))?;
            told(match found {
                Found::Redirected => format!("a connection to {to} arrives at {listen}"),
                Found::NoRoute => format!("a connection to {to} has no route, and so nothing redirects it"),
            })?;
            Ok::<_, String>(matches!(found, Found::Redirected))
        });
        if !found.collect::<Result<Vec<_>, _>>()?.contains(&true) {
            return Err("no connection could be made: the host has no route to anywhere".to_owned());
        }
    }
    neighbours(ruleset.uid).into_iter().try_for_each(told)
}

fn dial(listen: SocketAddr, to: SocketAddr) -> Result<Found, String> {
    let stand_in = match TcpListener::bind(listen) {
        Ok(listener) => Some(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => return Ok(Found::NoRoute),
        Err(error) => return Err(format!("{listen}: {error}")),
    };
    let mut stream = match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if is_unroutable(&error) => return Ok(Found::NoRoute),
        Err(error) => return Err(format!("not redirected ({error})")),
    };
    let limited =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    limited.map_err(|error| error.to_string())?;
    let found = match stand_in {
        Some(listener) => stand(&listener, &mut stream, to),
        None => ask(&mut stream),
    };
    found.map(|()| Found::Redirected).map_err(|error| format!("it arrives elsewhere ({error})"))
}

fn is_unroutable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
}

/// Takes the sidecar's place.
fn stand(listener: &TcpListener, stream: &mut TcpStream, to: SocketAddr) -> io::Result<()> {
    let token = fastrand::u64(..).to_be_bytes();
    listener.set_nonblocking(true)?;
    let (mut arrived, peer) = listener.accept()?;
    let meant = original_dst(&arrived, peer).map_err(|refused| io::Error::other(refused.label()))?;
    if meant != to {
        return Err(io::Error::other(format!("as one to {meant}")));
    }
    arrived.write_all(&token)?;
    let mut found = [0; 8];
    stream.read_exact(&mut found)?;
    if found == token { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Hears whether it is the sidecar.
fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(NO_REQUEST)?;
    let mut answer = Vec::new();
    let ended = stream.take(16 * 1024).read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    match ended {
        _ if answer.contains(REASON) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("the port is taken by something else than the sidecar")),
    }
}

/// Who else runs as the sidecar's user, in this network namespace: nothing of theirs is redirected.
fn neighbours(uid: u32) -> Vec<String> {
    let network = |process: &Path| fs::metadata(process.join("ns/net")).map(|network| network.ino()).ok();
    let Some(here) = network(Path::new("/proc/self")) else { return Vec::new() };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let foreign = processes.filter_map(|process| {
        let id: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let is_there = fs::metadata(&process).ok()?.uid() == uid && network(&process) == Some(here);
        let name = fs::read_to_string(process.join("comm")).ok()?;
        let name = name.trim();
        let is_foreign = is_there && name != "outrigger";
        is_foreign.then(|| {
            format!("warning: process {id} ({name}) runs as user {uid} like the sidecar: its connections are not redirected")
        })
    });
    foreign.collect()
}
