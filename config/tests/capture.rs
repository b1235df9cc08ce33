//! What does a policy say of redirected connections where it says nothing?

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use outrigger_config::model::{Accepts, Capture, Config, ForwardTo, PortRange, Unknown, Upgrade, twin};
use outrigger_config::{Source, parse};

fn policy(rest: &str) -> Config {
    let text = format!("apiVersion: outrigger/v1\nkind: Sidecar\nname: holdings\n{rest}\n");
    parse(&[Source { name: "a.yaml".to_owned(), text }]).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn cf_9_what_nobody_names_is_rejected_unless_somebody_says_otherwise() {
    let config = policy(
        "inbound: [{port: 8080, capture: redirect, forwardTo: original}]\noutbound: {capture: redirect}",
    );
    let inbound = config.sidecar.inbound_capture.unwrap();
    assert_eq!((inbound.port, inbound.unknown), (15_006, Unknown::Reject));
    assert_eq!(inbound.passthrough(), None);
    assert_eq!(config.sidecar.inbound[0].forward_to, ForwardTo::Original);
    let outbound = config.sidecar.outbound.unwrap();
    assert_eq!((outbound.unknown, outbound.accepts), (Unknown::Reject, Accepts::Detect));
    assert_eq!(outbound.passthrough(), None);
    assert_eq!(outbound.exclude_cidrs[0].to_string(), "169.254.169.254/32");
    assert_eq!(twin(outbound.listen).unwrap().to_string(), "[::1]:15001");
}

#[test]
fn cf_9_nothing_is_captured_unless_it_is_written() {
    let config = policy("inbound: [{port: 8080, forwardTo: 127.0.0.1:8081}]\noutbound: {}");
    assert_eq!(config.sidecar.inbound[0].capture, Capture::Explicit);
    assert_eq!(config.sidecar.inbound_capture, None);
    assert_eq!(config.sidecar.outbound.unwrap().capture, Capture::Explicit);
}

#[test]
fn cf_9_what_is_let_through_opens_no_tunnel_of_ours() {
    let config = policy("outbound: {capture: redirect, unknown: allow}");
    let let_through = config.sidecar.outbound.unwrap().passthrough().unwrap();
    assert!(!let_through.policy.upgrades.contains(&Upgrade::Connect), "it is meant for another proxy");
}

#[test]
fn cf_9_excluded_ports_are_in_order_and_never_twice() {
    let config = policy("outbound: {capture: redirect, excludePorts: [9100, 90-110, 100-120, 121, 53]}");
    let ports: Vec<_> = config.sidecar.outbound.unwrap().exclude_ports;
    assert_eq!(ports.iter().map(PortRange::to_string).collect::<Vec<_>>(), ["53", "90-121", "9100"]);
}
