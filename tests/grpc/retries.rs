//! Which statuses are failures, and which calls are tried again?

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Request, Status};

use super::client::{Client, ask};
use super::server::{Act, Seen, Server};
use super::ways::Way;
use crate::support::rig::{Rig, upstream};

/// The statuses that a policy may name, by their names.
const NAMED: [(&str, Code); 5] = [
    ("cancelled", Code::Cancelled),
    ("deadline-exceeded", Code::DeadlineExceeded),
    ("internal", Code::Internal),
    ("resource-exhausted", Code::ResourceExhausted),
    ("unavailable", Code::Unavailable),
];

/// Retries without a wait worth mentioning, and a budget that grants them all.
fn eager(on: &str, attempts: u32) -> String {
    format!(
        "retryBudget: {{minRate: 100000/s}}\n\
         retry: {{on: [{on}], attempts: {attempts}, backoff: {{base: 1ms, max: 1ms}}}}"
    )
}

/// What the caller asked for, on the first attempts of so many as it said.
fn as_asked(seen: &Seen) -> Act {
    let number = |name| seen.field(name).unwrap().parse().unwrap();
    if seen.attempt > number("x-failures") {
        return Act::Serve;
    }
    let mut status = Status::new(Code::from_bytes(seen.head["x-code"].as_bytes()), "as asked");
    if let Some(wait) = seen.field("x-pushback") {
        status.metadata_mut().insert("grpc-retry-pushback-ms", wait.parse().unwrap());
    }
    match seen.field("x-place") {
        Some("trailers") => Act::FailLate(status),
        Some("behind a message") => Act::Break(status),
        _ => Act::Fail(status),
    }
}

fn obliging() -> Server {
    Server::start(|_, seen| as_asked(seen))
}

#[test]
fn ec_4_a_status_counts_as_what_it_is_wherever_it_stands() {
    let server = obliging();
    let way = Way::out(&server, "");
    let client = way.client();
    for place in ["head", "trailers", "behind a message"] {
        let asked = ask("word", &[("x-failures", "9"), ("x-code", "14"), ("x-place", place)]);
        let said = client.split(asked).map_or_else(|status| status, |(_, mut words)| words.end());
        assert_eq!((said.code(), said.message()), (Code::Unavailable, "as asked"), "{place}");
    }
    assert_eq!(server.count(), 3, "nothing is tried again unless the policy names it");
    way.rigs[0].counts("requests_total", &[("code", "503")], 3);
    let logged = way.rigs[0].logged(3);
    assert!(
        logged.iter().all(|line| line["status"] == 200 && line["grpc_status"] == "unavailable"),
        "{logged:?}"
    );
    let counts = |name: &str, times| way.rigs[0].counts("attempts_total", &[("outcome", name)], times);
    counts("grpc-unavailable", 3);
    for (nth, (name, code)) in NAMED[..4].iter().enumerate() {
        let code = i32::from(*code).to_string();
        client.unary(ask("", &[("x-failures", "9"), ("x-code", &code)])).unwrap_err();
        assert_eq!(server.count(), 4 + nth, "{name} is tried once");
        counts(&format!("grpc-{name}"), 1);
    }
}

#[test]
fn rt_6_a_status_is_tried_again_if_it_is_listed() {
    let server = obliging();
    let documents = NAMED.map(|(name, _)| upstream(name, &[server.addr], &eager(name, 2)));
    let rig = Rig::start(&documents);
    for (name, listed) in NAMED {
        let client = Client::connect(rig.outbound, name);
        for number in 1..=16 {
            for place in ["head", "trailers"] {
                let before = server.count();
                let code = number.to_string();
                let asked = ask("word", &[("x-failures", "2"), ("x-code", &code), ("x-place", place)]);
                let said = client.split(asked).map_or_else(|status| status, |(_, mut words)| words.end());
                let (code, calls) =
                    if Code::from(number) == listed { (Code::Ok, 3) } else { (Code::from(number), 1) };
                assert_eq!(
                    (said.code(), server.count() - before),
                    (code, calls),
                    "{number} on [{name}], {place}"
                );
            }
        }
    }
    rig.counts("retries_total", &[("upstream", "unavailable")], 4);
}

#[test]
fn rt_1_the_last_status_stands_when_attempts_are_used_up() {
    let server = obliging();
    for way in Way::long(&server, &eager("unavailable", 2)) {
        let before = server.count();
        let said = way.client().unary(ask("", &[("x-failures", "9"), ("x-code", "14")])).unwrap_err();
        assert_eq!((said.code(), said.message()), (Code::Unavailable, "as asked"), "{}", way.name);
        assert_eq!(server.count() - before, 3, "{}", way.name);
    }
}

#[test]
fn rt_6_messages_are_sent_again_and_never_heard_twice() {
    let server = obliging();
    for way in Way::long(&server, &eager("unavailable", 2)) {
        let client = way.client();
        let metadata = [("x-failures", "1"), ("x-code", "14")];
        let mut several = Request::new(vec!["one, ", "two, ", "three"]);
        *several.metadata_mut() = ask("", &metadata).metadata().clone();
        let said = client.collect(several);
        assert_eq!(said.expect(way.name).into_inner(), "one, two, three");
        // Even while the client is still talking.
        let mut chat = client.chat(&metadata).expect(way.name);
        assert_eq!(chat.exchange("hello").unwrap().unwrap(), "hello", "{}", way.name);
        let long: Bytes = (0..=u8::MAX).cycle().take(60_000).collect();
        assert!(client.unary(ask(long.clone(), &metadata)).unwrap().into_inner() == long, "{}", way.name);
        // What the client has heard a part of cannot begin again.
        let before = server.count();
        let behind = [("x-failures", "1"), ("x-code", "14"), ("x-place", "behind a message")];
        let (_, mut words) = client.split(ask("one two", &behind)).unwrap();
        assert_eq!(words.hear().unwrap().unwrap(), "one", "{}", way.name);
        assert_eq!(words.hear().unwrap_err().code(), Code::Unavailable, "{}", way.name);
        assert_eq!(server.count() - before, 1, "{}", way.name);
    }
}

#[test]
fn rt_13_pushback_is_honoured() {
    let server = obliging();
    let way = Way::out(&server, &eager("unavailable", 1));
    let client = way.client();
    let asked = |pushback| ask("", &[("x-failures", "1"), ("x-code", "14"), ("x-pushback", pushback)]);
    client.unary(asked("300")).unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(300), "{:?}", seen[1].at - seen[0].at);
    // gRFC A6: a negative one says never.
    assert_eq!(client.unary(asked("-1")).unwrap_err().code(), Code::Unavailable);
    assert_eq!(server.count(), 3);
}

#[test]
fn rt_10_hops_do_not_multiply_calls() {
    let server = obliging();
    let near = Rig::start(&[upstream("up", &[server.addr], &eager("unavailable", 2))]);
    let far = Rig::start(&[upstream("up", &[near.outbound], &eager("unavailable", 2))]);
    let client = Client::connect(far.outbound, "up");
    for place in ["head", "trailers"] {
        let before = server.count();
        let asked = ask("word", &[("x-failures", "9"), ("x-code", "14"), ("x-place", place)]);
        let said = client.split(asked).map_or_else(|status| status, |(_, mut words)| words.end());
        assert_eq!((said.code(), server.count() - before), (Code::Unavailable, 3), "{place}");
    }
}
