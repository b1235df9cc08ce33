//! Do HTTP/2 and gRPC callers get the same? Whole, framed as they speak, with a status where they look for it.

use super::{route, up};
use crate::support::caller::Caller;
use crate::support::draft::{get, head, post};
use crate::support::frames::Frame;
use crate::support::free_addr;
use crate::support::link::{Exchange, Link};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually};
use crate::support::server::Server;

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "up"), (":path", "/")];

fn ask(rig: &Rig) -> Exchange {
    Link::connect(rig.outbound).ask(&GET).unwrap()
}

fn call(rig: &Rig) -> Exchange {
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let head = [&[(":method", "POST")], &GET[1..], &fields].concat();
    Link::connect(rig.outbound).post(&head, &[0; 5]).unwrap()
}

#[test]
fn fb_5_a_stub_reaches_an_http2_caller_whole() {
    let large = "0123456789".repeat(20_000);
    let stub = format!("fallback: [{{on: [any], static: {{headers: {{x-stub: 'yes'}}, body: '{large}'}}}}]");
    let rig = Rig::start(&[up(free_addr(), ""), route(&stub)]);
    let said = ask(&rig);
    assert_eq!(
        (said.status(), said.head.get("x-stub"), said.reason()),
        (200, Some("yes"), "fallback-static")
    );
    assert_eq!((said.text(), said.head.get("content-length")), (large, Some("200000")));
}

#[test]
fn fb_2_one_cache_serves_both_versions() {
    let origin = Origin::start(|nth, _| Reply::Answer(head(200).with("etag", nth).with_body("kept")));
    let rig = Rig::start(&[up(origin.addr, "protocol: http1\ncache: {ttl: 5m}")]);
    assert_eq!(ask(&rig).text(), "kept");
    let again = ask(&rig);
    assert_eq!((again.text().as_str(), again.head.get("etag")), ("kept", Some("0")));
    assert!(again.head.get("age").is_some());
    assert_eq!(rig.caller().send(&get("up")).unwrap().body, b"kept");
    assert_eq!(origin.count(), 1);
}

#[test]
fn fb_5_a_grpc_caller_gets_what_says_how_the_call_ended() {
    let fallback = "fallback:\n\
        - {on: [connect-failure], degrade: {headers: {x-degraded: 'yes'}, body: '{}'}}\n\
        - {on: [any], static: {headers: {grpc-status: '5', x-stub: 'yes'}}}";
    let rig = Rig::start(&[up(free_addr(), ""), route(fallback)]);
    let said = call(&rig);
    assert_eq!((said.status(), said.head.get("grpc-status")), (200, Some("5")));
    assert_eq!(said.head.get("content-type"), Some("application/grpc"));
    assert_eq!((said.head.get("x-degraded"), said.body.len()), (None, 0), "which it could not read");
    rig.counts("requests_total", &[("route", "prices"), ("code", "404"), ("flag", "UF")], 1);
    let said = ask(&rig);
    assert_eq!((said.head.get("x-degraded"), said.text().as_str()), (Some("yes"), "{}"));
    let request = post("up", "").with("content-type", "application/grpc");
    let mut caller = Caller::of(rig.outbound);
    for _ in 0..2 {
        let said = caller.send(&request).unwrap();
        assert_eq!((said.field("grpc-status"), said.body.len()), (Some("5"), 0), "over HTTP/1 too");
    }
}

#[test]
fn ch_1_a_grpc_call_is_aborted_in_its_own_words() {
    let origin = Origin::always(200);
    let fault = "fault: {duration: 5m, inject: [{percent: 100%, abort: 503}]}";
    let rig = Rig::start(&[up(origin.addr, ""), route(fault)]);
    let said = call(&rig);
    assert_eq!((said.status(), said.head.get("grpc-status")), (200, Some("14")));
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "grpc-unavailable")], 1);
    assert_eq!(origin.count(), 0);
}

/// A head that promises well, and trailers behind it that don't.
fn failing(link: &mut Link, stream: u32, _: &Exchange) {
    link.send(&Frame::headers(stream, &[(":status", "200"), ("content-type", "application/grpc")], false));
    link.send(&Frame::headers(stream, &[("grpc-status", "14")], true));
}

#[test]
fn fb_6_a_grpc_call_that_fails_by_its_trailers_is_stood_in_for() {
    let origin = Server::treating(failing);
    let fallback = "fallback: [{on: [5xx], static: {headers: {grpc-status: '0', x-stub: 'yes'}}}]";
    let rig = Rig::start(&[up(origin.addr, ""), route(fallback)]);
    let said = call(&rig);
    assert_eq!((said.head.get("x-stub"), said.head.get("grpc-status")), (Some("yes"), Some("0")));
    rig.counts("attempts_total", &[("upstream", "up"), ("outcome", "grpc-unavailable")], 1);
}

#[test]
fn cb_4_a_trial_is_judged_by_its_trailers() {
    let origin = Server::treating(failing);
    let breaker = "circuitBreaker: {consecutive: 1, backoff: {base: 50ms, max: 50ms}}";
    let rig = Rig::start(&[up(origin.addr, breaker)]);
    eventually("a trial that fails", || {
        call(&rig);
        let turned = [("from", "half-open"), ("to", "open"), ("cause", "trial-failed")];
        (rig.metric("breaker_transitions_total", &turned) > 0).then_some(())
    });
    assert_eq!(rig.metric("breaker_transitions_total", &[("to", "closed")]), 0);
}
