//! Do rules come and go as they should? All at once, as often as one likes, with nothing left and nobody cut off.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use super::scene::{Beside, application};
use crate::support::authority::Authority;
use crate::support::namespaces::{APPLICATION, SIDECAR, pair};

const POLICY: &str = "inbound: [{port: 8080, capture: redirect, tls: off, forwardTo: original}]\n\
                      outbound: {capture: redirect, unknown: allow}";

fn told(output: &Output) -> String {
    let [said, complaint] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{said}{complaint}")
}

#[test]
fn cf_9_rules_come_and_go_and_leave_the_others_alone() {
    let Some([one, _other]) = pair() else { return };
    let others =
        "table inet others { chain input { type filter hook input priority 0; tcp dport 7 drop; }; }";
    assert!(one.root("nft").arg(others).status().unwrap().success());
    let before = one.rules();
    let sidecar = Beside::prepare(&one, &Authority::new("root"), "ui", POLICY);
    for _ in 0..2 {
        assert!(sidecar.intercept(&["apply"]).status.success());
        let rules = one.rules();
        assert_eq!(rules.matches("table inet outrigger").count(), 1);
        assert!(rules.starts_with(&before) && rules.contains("redirect to :15001"), "{rules}");
    }
    for _ in 0..2 {
        let removed = sidecar.intercept(&["remove"]);
        assert!(removed.status.success(), "{}", told(&removed));
        assert_eq!(one.rules(), before);
    }
}

#[test]
fn cf_9_a_connection_lives_on_when_the_rules_go() {
    let Some([one, other]) = pair() else { return };
    let _app = application(&other, &["0.0.0.0:8080"]);
    let before = one.rules();
    let sidecar = Beside::start(&one, &Authority::new("root"), "ui", POLICY);
    let script = "import socket, sys\n\
                  with socket.create_connection(('10.77.0.2', 8080)) as s:\n \
                  answers = s.makefile('r')\n \
                  for line in sys.stdin:\n  \
                  s.sendall(b'GET / HTTP/1.1\\r\\nhost: any\\r\\n\\r\\n')\n  \
                  print(next(l for l in answers if l.startswith('any')), end='', flush=True)\n";
    let mut caller = one.user(APPLICATION, "/usr/bin/python3");
    let mut caller =
        caller.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asking = caller.stdin.take().unwrap();
    let mut answers = BufReader::new(caller.stdout.take().unwrap()).lines();
    let mut ask = || {
        asking.write_all(b"\n").unwrap();
        answers.next().unwrap().unwrap()
    };
    assert!(ask().starts_with("any from"));
    let removed = sidecar.intercept(&["remove"]);
    assert!(told(&removed).contains("for the 1 that are still open"), "{}", told(&removed));
    assert!(!one.rules().contains("redirect"));
    assert!(ask().starts_with("any from"), "it lives on");
    assert!(one.curl("http://10.77.0.2:8080/").contains("by nobody"));
    sidecar.counts("requests_total", &[("direction", "outbound")], 2);
    drop(asking);
    assert!(caller.wait().unwrap().success());
    sidecar.counts("connections_active", &[("direction", "outbound")], 0);
    let removed = sidecar.intercept(&["remove"]);
    assert!(removed.status.success(), "{}", told(&removed));
    assert_eq!(one.rules(), before);
}

#[test]
fn cf_9_a_check_finds_rules_that_work_and_says_what_is_missing() {
    let Some([one, _other]) = pair() else { return };
    let mut sidecar = Beside::prepare(&one, &Authority::new("root"), "ui", POLICY);
    let failed = |output: Output, why: &str| {
        assert_eq!((output.status.code(), told(&output).contains(why)), (Some(1), true), "{}", told(&output));
    };
    let outrigger = env!("CARGO_BIN_EXE_outrigger");
    failed(sidecar.intercept(&["check"]), "outrigger");
    failed(
        sidecar.intercept_by(one.user(APPLICATION, outrigger), &["apply", "--uid", "7"]),
        "CAP_NET_ADMIN is missing",
    );
    assert!(sidecar.intercept(&["apply"]).status.success());
    // Before the sidecar runs, and while it does.
    for _ in 0..2 {
        let checked = sidecar.intercept(&["check"]);
        assert!(checked.status.success(), "{}", told(&checked));
        for arrived in
            ["192.0.2.2:20002 arrives at 127.0.0.1:15001", "[2001:db8::2]:20002 arrives at [::1]:15001"]
        {
            assert!(told(&checked).contains(arrived), "{}", told(&checked));
        }
        if sidecar.id().is_none() {
            sidecar.run();
        }
    }
    failed(sidecar.intercept_by(one.user(SIDECAR, outrigger), &["check"]), "run it as another");
    failed(sidecar.intercept_by(one.user(SIDECAR, outrigger), &["apply"]), "CAP_NET_ADMIN is missing");
    let mut neighbour = one.user(SIDECAR, "sleep").arg("60").spawn().unwrap();
    let warned = crate::support::rig::eventually("a warning", || {
        let checked = sidecar.intercept(&["check"]);
        told(&checked).contains("(sleep) runs as user 2102").then(|| checked.status.success())
    });
    assert!(warned, "it works all the same");
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
    // Rules for a port of before.
    failed(sidecar.intercept(&["check", "--uid", "0"]), "run it as another");
}
