//! Which fields and targets arrive on the other side?

use super::{GET, OK};
use crate::support::peer::Message;
use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;

/// What the origin saw of a request, sent outbound.
fn passed_on(request: &str) -> Message {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    let answer = sidecar.calls_out().send(request).message();
    assert_eq!(answer.status(), 200, "{:?}", answer.head);
    origin.seen().remove(0)
}

#[test]
fn fields_of_one_hop_end_there() {
    let seen = passed_on(
        "GET / HTTP/1.1\r\nhost: origin\r\nconnection: keep-alive, X-Secret, x-other\r\nx-secret: 1\r\nX-Other: 1\r\n\
         keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic x\r\nupgrade: websocket\r\n\
         te: gzip\r\nx-stays: 1\r\nx-stays: 2\r\n\r\n",
    );
    let gone = [
        "connection",
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "te",
    ];
    for name in gone {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!(seen.fields("x-stays"), ["1", "2"]);
}

#[test]
fn fields_of_one_hop_end_there_on_the_way_back() {
    let origin = Upstream::answering(
        "HTTP/1.1 200 OK\r\nconnection: x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\nupgrade: h2c\r\n\
         x-stays: 1\r\ncontent-length: 0\r\n\r\n",
    );
    let sidecar = Sidecar::before(origin.addr);
    let answer = sidecar.calls_out().send(GET).message();
    for name in ["connection", "x-secret", "keep-alive", "upgrade"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_eq!(answer.field("x-stays"), Some("1"));
}

#[test]
fn te_goes_on_for_trailers_alone() {
    let with = |fields| passed_on(&format!("GET / HTTP/1.1\r\nhost: origin\r\n{fields}\r\n"));
    let seen = with("te: trailers, deflate;q=0.5\r\nconnection: te\r\n");
    assert_eq!((seen.field("te"), seen.field("connection")), (Some("trailers"), Some("te")));
    assert_eq!(with("te: deflate\r\nconnection: te\r\n").field("te"), None);
    assert_eq!(with("te: trailers\r\n").field("te"), None, "RFC 9110 §10.1.4: who sends TE nominates it");
}

#[test]
fn via_is_added_behind_what_is_there() {
    let seen = passed_on("GET / HTTP/1.1\r\nhost: origin\r\nvia: 1.0 before\r\n\r\n");
    let via = seen.fields("via");
    assert_eq!((via.len(), via[0]), (2, "1.0 before"));
    assert!(via[1].starts_with("1.1 ") && via[1].contains("tests"), "{via:?}");
}

#[test]
fn a_request_is_marked_for_those_who_look_for_it() {
    let seen = passed_on(GET);
    assert_eq!(seen.field("x-request-attempt"), Some("1"));
    assert_eq!(seen.field("x-request-id").map(str::len), Some(32));
    assert_eq!(seen.field("traceparent").map(str::len), Some(55));
    let told =
        "x-request-id: mine\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let seen = passed_on(&format!("GET / HTTP/1.1\r\nhost: origin\r\n{told}\r\n"));
    assert_eq!(seen.fields("x-request-id"), ["mine"]);
    assert_eq!(seen.fields("traceparent"), ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]);
}

#[test]
fn a_proxy_target_names_whom_it_is_for() {
    let seen = passed_on("GET http://origin:8000/a?b=c HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!((seen.start(), seen.fields("host")), ("GET /a?b=c HTTP/1.1", vec!["origin:8000"]));
    let seen = passed_on("GET http://origin HTTP/1.1\r\nhost: origin\r\n\r\n");
    assert_eq!(seen.start(), "GET / HTTP/1.1");
    let seen = passed_on("GET http://ORIGIN?b HTTP/1.1\r\nhost: origin\r\n\r\n");
    assert_eq!(seen.start(), "GET /?b HTTP/1.1");
}

#[test]
fn a_host_may_have_a_port() {
    assert_eq!(passed_on("GET / HTTP/1.1\r\nhost: origin:80\r\n\r\n").field("host"), Some("origin:80"));
}

#[test]
fn a_host_may_be_an_ipv6_literal() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    for host in ["[::1]", "[::1]:8080"] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(sidecar.is_called().send(&request).message().status(), 200, "{host}");
        assert_eq!(sidecar.calls_out().send(&request).message().reason(), "no-route", "{host}");
    }
}

#[test]
fn the_application_learns_who_called() {
    let origin = Upstream::answering(OK);
    let sidecar = Sidecar::before(origin.addr);
    sidecar.is_called().send("GET / HTTP/1.1\r\nhost: any\r\nx-forwarded-for: 10.0.0.1\r\n\r\n").message();
    assert_eq!(origin.seen()[0].field("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
}
