//! What does a gRPC caller hear when there is no answer to pass on? A status with a reason, never a broken stream.

use std::error::Error;

use tonic::{Code, Status};

use super::client::{Client, ask};
use super::server::{Act, Server};
use super::ways::Way;
use crate::support::draft::{self, answer};
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::peer::Peer;
use crate::support::rig::{Rig, eventually, upstream};

/// A status that was sent as one, for this reason.
#[track_caller]
fn assert_said(said: &Status, code: Code, reason: &str) {
    assert_eq!(said.code(), code, "{said}");
    assert!(said.source().is_none(), "nobody sent it: {said:?}");
    assert!(said.message().contains(reason), "{said}");
}

#[test]
fn grpc_a_failure_of_our_own_is_a_status() {
    let refused = [upstream("up", &[free_addr()], "retry: {attempts: 0}")];
    let rig = Rig::start(&refused);
    for (authority, code, reason) in
        [("nobody", Code::Unimplemented, "no-route"), ("up", Code::Unavailable, "connect-refused")]
    {
        let said = Client::connect(rig.outbound, authority).unary(ask("", &[])).unwrap_err();
        assert_said(&said, code, reason);
        let header = said.metadata().get("x-outrigger-reason").unwrap().to_str().unwrap();
        assert!(header.starts_with(&format!("{reason};")), "{header}");
        // The same over HTTP/1: a head that is all of the answer.
        let request = draft::post(authority, "").with("content-type", "application/grpc+proto");
        let said = rig.caller().send(&request).unwrap();
        assert_eq!((said.status(), said.body.len()), (200, 0));
        assert_eq!(said.field("grpc-status"), Some(&*i32::from(code).to_string()));
        assert!(said.field("content-type").unwrap().starts_with("application/grpc"));
        // Whoever speaks no gRPC is told by HTTP.
        let said = rig.caller().send(&draft::post(authority, "")).unwrap();
        assert!(said.status() >= 400 && said.field("grpc-status").is_none(), "{}", said.head);
    }
}

#[test]
fn grpc_a_server_that_dies_before_its_answer_is_unavailable() {
    for over in [Way::out, Way::both, Way::over_http1] {
        let mut server = Server::start(|_, _| Act::Hang);
        let way = over(&server, "");
        let call = way.client().begin(ask("", &[]));
        eventually("the call", || (server.count() == 1).then_some(()));
        server.die();
        let said = call.finish().unwrap_err();
        assert_said(&said, Code::Unavailable, "upstream-reset");
        let said = way.client().unary(ask("", &[])).unwrap_err();
        assert_said(&said, Code::Unavailable, "connect-refused");
    }
}

#[test]
fn grpc_a_server_that_dies_in_the_middle_is_unavailable() {
    for over in [Way::out, Way::both, Way::over_http1] {
        let mut server = Server::willing();
        let way = over(&server, "");
        let mut chat = way.client().chat(&[]).unwrap();
        assert_eq!(chat.exchange("still there").unwrap().unwrap(), "still there", "{}", way.name);
        server.die();
        assert_said(&chat.end(), Code::Unavailable, "");
    }
}

#[test]
fn grpc_what_breaks_off_says_so_over_http1_too() {
    let mut server = Server::willing();
    let way = Way::out(&server, "protocol: http2");
    let request = draft::ask("POST", "/test.Echo/Chat", "up")
        .with("content-type", "application/grpc")
        .with("te", "trailers")
        .with("transfer-encoding", "chunked");
    let mut peer = Peer::connect(way.rigs[0].outbound);
    let mut said = peer.send(request.octets()).head();
    server.die();
    peer.try_body(&mut said).unwrap();
    assert!(said.trailers.contains("grpc-status: 14\r\n"), "{:?}", said.trailers);
}

#[test]
fn ec_4_an_answer_that_never_says_how_it_ended_is_unknown() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(200).with("content-type", "application/grpc")));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "protocol: http1")]);
    let said = Client::connect(rig.outbound, "up").unary(ask("", &[])).unwrap_err();
    assert_eq!(said.code(), Code::Unknown, "{said}");
    rig.counts("attempts_total", &[("outcome", "grpc-unknown")], 1);
    rig.counts("requests_total", &[("code", "500")], 1);
}
