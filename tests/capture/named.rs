//! Where does a captured connection go? To whom it names, to whom it was meant for, or where it was meant to go.

use super::HOLDINGS;
use super::scene::{Beside, application};
use crate::support::authority::Authority;
use crate::support::namespaces::{SIDECAR, pair};
use crate::support::servers::said;

const PASSTHROUGH: (&str, &str) = ("upstream", "passthrough");

#[test]
fn cf_9_both_sides_are_captured_and_prove_themselves_in_either_family() {
    let Some([one, other]) = pair() else { return };
    let authority = Authority::new("root");
    let _app = application(&other, &["0.0.0.0:8080", &format!("{}:8080", other.v6)]);
    let policy = "inbound: [{port: 8080, capture: redirect, forwardTo: original}]";
    let server = Beside::start(&other, &authority, "holdings", policy);
    let client =
        Beside::start(&one, &authority, "ui", &format!("outbound: {{capture: redirect}}\n{HOLDINGS}"));
    for url in [
        "http://10.77.0.2:8080/",
        "http://[fd77::2]:8080/",
        "http://10.96.0.7:8080/",
        "http://[fd96::7]:8080/",
    ] {
        let answer = one.curl(url);
        assert!(answer.contains("URI=spiffe://tests/ui"), "{url}: {answer}");
    }
    // By its name, wherever the name leads.
    let named = said(one.curling(1000, "http://192.0.2.9/").args(["--header", "host: holdings"]));
    assert!(named.starts_with("holdings from") && named.contains("URI=spiffe://tests/ui"), "{named}");
    client.counts(
        "requests_total",
        &[("direction", "outbound"), ("upstream", "holdings"), ("code", "200")],
        5,
    );
    server.counts("requests_total", &[("direction", "inbound"), ("upstream", "inbound-8080")], 5);
    assert!(client.metric("tls_handshakes_total", &[("direction", "outbound"), ("result", "full")]) > 0);
    // Past the sidecar it is somebody without a certificate.
    let direct = said(&mut one.curling(SIDECAR, "http://10.77.0.2:8080/"));
    assert!(direct.starts_with("plaintext-refused"), "{direct}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.id().unwrap())).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn cf_9_what_nobody_names_goes_where_it_was_meant_to_go() {
    let Some([one, other]) = pair() else { return };
    let authority = Authority::new("root");
    let _app = application(&other, &["0.0.0.0:8090", &format!("{}:8090", other.v6)]);
    let client = Beside::start(&one, &authority, "ui", "outbound: {capture: redirect, unknown: allow}");
    for url in ["http://10.77.0.2:8090/", "http://[fd77::2]:8090/"] {
        // Whatever it says of itself, no name is looked up.
        let answer = said(one.curling(1000, url).args(["--header", "host: localhost:15000"]));
        assert!(answer.starts_with("localhost:15000 from"), "{answer}");
    }
    client.counts("requests_total", &[PASSTHROUGH, ("code", "200")], 2);
    // Nor may it lead to us.
    let own = one.curling(1000, "http://10.77.0.2:9/").args(["--header", "host: localhost:15000"]).output();
    assert!(String::from_utf8_lossy(&own.unwrap().stdout).starts_with("connect-refused"));
}

#[test]
fn cf_9_what_nobody_names_goes_nowhere_unless_that_is_allowed() {
    let Some([one, other]) = pair() else { return };
    let authority = Authority::new("root");
    let _app = application(&other, &["0.0.0.0:8090", "0.0.0.0:8080"]);
    let client = Beside::start(&one, &authority, "ui", "outbound: {capture: redirect}");
    assert!(one.curl("http://10.77.0.2:8090/").starts_with("no-route"));
    client.counts("requests_total", &[("direction", "outbound"), ("code", "404")], 1);
    let policy = |unknown: &str| {
        format!(
            "inbound: [{{port: 8080, capture: redirect, tls: off, forwardTo: original}}]\ninboundCapture: {{{unknown}}}"
        )
    };
    let direct = |port: u16| one.curling(SIDECAR, &format!("http://10.77.0.2:{port}/")).output().unwrap();
    {
        let server = Beside::start(&other, &authority, "holdings", &policy("unknown: reject"));
        assert!(direct(8080).status.success());
        assert!(!direct(8090).status.success());
        server.counts("connections_refused_total", &[("reason", "unknown-port")], 1);
    }
    let server = Beside::start(&other, &authority, "holdings", &policy("unknown: allow"));
    assert!(direct(8090).status.success());
    server.counts("tcp_connections_total", &[("upstream", "inbound-passthrough")], 1);
}
