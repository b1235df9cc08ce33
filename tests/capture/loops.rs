//! Can we be made to call ourselves for ever? Not by who calls our own ports, nor by rules that were made for another user.

use super::scene::{Beside, application};
use crate::support::authority::Authority;
use crate::support::namespaces::{SIDECAR, pair};

#[test]
fn cf_9_who_calls_a_captured_port_itself_is_refused() {
    let Some([one, other]) = pair() else { return };
    let _app = application(&one, &["127.0.0.1:8080"]);
    let policy = "inbound: [{port: 8080, capture: redirect, tls: off, forwardTo: \"127.0.0.1:8080\"}]\n\
                  inboundCapture: {unknown: allow}\noutbound: {capture: redirect, unknown: allow}";
    let sidecar = Beside::start(&one, &Authority::new("root"), "ui", policy);
    for url in ["http://10.77.0.1:15006/", "http://[fd77::1]:15006/"] {
        let refused = other.curling(SIDECAR, url).output().unwrap();
        assert!(!refused.status.success(), "{refused:?}");
    }
    let refused = |direction| [("direction", direction), ("reason", "not-redirected")];
    sidecar.counts("connections_refused_total", &refused("inbound"), 2);
    for url in ["http://127.0.0.1:15001/", "http://[::1]:15001/"] {
        assert!(!one.curling(1000, url).output().unwrap().status.success());
    }
    sidecar.counts("connections_refused_total", &refused("outbound"), 2);
}

#[test]
fn cf_9_rules_that_capture_the_sidecar_itself_make_no_loop() {
    let Some([one, other]) = pair() else { return };
    let _app = application(&other, &["0.0.0.0:8080"]);
    let policy = "outbound: {capture: redirect, unknown: allow}";
    let sidecar = Beside::start_for(&one, &Authority::new("root"), "ui", policy, 4242);
    let asked = one.curl("http://10.77.0.2:8080/");
    assert!(asked.contains("upstream-reset"), "{asked}");
    let loops = sidecar.metric("connections_refused_total", &[("reason", "loop")]);
    // One for the attempt and one for each retry, or a few more where a worker was faster than the other.
    assert!((1..20).contains(&loops), "{loops}");
    sidecar.counts("connections_active", &[("direction", "outbound")], 0);
}
