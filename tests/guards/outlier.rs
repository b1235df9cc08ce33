//! Who fails real requests is left alone; but never everyone.

use std::sync::atomic::Ordering;

use super::{ELSE, Patient, addrs};
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, eventually, upstream};

/// In turn, so that everyone is met.
const TURNS: &str = "loadBalancer: {policy: round-robin}\n";

fn storm(rig: &Rig, count: usize) {
    rig.storm(1, count, |caller, _| drop(caller.send(&get("up")).unwrap()));
}

#[test]
fn lb_5_well_by_its_checks_and_failing_is_ejected() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(ELSE, 503);
    let settings = format!(
        "{TURNS}healthCheck: {{http: /ping, interval: 100ms, timeout: 90ms}}\n\
         outlierDetection: {{consecutiveFailures: 3, baseEjectionTime: 30s}}"
    );
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    storm(&rig, 40);
    assert_eq!((patients[0].real(), patients[1].real()), (3, 37));
    let bad = patients[0].addr().to_string();
    rig.counts("endpoint_ejections_total", &[("cause", "consecutive-failures"), ("mode", "enforce")], 1);
    rig.counts("endpoint_healthy", &[("upstream", "up"), ("endpoint", &bad)], 0);
    rig.counts("endpoint_healthy", &[("upstream", "up")], 1);
    eventually("a check of it that passes", || {
        (rig.metric("health_checks_total", &[("result", "ready")]) > 4).then_some(())
    });
    assert_eq!(rig.metric("endpoint_healthy", &[("endpoint", &bad)]), 0, "what a check says frees nobody");
    assert!(rig.complaints().contains("endpoint ejected"));
}

#[test]
fn cf_8_without_a_word_of_policy() {
    let patients = [Patient::well(), Patient::well(), Patient::well()];
    patients[1].say(ELSE, 503);
    let rig = Rig::start(&[upstream("up", &addrs(&patients), TURNS)]);
    storm(&rig, 45);
    assert_eq!(patients[1].real(), 7);
    rig.counts("endpoint_ejections_total", &[("upstream", "up")], 1);
}

#[test]
fn lb_5_it_returns_and_is_forgiven() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(ELSE, 503);
    let settings = format!("{TURNS}outlierDetection: {{consecutiveFailures: 3, baseEjectionTime: 50ms}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    storm(&rig, 10);
    patients[0].say(ELSE, 200);
    let before = patients[0].real();
    eventually("a request to who was ejected", || {
        storm(&rig, 2);
        (patients[0].real() > before).then_some(())
    });
    rig.counts("endpoint_healthy", &[("upstream", "up")], 2);
}

#[test]
fn lb_6_never_everyone() {
    for (percent, ejected) in [("50%", 1), ("99%", 2)] {
        let origins = [(); 3].map(|()| Origin::always(503));
        let settings = format!(
            "outlierDetection: {{consecutiveFailures: 2, baseEjectionTime: 30s, maxEjectionPercent: {percent}}}"
        );
        let rig = Rig::start(&[upstream("up", &origins.each_ref().map(|origin| origin.addr), &settings)]);
        storm(&rig, 60);
        rig.counts("endpoint_ejections_total", &[("upstream", "up")], ejected);
        rig.counts("endpoint_healthy", &[("upstream", "up")], 3 - ejected);
        assert!(rig.metric("endpoint_ejections_spared_total", &[("upstream", "up")]) > 0, "{percent}");
    }
}

#[test]
fn lb_5_a_dry_run_ejects_nobody() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(ELSE, 503);
    let settings = format!("{TURNS}outlierDetection: {{mode: dryRun, consecutiveFailures: 3}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    storm(&rig, 40);
    assert_eq!((patients[0].real(), patients[1].real()), (20, 20));
    rig.counts("endpoint_ejections_total", &[("mode", "dry_run")], 1);
    rig.counts("endpoint_healthy", &[("upstream", "up")], 2);
}

#[test]
fn lb_5_an_ejection_outlives_a_reload() {
    let patients = [Patient::well(), Patient::well()];
    patients[0].say(ELSE, 503);
    let settings = format!("{TURNS}outlierDetection: {{consecutiveFailures: 3, baseEjectionTime: 30s}}");
    let rig = Rig::start(&[upstream("up", &addrs(&patients), &settings)]);
    storm(&rig, 10);
    rig.reload(&[upstream("up", &addrs(&patients), &settings.replace(": 3", ": 4"))]);
    storm(&rig, 20);
    assert_eq!(patients[0].real(), 3);
    patients[0].says[ELSE].store(200, Ordering::SeqCst);
    rig.reload(&[upstream("up", &addrs(&patients), &format!("{TURNS}outlierDetection: {{mode: off}}"))]);
    storm(&rig, 20);
    assert_eq!(patients[0].real(), 13, "nobody judges any more");
}
