//! Does a policy let in whom it names, and nobody else? Modes, lists, reasons, counters, reloads.

use super::{application, before, policy};
use crate::support::caller::Caller;
use crate::support::draft::{ask, get};
use crate::support::link::Link;
use crate::support::origin::Origin;
use crate::support::rig::{Rig, upstream};

const DECISIONS: &str = "authorization_decisions_total";

/// The status of a request to the application.
fn status(rig: &Rig, method: &str, path: &str, fields: &[(&str, &str)]) -> u16 {
    let request =
        fields.iter().fold(ask(method, path, "app"), |request, (name, value)| request.with(name, value));
    Caller::of(rig.inbound).send(&request).unwrap().status()
}

#[test]
fn se_4_deny_rules_name_methods_paths_and_headers() {
    let app = application();
    let rules = "deny:\n  - {name: closed, paths: [/admin], methods: [POST, DELETE]}\n  \
                 - {headers: [{name: x-debug, value: \"1\"}]}";
    let rig = before(&app, "", &[policy("callers", rules)]);
    assert_eq!(status(&rig, "GET", "/admin", &[]), 200);
    assert_eq!(status(&rig, "POST", "/administration", &[]), 200);
    assert_eq!(status(&rig, "DELETE", "/admin/users/7", &[]), 403);
    assert_eq!(status(&rig, "GET", "/", &[("x-debug", "0")]), 200);
    assert_eq!(status(&rig, "GET", "/", &[("x-debug", "0"), ("x-debug", "1")]), 403);
    let denied = Caller::of(rig.inbound).send(&ask("POST", "/admin", "app")).unwrap();
    let reason = denied.field("x-outrigger-reason").unwrap();
    assert_eq!(reason, "authorization; route=-; policy=callers; rule=closed");
    assert_eq!(denied.text(), format!("{reason}\n"));
    assert_eq!(app.count(), 3, "who is denied does not reach the application");
    let of = |decision| [("policy", "callers"), ("mode", "enforce"), ("decision", decision)];
    rig.counts(DECISIONS, &of("allowed"), 3);
    rig.counts(DECISIONS, &of("denied"), 3);
    rig.counts("requests_total", &[("code", "403"), ("flag", "UAEX")], 3);
    let line = rig.logged(6).into_iter().find(|line| line["status"] == 403).unwrap();
    assert_eq!((&line["flag"], &line["reason"]), (&"UAEX".into(), &"authorization".into()));
}

#[test]
fn se_4_an_allow_list_denies_all_others_and_an_empty_one_everybody() {
    let app = application();
    let rules = "allow: [{methods: [GET], paths: [/public]}, {sources: [10.0.0.0/8]}]";
    let rig = before(&app, "", &[policy("callers", rules)]);
    assert_eq!(status(&rig, "GET", "/public/a", &[]), 200);
    assert_eq!(status(&rig, "POST", "/public/a", &[]), 403);
    let denied = Caller::of(rig.inbound).send(&get("app")).unwrap();
    assert!(denied.field("x-outrigger-reason").unwrap().ends_with("; policy=callers; rule=-"));
    rig.reload(&[policy("callers", "allow: [{sources: [127.0.0.0/8]}]")]);
    assert_eq!(status(&rig, "POST", "/anything", &[]), 200);
    rig.reload(&[policy("callers", "allow: []")]);
    assert_eq!(status(&rig, "GET", "/public/a", &[]), 403);
    rig.reload(&[]);
    assert_eq!(status(&rig, "GET", "/public/a", &[]), 200);
}

#[test]
fn se_4_of_several_policies_each_must_let_a_request_pass() {
    let app = application();
    let documents = [
        policy("reads", "allow: [{methods: [GET]}]"),
        policy("public", "allow: [{paths: [/public]}]"),
        policy("off", "mode: off\nallow: []"),
    ];
    let rig = before(&app, "", &documents);
    assert_eq!(status(&rig, "GET", "/public", &[]), 200);
    assert_eq!(status(&rig, "POST", "/public", &[]), 403);
    assert_eq!(status(&rig, "GET", "/other", &[]), 403);
}

#[test]
fn se_4_a_dry_run_counts_and_changes_no_octet() {
    let app = application();
    let rig = before(&app, "", &[policy("trial", "mode: dryRun\ndeny: [{paths: [/admin]}]")]);
    for target in ["/admin", "//admin;x%2f", "/./%61dmin"] {
        assert_eq!(status(&rig, "GET", target, &[]), 200);
        assert_eq!(app.seen().last().unwrap().message.target(), target, "it passes as it came");
    }
    assert_eq!(status(&rig, "GET", "/public", &[]), 200);
    let of = |decision| [("policy", "trial"), ("mode", "dry_run"), ("decision", decision)];
    rig.counts(DECISIONS, &of("denied"), 3);
    rig.counts(DECISIONS, &of("allowed"), 1);
}

#[test]
fn se_4_a_denied_request_uses_up_no_limit() {
    let app = application();
    let limit =
        "apiVersion: outrigger/v1\nkind: RateLimitPolicy\nname: few\ntotal: {rate: 0.001/s, burst: 1}\n";
    let rig = before(&app, "", &[policy("callers", "deny: [{paths: [/admin]}]"), limit.to_owned()]);
    assert_eq!([(); 3].map(|()| status(&rig, "GET", "/admin", &[])), [403; 3]);
    assert_eq!([(); 2].map(|()| status(&rig, "GET", "/", &[])), [200, 429]);
}

#[test]
fn se_4_what_the_service_may_ask_others() {
    let origin = Origin::always(200);
    let rules = "direction: outbound\ndeny: [{methods: [DELETE]}]";
    let rig = Rig::start(&[upstream("shop", &[origin.addr], ""), policy("no-deletes", rules)]);
    let ask = |method| rig.caller().send(&ask(method, "/", "shop")).unwrap();
    assert_eq!(ask("GET").status(), 200);
    assert_eq!((ask("DELETE").status(), ask("DELETE").reason()), (403, "authorization"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn se_4_grpc_callers_are_told_in_their_words() {
    let app = application();
    let rig = before(&app, "", &[policy("callers", "deny: [{paths: [/shop.v1.Admin]}]")]);
    let call = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "app"),
        (":path", "/shop.v1.Admin/Drop"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let answer = Link::connect(rig.inbound).ask(&call).expect("an answer");
    assert_eq!((answer.status(), answer.head.get("grpc-status")), (200, Some("7")));
    assert_eq!(answer.head.get("grpc-message"), Some("authorization; route=-; policy=callers; rule=deny-0"));
}
