//! Do others understand us? Three TLS stacks that are not ours call a port that asks for certificates.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::guarded;
use crate::support::authority::Authority;
use crate::support::origin::Origin;
use crate::support::rig::Rig;

/// Callers with a certificate and without one, before a sidecar that wants one.
struct Scene {
    server: Rig,
    certs: TempDir,
    _theirs: TempDir,
}

impl Scene {
    fn new() -> Self {
        let ca = Authority::new("root");
        let [certs, theirs] = ["client", "server"].map(|name| ca.house(name));
        let server = guarded(Origin::always(200).addr, theirs.path(), "strict");
        Self { server, certs, _theirs: theirs }
    }

    fn port(&self) -> u16 {
        let to: SocketAddr = self.server.inbound;
        to.port()
    }

    fn file(&self, name: &str) -> String {
        let dir: &Path = self.certs.path();
        dir.join(name).display().to_string()
    }
}

/// Runs a program; `None`: it is not installed, which is said aloud.
#[allow(clippy::print_stderr, reason = "a test that shows nothing says so")]
fn run(program: &str, args: &[String], input: &str) -> Option<Output> {
    let piped = Stdio::piped;
    let child = Command::new(program).args(args).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: `{program}` is not installed, so nothing is known of how it gets on with us");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn se_1_curl_calls_with_its_certificate_and_not_without() {
    let scene = Scene::new();
    let port = scene.port();
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://localhost:{port}/ --resolve localhost:{port}:127.0.0.1");
        let anonymous =
            format!("-sS -o /dev/null -w %{{http_code}} {version} --cacert {} {url}", scene.file("ca.crt"));
        let known = format!("{anonymous} --cert {} --key {}", scene.file("tls.crt"), scene.file("tls.key"));
        let Some(known) = run("curl", &words(&known), "") else { return };
        assert_eq!(String::from_utf8_lossy(&known.stdout), "200", "{known:?}");
        let anonymous = run("curl", &words(&anonymous), "").unwrap();
        assert!(!anonymous.status.success());
    }
}

#[test]
fn se_1_openssl_agrees_with_us_on_version_key_and_protocol() {
    let scene = Scene::new();
    let args = format!(
        "s_client -connect 127.0.0.1:{} -CAfile {} -cert {} -key {} -alpn h2,http/1.1 -verify_return_error -brief",
        scene.port(),
        scene.file("ca.crt"),
        scene.file("tls.crt"),
        scene.file("tls.key"),
    );
    let Some(found) = run("openssl", &words(&args), "") else { return };
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert!(said.contains("Protocol version: TLSv1.3") && said.contains("Verification: OK"), "{said}");
    let old = run("openssl", &words(&format!("{args} -tls1_2")), "").unwrap();
    let said = String::from_utf8_lossy(&old.stderr).into_owned();
    assert!(said.contains("alert protocol version"), "{said}");
    scene.server.counts("tls_handshakes_total", &[("result", "wrong-version")], 1);
}

/// An announced end, a body, and a second request on the same connection.
const PYTHON: &str = r#"
import http.client, ssl, sys
port, ca, cert, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(cert, key)
connection = http.client.HTTPSConnection("localhost", int(port), context=context, timeout=10)
for _ in range(2):
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    print(answer.status, connection.sock.version())
strange = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection("localhost", int(port), context=strange, timeout=10)
try:
    connection.request("GET", "/")
    print(connection.getresponse().status)
except ssl.SSLError as error:
    print(error.reason)
"#;

#[test]
fn se_1_python_calls_with_its_certificate_and_is_told_without() {
    let scene = Scene::new();
    let mut args = words(&format!("- {}", scene.port()));
    args.extend(["ca.crt", "tls.crt", "tls.key"].map(|name| scene.file(name)));
    let Some(found) = run("python3", &args, PYTHON) else { return };
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(said, "200 TLSv1.3\n200 TLSv1.3\nTLSV13_ALERT_CERTIFICATE_REQUIRED\n", "{found:?}");
}
