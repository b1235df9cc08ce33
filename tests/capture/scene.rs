//! What runs on a host of a test? A sidecar without any capability beside an application that knows nothing of it.

use std::fs;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::authority::Authority;
use crate::support::eventually;
use crate::support::namespaces::{APPLICATION, Host, SIDECAR};
use crate::support::rig::count;
use crate::support::servers::said;

/// Answers each request with who asked it, where, and by which certificate.
const SERVER: &str = r#"
import socket, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        peer, here = self.client_address[0], self.connection.getsockname()[0]
        cert = self.headers.get("x-forwarded-client-cert", "nobody")
        text = f"{self.headers['host']} from {peer} at {here} by {cert}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *words):
        pass

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

class Server6(Server):
    address_family = socket.AF_INET6

for place in sys.argv[1:]:
    address, port = place.rsplit(":", 1)
    server = (Server6 if ":" in address else Server)((address, int(port)), Handler)
    threading.Thread(target=server.serve_forever).start()
"#;

/// A process that ends with the test.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An application that serves HTTP at these places, such as `127.0.0.1:8080`.
pub fn application(host: &Host, places: &[&str]) -> Running {
    let mut command = host.user(APPLICATION, "/usr/bin/python3");
    let running = Running(command.args(["-c", SERVER]).args(places).spawn().unwrap());
    for place in places {
        let url = match place.rsplit_once(':').unwrap() {
            ("0.0.0.0", port) => format!("http://127.0.0.1:{port}"),
            ("::", port) => format!("http://[::1]:{port}"),
            (address, port) if address.contains(':') => format!("http://[{address}]:{port}"),
            _ => format!("http://{place}"),
        };
        // The sidecar's user, so that whatever is captured doesn't matter.
        eventually("an application", || host.curling(SIDECAR, &url).output().unwrap().status.success());
    }
    running
}

/// A sidecar on a host, with the rules that bring it connections.
pub struct Beside<'h> {
    host: &'h Host,
    dir: TempDir,
    sidecar: Option<Running>,
}

impl<'h> Beside<'h> {
    /// Named `name` among those whom `authority` vouches for; `policy` follows the head of its document.
    pub fn start(host: &'h Host, authority: &Authority, name: &str, policy: &str) -> Self {
        Self::start_for(host, authority, name, policy, SIDECAR)
    }

    /// The same with rules that take it for this user.
    pub fn start_for(host: &'h Host, authority: &Authority, name: &str, policy: &str, user: u32) -> Self {
        let mut beside = Self::prepare(host, authority, name, policy);
        let applied = beside.intercept(&["apply", "--uid", &user.to_string()]);
        assert!(applied.status.success(), "{applied:?}");
        beside.run();
        beside
    }

    /// Policy and credentials alone.
    pub fn prepare(host: &'h Host, authority: &Authority, name: &str, policy: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let certs = dir.path().join("certs");
        fs::create_dir(&certs).unwrap();
        authority.furnish(&certs, &authority.issue(name));
        let head = format!("apiVersion: outrigger/v1\nkind: Sidecar\nname: {name}\nworkers: 1\n");
        let text = format!("{head}identity: {{certDir: {}}}\n{policy}\n", certs.display());
        fs::write(dir.path().join("policy.yaml"), text).unwrap();
        said(Command::new("chown").args(["-R", &SIDECAR.to_string()]).arg(dir.path()));
        Self { host, dir, sidecar: None }
    }

    /// Starts the sidecar, and waits until it is ready.
    pub fn run(&mut self) {
        let mut command = self.host.user(SIDECAR, env!("CARGO_BIN_EXE_outrigger"));
        command.args(["run", "--config"]).arg(self.dir.path().join("policy.yaml"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.sidecar = Some(Running(child));
        let url = "http://127.0.0.1:15020/readyz";
        eventually("readiness", || {
            self.host.curling(APPLICATION, url).arg("--fail").output().unwrap().status.success()
        });
    }

    /// Its process, once it runs: each word before the program replaces itself by the next.
    pub fn id(&self) -> Option<u32> {
        self.sidecar.as_ref().map(|Running(child)| child.id())
    }

    /// `outrigger intercept` as root.
    pub fn intercept(&self, words: &[&str]) -> Output {
        self.intercept_by(self.host.root(env!("CARGO_BIN_EXE_outrigger")), words)
    }

    /// The same by somebody else.
    pub fn intercept_by(&self, mut outrigger: Command, words: &[&str]) -> Output {
        outrigger.arg("intercept").arg(words[0]).arg("--config").arg(self.dir.path().join("policy.yaml"));
        outrigger.args(&words[1..]).output().unwrap()
    }

    /// The sum of all series of a family (named without prefix) that bear these labels.
    pub fn metric(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        count(&self.host.curl("http://127.0.0.1:15020/metrics"), family, labels)
    }

    /// Waits until [`metric`](Self::metric) says so.
    #[track_caller]
    pub fn counts(&self, family: &str, labels: &[(&str, &str)], wanted: u64) {
        eventually(&format!("{family} {labels:?} {wanted}"), || self.metric(family, labels) == wanted);
    }
}
