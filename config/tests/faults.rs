//! What can be written of injected faults, and who has the last word on them?

mod documents;

use std::time::Duration;

use documents::{ROUTE, SIDECAR, UPSTREAM, config, read};
use http::StatusCode;
use outrigger_config::describe;
use outrigger_config::model::fault::{Experiment, Kind};
use outrigger_config::model::{Applied, Mode};

fn documents(sidecar: &str, fault: &str) -> [String; 3] {
    let rule = format!("{ROUTE}    fault: {{{fault}}}\n");
    [format!("{SIDECAR}{sidecar}\n"), UPSTREAM.to_owned(), rule]
}

fn experiment(sidecar: &str, fault: &str) -> Option<Applied<Experiment>> {
    let documents = documents(sidecar, fault);
    config(&documents.each_ref().map(String::as_str)).routes[0].rules[0].fault.clone()
}

/// What is wrong with such documents.
fn refusal(sidecar: &str, fault: &str) -> String {
    let errors = read(&documents(sidecar, fault).each_ref().map(String::as_str)).expect_err(fault);
    assert_eq!(errors.count(), 1, "{errors}");
    errors.to_string()
}

const DELAY: &str = "duration: 1m, inject: [{percent: 10%, delay: 5ms}]";

#[test]
fn ch_1_ch_2_every_kind_of_fault_has_its_word() {
    let faults = "{percent: 10%, delay: 5ms}, {percent: 50%, abort: 503}, {percent: 1%, reset: true}, \
                  {percent: 1%, partialBody: 0B}, {percent: 1%, throttle: 1KiB}, {percent: 100%, sever: true}, \
                  {hideEndpoints: 2}";
    let all = experiment("", &format!("seed: 18446744073709551615, duration: 1m, inject: [{faults}]"));
    let all = all.expect("an experiment").policy;
    assert_eq!((all.seed, all.lasts, all.max_active), (u64::MAX, Duration::from_mins(1), 100));
    let kinds = [
        (0.1, Kind::Delay(Duration::from_millis(5))),
        (0.5, Kind::Abort(StatusCode::SERVICE_UNAVAILABLE)),
        (0.01, Kind::Reset),
        (0.01, Kind::PartialBody(0)),
        (0.01, Kind::Throttle(1024)),
        (1.0, Kind::Sever),
        (1.0, Kind::Hide(2)),
    ];
    assert_eq!(all.faults, kinds);
}

#[test]
fn one_switch_in_the_sidecar_ends_them_all() {
    let mode = |sidecar: &str, rule: &str| Some(experiment(sidecar, &format!("{rule}{DELAY}"))?.mode);
    assert_eq!(mode("", ""), Some(Mode::Enforce));
    assert_eq!(mode("", "mode: dryRun, "), Some(Mode::DryRun));
    assert_eq!(mode("", "mode: off, "), None);
    assert_eq!(mode("faults: {mode: dryRun}", ""), Some(Mode::DryRun));
    assert_eq!(mode("faults: {mode: off}", ""), None);
    assert_eq!(mode("faults: {mode: off}", "mode: dryRun, "), None);
}

#[test]
fn no_rule_goes_beyond_the_caps_of_the_sidecar() {
    assert_eq!(experiment("faults: {maxActive: 7}", DELAY).expect("an experiment").max_active, 7);
    let longer = refusal("", &DELAY.replace("1m", "2h"));
    assert!(longer.contains("`duration` (2h) is longer than `maxDuration` (1h)"), "{longer}");
    let more = refusal("faults: {maxActive: 7}", &format!("maxActive: 8, {DELAY}"));
    assert!(more.contains("`maxActive` (8) is more than the Sidecar's (7)"), "{more}");
}

#[test]
fn a_fault_that_is_none_or_two_is_refused() {
    for (fault, reason) in [
        ("{percent: 1%}", "the fault does nothing"),
        ("{percent: 1%, reset: true, sever: true}", "`sever` and `reset` exclude each other"),
        ("{reset: true}", "missing `percent`"),
        ("{percent: 0%, reset: true}", "no attempt would meet the fault"),
        ("{percent: 1%, hideEndpoints: 1}", "`hideEndpoints` has no `percent`"),
        ("{percent: 1%, abort: 200}", "400 to 599"),
    ] {
        let found = refusal("", &format!("duration: 1m, inject: [{fault}]"));
        assert!(found.contains(reason), "{fault}: {found}");
    }
    assert!(refusal("", "inject: [{hideEndpoints: 1}]").contains("missing `duration`"));
}

#[test]
fn the_description_shows_an_experiment_as_it_is_written() {
    let documents = documents("", "duration: 1m, inject: [{percent: 5%, abort: 503}, {hideEndpoints: 1}]");
    let described = describe(&config(&documents.each_ref().map(String::as_str)));
    let fault = &described["routes"][0]["rules"][0]["fault"];
    let inject = serde_json::json!([{ "percent": "5%", "abort": 503 }, { "hideEndpoints": 1 }]);
    assert_eq!((&fault["mode"], &fault["inject"]), (&"enforce".into(), &inject));
    assert_eq!(described["sidecar"]["faults"]["maxDuration"], "1h");
}
