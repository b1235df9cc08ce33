//! Who is down or not ready gets nothing new; who lives and wants work, does.

use std::net::TcpListener;
use std::time::Duration;

use super::{PING, Patient, READY, addrs};
use crate::support::caller::Caller;
use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes, eventually, upstream};

const TURNS: &str = "loadBalancer: {policy: round-robin}\n";
/// As fast as may be.
const FAST: &str = "interval: 100ms, timeout: 90ms, unhealthyAfter: 2, healthyAfter: 2";

fn healthy(rig: &Rig, count: u64) {
    rig.counts("endpoint_healthy", &[("upstream", "up")], count);
}

fn storm(rig: &Rig, count: usize) {
    rig.storm(1, count, |caller, _| assert_eq!(caller.send(&get("up")).unwrap().status(), 200));
}

#[test]
fn lb_3_who_fails_its_checks_is_out_until_it_passes_them() {
    let patients = [Patient::well(), Patient::well()];
    let rig = Rig::start(&[upstream(
        "up",
        &addrs(&patients),
        &format!("{TURNS}healthCheck: {{http: /ping, {FAST}}}"),
    )]);
    eventually("checks of both", || {
        (rig.metric("health_checks_total", &[("result", "ready")]) >= 2).then_some(())
    });
    patients[0].say(PING, 500);
    healthy(&rig, 1);
    let before = patients[0].real();
    storm(&rig, 10);
    assert_eq!((patients[0].real(), patients[1].real()), (before, 10));
    patients[0].say(PING, 204);
    healthy(&rig, 2);
    storm(&rig, 10);
    assert_eq!(patients[0].real(), before + 5);
    assert!(
        rig.complaints().contains("change=\"died\"") && rig.complaints().contains("change=\"recovered\"")
    );
    let asked = patients[0].origin.seen();
    let check = asked.iter().find(|seen| seen.message.target() == "/ping").unwrap();
    assert_eq!((check.message.method(), check.message.field("host")), ("GET", Some("up")));
}

#[test]
fn lb_4_who_is_not_ready_gets_nothing_new_and_finishes_what_it_has() {
    let patients = [Patient::well(), Patient::well()];
    let late = Origin::start(|_, request| match request.target() {
        "/ping" => Reply::Answer(answer(200)),
        "/ready" => Reply::Answer(answer(503)),
        _ => Reply::Late(Duration::from_millis(200), answer(200)),
    });
    let settings = format!("{TURNS}healthCheck: {{http: /ping, readiness: /ready, {FAST}}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    eventually("checks of both", || {
        (rig.metric("health_checks_total", &[("result", "ready")]) >= 2).then_some(())
    });
    patients[0].say(READY, 503);
    healthy(&rig, 1);
    storm(&rig, 10);
    assert_eq!((patients[0].real(), patients[1].real()), (0, 10));
    assert!(rig.metric("health_checks_total", &[("result", "not-ready")]) > 0);
    assert_eq!(rig.metric("health_checks_total", &[("result", "failed")]), 0, "no crash");
    assert!(rig.complaints().contains("change=\"became-unready\""));

    let slow = Rig::start(&[upstream("up", &[late.addr], "")]);
    let mut caller = slow.caller();
    caller.begin(&get("up")).unwrap();
    eventually("the request there", || (late.count() == 1).then_some(()));
    slow.reload(&[upstream("up", &[late.addr], &settings)]);
    assert_eq!(caller.finish().unwrap().status(), 200);
    healthy(&slow, 0);
    assert_eq!(slow.caller().send(&get("up")).unwrap().reason(), "no-healthy-endpoint");
}

#[test]
fn lb_6_nobody_is_fit() {
    let patients = [Patient::well(), Patient::well()];
    for patient in &patients {
        patient.say(PING, 500);
    }
    let settings = format!("healthCheck: {{http: /ping, {FAST}}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    healthy(&rig, 0);
    let refused = rig.caller().send(&get("up")).unwrap();
    assert_eq!((refused.status(), refused.reason()), (503, "no-healthy-endpoint"));
    assert!(refused.field("retry-after").is_some());
    rig.counts("requests_total", &[("code", "503"), ("flag", "UH")], 1);

    let panicking = format!("{settings}\nloadBalancer: {{panicThreshold: 60%}}");
    rig.reload(&[upstream("up", &addrs(&patients), &panicking)]);
    storm(&rig, 10);
    rig.counts("panic", &[("upstream", "up")], 1);
    rig.counts("panic_attempts_total", &[("upstream", "up")], 10);
    for patient in &patients {
        patient.say(PING, 200);
    }
    rig.counts("panic", &[("upstream", "up")], 0);
}

#[test]
fn lb_3_a_dry_run_takes_nobody_out() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(PING, 500);
    let settings = format!("{TURNS}healthCheck: {{mode: dryRun, http: /ping, {FAST}}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    eventually("a failed check", || {
        (rig.metric("health_checks_total", &[("result", "failed")]) > 1).then_some(())
    });
    storm(&rig, 10);
    assert_eq!(patients[0].real(), 5);
}

#[test]
fn lb_12_readiness_mirrors_the_application() {
    let app = Patient::well();
    let check = format!("{{http: /ping, readiness: /ready, {FAST}}}");
    let wishes =
        Wishes { app: Some(app.addr()), inbound: format!("healthCheck: {check}"), ..Wishes::default() };
    let rig = Rig::with(&wishes, &[]);
    let says = |status| eventually("readiness", || (rig.probe("/readyz") == Some(status)).then_some(()));
    says(200);
    app.say(READY, 503);
    says(503);
    assert!(rig.ask("/readyz").unwrap().text().contains("the application behind inbound-"));
    assert_eq!(rig.probe("/livez"), Some(200));
    let mut caller = Caller::of(rig.inbound);
    assert_eq!(caller.send(&get("anybody")).unwrap().status(), 200, "who comes all the same is served");
    app.say(READY, 200);
    says(200);
}

#[test]
fn lb_7_a_connect_is_life() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mute, well) = (listener.local_addr().unwrap(), Patient::well());
    let rig =
        Rig::start(&[upstream("up", &[mute, well.addr()], &format!("healthCheck: {{tcp: true, {FAST}}}"))]);
    eventually("checks of both", || {
        (rig.metric("health_checks_total", &[("result", "ready")]) >= 2).then_some(())
    });
    healthy(&rig, 2);
    drop(listener);
    healthy(&rig, 1);
    storm(&rig, 5);
}

#[test]
fn lb_3_what_is_known_outlives_a_reload() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(PING, 500);
    let settings = format!("{TURNS}healthCheck: {{http: /ping, {FAST}}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    healthy(&rig, 1);
    rig.reload(&[upstream("up", &addrs(&patients), &settings.replace("interval: 100ms", "interval: 200ms"))]);
    storm(&rig, 10);
    assert_eq!(patients[0].real(), 0);
}
