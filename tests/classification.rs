//! Whose fault was it? Customers' and systems' errors, ours and the upstream's, told apart and explained.

use std::io::Write;

use crate::support::draft::{answer, ask, get};
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, upstream};

const REASON: &str = "x-outrigger-reason";

#[test]
fn ec_1_customer_and_system_errors_are_counted_apart() {
    let origin = Origin::start(|_, request| Reply::Answer(answer(request.target()[1..].parse().unwrap())));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "retry: {on: [5xx], attempts: 1}")]);
    let mut caller = rig.caller();
    for code in [404; 200].into_iter().chain([503; 5]) {
        caller.send(&ask("GET", &format!("/{code}"), "up")).unwrap();
    }
    // A customer's error is nothing to retry.
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "4xx")], 200);
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "5xx")], 10);
    rig.counts("requests_total", &[("code", "404"), ("flag", "-")], 200);
    rig.counts("requests_total", &[("code", "503"), ("flag", "URX")], 5);
}

#[test]
fn ec_2_five_failures_have_five_reasons() {
    let (busy, broken) = (Origin::always(503), Origin::start(|_, _| Reply::Reset));
    let silent = Origin::start(|_, _| Reply::Hang);
    let nameless = "apiVersion: outrigger/v1\nkind: Upstream\nname: nameless\ndiscovery: {dns: name.invalid, port: 80}\n";
    let rig = Rig::start(&[
        upstream("refused", &[free_addr()], "retry: {attempts: 0}"),
        upstream("broken", &[broken.addr], ""),
        upstream("silent", &[silent.addr], "timeouts: {responseHeaders: 50ms}"),
        upstream("busy", &[busy.addr], ""),
        nameless.to_owned(),
    ]);
    let mut met: Vec<_> = ["refused", "broken", "silent", "busy", "nameless", "nobody"]
        .map(|authority| {
            let said = rig.caller().send(&get(authority)).unwrap();
            (said.status(), said.reason().to_owned())
        })
        .into();
    let expected = [
        (502, "connect-refused"),
        (502, "upstream-reset"),
        (504, "attempt-timeout"),
        (503, ""),
        (503, "no-endpoint"),
        (404, "no-route"),
    ];
    assert_eq!(met, expected.map(|(status, cause)| (status, cause.to_owned())));
    met.sort();
    met.dedup();
    assert_eq!(met.len(), expected.len());
}

#[test]
fn ec_3_too_many_requests_is_a_class_of_its_own() {
    let origin = Origin::always(429);
    let rig = Rig::start(&[upstream("up", &[origin.addr], "retry: {on: [5xx], attempts: 1}")]);
    assert_eq!(rig.caller().send(&get("up")).unwrap().status(), 429);
    rig.counts("attempts_total", &[("outcome", "429")], 1);
    assert_eq!(origin.count(), 1);
}

#[test]
fn ec_5_what_we_answer_ourselves_says_why_and_by_which_rule() {
    let route = "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: prices\nhosts: [up]\n\
                 rules: [{name: read, backendRefs: [{name: up}], retry: {attempts: 0}}]\n";
    let rig = Rig::start(&[upstream("up", &[free_addr()], ""), route.to_owned()]);
    let said = rig.caller().send(&get("up")).unwrap();
    assert_eq!(said.field(REASON), Some("connect-refused; route=prices; policy=read"));
    assert_eq!(
        String::from_utf8(said.body).unwrap(),
        "connect-refused; route=prices; policy=read\n",
        "one line"
    );
    let said = rig.caller().send(&ask("GET", "/", "a b")).unwrap();
    assert_eq!((said.status(), said.field(REASON)), (400, Some("bad-host; route=-; policy=-")));
}

/// An endpoint that dies in the middle of its answers fails, though each of them began with a 200.
#[test]
fn ec_2_an_answer_that_breaks_off_is_an_outcome_of_its_own() {
    let origin = Origin::start(|_, _| {
        Reply::Act(Box::new(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort")))
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    assert!(rig.caller().send(&get("up")).is_err());
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "reset-in-body")], 1);
    assert_eq!(rig.metric("attempts_total", &[("outcome", "success")]), 0);
}
