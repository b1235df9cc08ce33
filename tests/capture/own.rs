//! Does an application reach itself, and those whom the sidecar is to leave alone? By every address, wherever it listens.

use super::scene::{Beside, application};
use crate::support::authority::Authority;
use crate::support::namespaces::pair;

/// On loopback, on the address of the host, on all; each has a virtual address of its own.
const POLICY: &str = "\
inbound:
  - {port: 8081, capture: redirect, forwardTo: \"127.0.0.1:8081\"}
  - {port: 8082, capture: redirect, forwardTo: original}
  - {port: 8083, capture: redirect, forwardTo: original}
  - {port: 8084, capture: redirect, forwardTo: \"[::1]:8084\"}
inboundCapture: {excludePorts: [9999]}
outbound: {capture: redirect, excludePorts: [9999], excludeCidrs: [\"10.88.0.0/16\"]}
";

fn own(port: u16, endpoint: &str) -> String {
    format!(
        "---\napiVersion: outrigger/v1\nkind: Upstream\nname: own-{port}\n\
         addresses: [\"10.96.0.1:{port}\", \"[fd96::1]:{port}\"]\ndiscovery: {{static: [\"{endpoint}:{port}\"]}}\n\
         tls: {{mode: mutual, peerIdentities: [\"spiffe://tests/ui\"]}}\n"
    )
}

#[test]
fn cf_9_an_application_calls_itself_by_any_address_wherever_it_listens() {
    let Some([one, _other]) = pair() else { return };
    let places =
        ["127.0.0.1:8081", "10.77.0.1:8082", "fd77::1:8082", "0.0.0.0:8083", "fd77::1:8083", "::1:8084"];
    let _app = application(&one, &places);
    let upstreams = [(8081, "10.77.0.1"), (8082, "10.77.0.1"), (8083, "[fd77::1]"), (8084, "[fd77::1]")];
    let upstreams: String = upstreams.map(|(port, endpoint)| own(port, endpoint)).concat();
    let sidecar = Beside::start(&one, &Authority::new("root"), "ui", &format!("{POLICY}{upstreams}"));
    // By a virtual address: out, and in again, as if it were anybody.
    for port in 8081..=8084 {
        for address in ["10.96.0.1", "[fd96::1]"] {
            let answer = one.curl(&format!("http://{address}:{port}/"));
            assert!(answer.contains("URI=spiffe://tests/ui"), "{address}:{port}: {answer}");
        }
    }
    sidecar.counts("requests_total", &[("direction", "inbound"), ("code", "200")], 8);
    // By an own address, and by loopback: past the sidecar.
    let accepted = sidecar.metric("connections_total", &[]);
    for url in [
        "http://127.0.0.1:8081/",
        "http://10.77.0.1:8081/",
        "http://10.77.0.1:8082/",
        "http://[fd77::1]:8082/",
        "http://127.0.0.1:8083/",
        "http://10.77.0.1:8083/",
        "http://[fd77::1]:8083/",
        "http://[::1]:8084/",
        "http://[fd77::1]:8084/",
    ] {
        let answer = one.curl(url);
        assert!(answer.contains("by nobody"), "{url}: {answer}");
    }
    assert_eq!(sidecar.metric("connections_total", &[]), accepted);
}

#[test]
fn cf_9_what_is_excluded_is_not_captured() {
    let Some([one, other]) = pair() else { return };
    let authority = Authority::new("root");
    let _apps =
        [application(&one, &["0.0.0.0:9999"]), application(&other, &["0.0.0.0:9999", "0.0.0.0:8085"])];
    let sidecar = Beside::start(&one, &authority, "ui", POLICY);
    let ip = |words: &[&str]| assert!(other.root("ip").args(words).status().unwrap().success());
    ip(&["addr", "add", "10.88.0.1/32", "dev", "lo"]);
    let accepted = sidecar.metric("connections_total", &[]);
    for url in ["http://10.77.0.2:9999/", "http://10.88.0.1:8085/"] {
        assert!(one.curl(url).contains("by nobody"), "{url}");
    }
    assert!(other.curl("http://10.77.0.1:9999/").contains("by nobody"));
    assert_eq!(sidecar.metric("connections_total", &[]), accepted);
    assert!(one.curl("http://10.77.0.2:8085/").starts_with("no-route"), "and the others are");
}
