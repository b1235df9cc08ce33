//! Until when is an answer of any use? `grpc-timeout` in and out, and what each end hears when it has passed.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use super::client::ask;
use super::server::{Act, Seen, Server};
use super::ways::Way;
use crate::support::caller::timed;
use crate::support::draft;
use crate::support::rig::eventually;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn dl_1_what_is_left_shrinks_with_each_attempt_and_hop() {
    let server = Server::start(|_, seen| {
        if seen.attempt > 1 || seen.field("x-twice").is_none() {
            return Act::Serve;
        }
        Act::After(MS(300), Box::new(Act::Fail(Status::unavailable("not yet"))))
    });
    let settings = "retry: {on: [unavailable], attempts: 1, backoff: {base: 1ms, max: 1ms}}";
    for way in [Way::out(&server, settings)].into_iter().chain(Way::long(&server, settings)) {
        let before = server.count();
        let said = way.client().unary(ask("", &[("grpc-timeout", "5S"), ("x-twice", "1")]));
        said.expect(way.name);
        let left: Vec<_> = server.seen()[before..].iter().map(Seen::time_left).collect();
        assert_eq!(left.len(), 2, "{}", way.name);
        assert!((1000..=5000).contains(&left[0]), "{}: {left:?}", way.name);
        assert!((700..=left[0] - 300).contains(&left[1]), "{}: {left:?}", way.name);
    }
    // Who set no deadline has none: the built-in one would end streams.
    Way::out(&server, "").client().unary(ask("", &[])).unwrap();
    assert_eq!(server.last().field("grpc-timeout"), None);
}

#[test]
fn dl_1_a_deadline_that_cannot_be_read_is_refused() {
    let server = Server::willing();
    let said = Way::out(&server, "").client().unary(ask("", &[("grpc-timeout", "soon")])).unwrap_err();
    // As grpc-go does.
    assert_eq!((said.code(), server.count()), (Code::Internal, 0));
    assert!(said.message().starts_with("malformed-deadline;"), "{said}");
}

#[test]
fn dl_2_expiry_is_a_status_for_the_client_and_a_reset_for_the_server() {
    let server = Server::start(|_, _| Act::Hang);
    for way in [Way::out(&server, "")].into_iter().chain(Way::long(&server, "")) {
        for said in [("grpc-timeout", "200m"), ("x-deadline", "200")] {
            let before = server.left().len();
            let (said, took) = timed(|| way.client().unary(ask("", &[said])).unwrap_err());
            assert_eq!(said.code(), Code::DeadlineExceeded, "{}: {said}", way.name);
            assert!(said.message().contains("deadline-exceeded"), "{}: {said}", way.name);
            let reason = said.metadata().get("x-outrigger-reason").unwrap().to_str().unwrap();
            assert!(reason.starts_with("deadline-exceeded;"), "{}: {reason}", way.name);
            assert!(took >= MS(190) && took < MS(2000), "{}: {took:?}", way.name);
            eventually("the server to be told", || (server.left().len() > before).then_some(()));
        }
    }
}

#[test]
fn dl_2_a_stream_whose_time_is_over_ends_with_a_status_too() {
    let server = Server::willing();
    for way in [Way::out(&server, "")].into_iter().chain(Way::long(&server, "")) {
        let before = server.left().len();
        let start = Instant::now();
        let mut chat = way.client().chat(&[("grpc-timeout", "500m")]).unwrap();
        assert_eq!(chat.exchange("in time").unwrap().unwrap(), "in time", "{}", way.name);
        let said = chat.end();
        assert_eq!(said.code(), Code::DeadlineExceeded, "{}: {said}", way.name);
        assert!(start.elapsed() >= MS(490) && start.elapsed() < MS(2000), "{}", way.name);
        eventually("the server to be told", || (server.left().len() > before).then_some(()));
    }
}

#[test]
fn dl_3_what_has_expired_on_arrival_goes_nowhere() {
    let server = Server::willing();
    let way = Way::out(&server, "");
    for said in [("grpc-timeout", "0m"), ("x-deadline", "0")] {
        let said = way.client().unary(ask("", &[said])).unwrap_err();
        assert_eq!(said.code(), Code::DeadlineExceeded, "{said}");
        assert!(said.message().contains("deadline-expired-on-arrival"), "{said}");
    }
    assert_eq!((server.count(), server.connections()), (0, 0));
    way.rigs[0].counts("deadline_exceeded_total", &[("where", "arrival")], 2);
    // Over HTTP/1 a gRPC caller hears the same, in a head that is all of the answer.
    let request = draft::post("up", "").with("content-type", "application/grpc").with("grpc-timeout", "0m");
    let said = way.rigs[0].caller().send(&request).unwrap();
    assert_eq!((said.status(), said.field("grpc-status"), said.body.len()), (200, Some("4"), 0));
}
