//! What can be seen from outside? Metrics for Prometheus, and an access log that stays small.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crate::support::caller::Caller;
use crate::support::draft::{answer, ask, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes, eventually, upstream};

#[test]
fn ob_1_golden_signals_in_both_directions() {
    let app = Origin::start(|_, request| match request.target() {
        "/fail" => Reply::Answer(answer(500)),
        _ => Reply::Answer(answer(200).with("x-app", 1)),
    });
    let rig =
        Rig::with(&Wishes { app: Some(app.addr), ..Wishes::default() }, &[upstream("up", &[app.addr], "")]);
    let mut inbound = Caller::of(rig.inbound);
    for _ in 0..3 {
        rig.caller().send(&get("up")).unwrap();
        inbound.send(&get("us")).unwrap();
    }
    rig.caller().send(&ask("GET", "/fail", "up")).unwrap();
    for (direction, code, count) in [("inbound", "200", 3), ("outbound", "200", 3), ("outbound", "500", 1)] {
        rig.counts("requests_total", &[("direction", direction), ("code", code)], count);
    }
    rig.counts("request_duration_seconds_count", &[("direction", "outbound"), ("upstream", "up")], 4);
    rig.counts("connections_active", &[("direction", "inbound")], 1);
}

#[test]
fn ob_1_a_scrape_is_well_formed() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    rig.caller().send(&get("up")).unwrap();
    let answer = rig.ask("/metrics").unwrap();
    assert!(
        answer.field("content-type").unwrap().starts_with("text/plain")
            || answer.field("content-type").unwrap().starts_with("application/openmetrics-text")
    );
    let text = String::from_utf8(answer.body).unwrap();
    let mut typed = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "{line}: twice");
        } else if !line.starts_with('#') && !line.is_empty() {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|name| typed.contains(*name)));
            assert!(typed.contains(family.unwrap_or(name)), "{line}: no type");
        }
    }
    assert!(typed.len() > 10);
}

#[test]
fn ob_3_failures_and_the_slow_are_all_written_and_successes_are_sampled() {
    let origin = Origin::start(|_, request| match request.field("x-do") {
        Some("fail") => Reply::Answer(answer(503)),
        Some("late") => Reply::Late(Duration::from_millis(60), answer(200)),
        _ => Reply::Answer(answer(200)),
    });
    let sidecar = "accessLog: {successSample: 0%, slowerThan: 50ms}".to_owned();
    let rig = Rig::with(&Wishes { sidecar, ..Wishes::default() }, &[upstream("up", &[origin.addr], "")]);
    let mut caller = rig.caller();
    for what in ["none", "fail", "none", "late", "none", "fail"] {
        caller.send(&get("up").with("x-do", what).with("x-request-id", what)).unwrap();
    }
    let lines = rig.logged(3);
    let ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fail", "late", "fail"]);
    for (key, value) in
        [("direction", "outbound"), ("method", "GET"), ("authority", "up"), ("path", "/"), ("upstream", "up")]
    {
        assert_eq!(lines[0][key], value);
    }
    assert_eq!(
        (&lines[0]["status"], &lines[0]["attempts"], &lines[0]["generation"]),
        (&503.into(), &1.into(), &1.into())
    );
}

#[test]
fn ob_3_the_log_has_a_cap_and_counts_what_it_drops() {
    let origin = Origin::always(503);
    let sidecar = "accessLog: {maxBytesPerSecond: 1KiB}".to_owned();
    let rig = Rig::with(&Wishes { sidecar, ..Wishes::default() }, &[upstream("up", &[origin.addr], "")]);
    let mut caller = rig.caller();
    (0..100).for_each(|_| drop(caller.send(&get("up")).unwrap()));
    eventually("dropped lines", || (rig.metric("access_log_dropped_total", &[]) > 50).then_some(()));
}

#[test]
fn ob_11_random_hosts_make_no_series() {
    let origin = Origin::always(200);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let series = || rig.scrape().lines().filter(|line| !line.starts_with('#')).count();
    let call = |host: &str| rig.caller().send(&get(host)).unwrap().status();
    assert_eq!((call("up"), call("nobody")), (200, 404));
    rig.counts("requests_total", &[("code", "200")], 1);
    rig.counts("requests_total", &[("code", "404")], 1);
    let before = series();
    rig.storm(2, 1000, |caller, nth| {
        let host = format!("{nth}-{:?}.example", thread::current().id()).replace(['(', ')'], "-");
        assert_eq!(caller.send(&get(&host)).unwrap().status(), 404);
    });
    assert_eq!(series(), before, "2,000 authorities");
    rig.counts("requests_total", &[("code", "404"), ("flag", "NR")], 2001);
}
