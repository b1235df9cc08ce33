//! How does a test get a sidecar? A process of the real binary, ready to serve, gone with the value.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::peer::Peer;
use super::{PATIENCE, free_addr};

/// A running sidecar. Its one upstream is called `origin`, and is the application behind the inbound port as well.
pub struct Sidecar {
    /// Where the service calls others.
    pub outbound: SocketAddr,
    /// Where others call the service.
    pub inbound: SocketAddr,
    /// Where Prometheus looks.
    pub metrics: SocketAddr,
    child: Child,
    dir: TempDir,
}

/// What a test wants that is not the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'a> {
    /// Further lines of the `Sidecar` document.
    pub sidecar: &'a str,
    /// Further lines of the `Upstream` document.
    pub upstream: &'a str,
    /// Further documents, each with its `---`.
    pub documents: &'a str,
    /// File descriptors that the process may have.
    pub descriptors: Option<u32>,
}

impl Sidecar {
    /// Before this origin, with the built-in policy.
    #[track_caller]
    pub fn before(origin: SocketAddr) -> Self {
        Self::with(origin, Policy::default())
    }

    /// Before this origin. Ports are chosen before they are bound, so somebody else may be faster: then it tries again.
    #[track_caller]
    pub fn with(origin: SocketAddr, policy: Policy<'_>) -> Self {
        let mut said = String::new();
        for _ in 0..5 {
            match Self::attempt(origin, policy) {
                Ok(sidecar) => return sidecar,
                Err(error) => said = error,
            }
        }
        panic!("no sidecar starts: {said}");
    }

    fn attempt(origin: SocketAddr, policy: Policy<'_>) -> Result<Self, String> {
        let [outbound, inbound, admin, metrics] = [(); 4].map(|()| free_addr());
        let dir = TempDir::new().expect("a temporary directory can be had");
        let port = inbound.port();
        let Policy { sidecar, upstream, documents, descriptors } = policy;
        let text = format!(
            "apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\nworkers: 1\n\
             inbound: [{{port: {port}, listen: {inbound}, forwardTo: {origin}}}]\n\
             outbound: {{listen: {outbound}}}\nadmin: {{listen: {admin}, metrics: {metrics}}}\n{sidecar}\n\
             ---\napiVersion: outrigger/v1\nkind: Upstream\nname: origin\n\
             discovery: {{static: [{origin}]}}\n{upstream}\n{documents}"
        );
        fs::write(dir.path().join("policy.yaml"), text).expect("a temporary directory takes files");
        let errors = File::create(dir.path().join("stderr")).expect("a temporary directory takes files");
        let child = command(descriptors)
            .args(["run", "--config"])
            .arg(dir.path().join("policy.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("the binary was built with the tests");
        let mut sidecar = Self { outbound, inbound, metrics, child, dir };
        if sidecar.listens() { Ok(sidecar) } else { Err(sidecar.errors()) }
    }

    /// Waits until it can be called; `false`: it has ended instead.
    fn listens(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        // The outbound port is bound with the inbound one, and a connection there is nobody's.
        while TcpStream::connect(self.outbound).is_err() {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > until {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// A connection as the service makes it.
    #[track_caller]
    pub fn calls_out(&self) -> Peer {
        Peer::connect(self.outbound)
    }

    /// A connection as others make it.
    #[track_caller]
    pub fn is_called(&self) -> Peer {
        Peer::connect(self.inbound)
    }

    /// The value of a metric, summed over the series whose line holds all of `labels`.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let mut peer = Peer::connect(self.metrics);
        peer.send("GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n");
        let text = peer.message().text();
        let lines = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        let fitting = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        fitting.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Memory in use, in KiB.
    pub fn resident(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says how much");
        line.trim_end_matches("kB").trim().parse().expect("a number of KiB")
    }

    /// What it wrote to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }
}

#[allow(clippy::print_stderr, reason = "a failed test is told what the sidecar said")]
impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the sidecar said ---\n{}", self.errors());
        }
    }
}

/// The binary, with so many file descriptors. The shell lowers its own limit, since that is the only safe way to.
fn command(descriptors: Option<u32>) -> Command {
    let binary = env!("CARGO_BIN_EXE_outrigger");
    let Some(descriptors) = descriptors else { return Command::new(binary) };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""), binary]);
    shell
}
