//! Does a client that everybody has get through? curl, by CONNECT and by `HTTP_PROXY`.

use std::process::Command;

use crate::support::draft::answer;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, upstream};

#[allow(clippy::print_stderr, reason = "a test that did not run must say so")]
#[test]
fn curl_calls_through_a_tunnel_and_as_a_proxy() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: curl is not installed");
        return;
    }
    let origin = Origin::start(|_, asked| Reply::Answer(answer(200).with("x-target", asked.target())));
    let rig = Rig::start(&[upstream("market-data", &[origin.addr], "")]);
    for options in [&["--proxytunnel"][..], &[]] {
        let proxy = format!("http://{}", rig.outbound);
        let called = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--include",
                "--max-time",
                "10",
                "--noproxy",
                "",
                "--proxy",
                &proxy,
            ])
            .args(options)
            .args(["http://market-data/quotes", "http://market-data/quotes?again"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&called.stdout);
        assert!(called.status.success(), "{options:?}: {}", String::from_utf8_lossy(&called.stderr));
        assert!(said.contains("x-target: /quotes\r") && said.contains("x-target: /quotes?again\r"), "{said}");
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[0].message.field("x-request-id").is_none(), "a tunnel is not looked into");
    assert!(seen[2].message.field("x-request-id").is_some(), "a proxied request is");
    // One tunnel and two requests.
    rig.counts("requests_total", &[("code", "200")], 3);
}
