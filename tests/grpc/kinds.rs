//! Do calls of every kind pass every way? Unary, streams in either direction and in both, large and many.

use std::thread;

use bytes::Bytes;
use tonic::{Request, Status};

use super::client::{Client, ask};
use super::server::{Act, Server};
use super::ways::Way;
use crate::support::draft;

/// Octets that repeat late, so that a piece that is lost, doubled or moved shows.
fn octets(length: usize) -> Bytes {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn grpc_every_kind_of_call_passes_every_way() {
    let server = Server::willing();
    for way in Way::all(&server) {
        let (client, name) = (way.client(), way.name);
        let said = client.unary(ask("hello", &[("x-echo", "1")])).unwrap();
        assert_eq!(said.metadata().get("x-echo").unwrap(), "1", "{name}");
        assert_eq!(said.into_inner(), "hello", "{name}");

        let said = client.collect(Request::new(vec!["one, ", "", "two, ", "three"])).unwrap();
        assert_eq!(said.into_inner(), "one, two, three", "{name}");
        assert_eq!(client.collect(Request::new(vec![])).unwrap().into_inner(), "", "{name}");

        let (head, mut words) = client.split(ask("one two three", &[("x-echo", "2")])).unwrap();
        assert_eq!(head.get("x-echo").unwrap(), "2", "{name}: in the head");
        assert_eq!(words.finish().unwrap(), ["one", "two", "three"], "{name}");
        assert_eq!(words.trailers().get("x-echo").unwrap(), "2", "{name}: in trailers");

        let mut chat = client.chat(&[]).unwrap();
        for message in ["each", "heard", "", "before the next is said"] {
            assert_eq!(chat.exchange(message).unwrap().unwrap(), message, "{name}");
        }
        chat.say("the last");
        assert_eq!(chat.finish().unwrap(), ["the last"], "{name}");
    }
}

/// HTTP/1 has all that gRPC needs, if whoever translates it keeps trailers: callers that cannot speak HTTP/2 use it.
#[test]
fn grpc_calls_over_http1_pass_too() {
    let server = Server::start(|_, seen| match seen.field("x-fail") {
        Some(_) => Act::Fail(Status::not_found("no such word")),
        None => Act::Serve,
    });
    let message = |text: &str| [&[0, 0, 0, 0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    for way in [Way::out(&server, "protocol: http2"), Way::over_http1(&server, "")] {
        let request = draft::ask("POST", "/test.Echo/Split", "up")
            .with("content-type", "application/grpc")
            .with("te", "trailers")
            .with("x-echo", "1")
            .with_body(message("one two"));
        let mut caller = way.rigs[0].caller();
        let said = caller.send(&request).unwrap();
        assert_eq!((said.status(), said.field("x-echo")), (200, Some("1")), "{}", way.name);
        assert_eq!(said.body, [message("one"), message("two")].concat(), "{}", way.name);
        for line in ["grpc-status: 0\r\n", "x-echo: 1\r\n"] {
            assert!(said.trailers.contains(line), "{}: {:?}", way.name, said.trailers);
        }
        // A status alone is a head without content, which over HTTP/1 must be said.
        let said = caller.send(&request.with("x-fail", "1")).unwrap();
        assert_eq!((said.status(), said.field("grpc-status")), (200, Some("5")), "{}", way.name);
        assert_eq!((said.field("content-length"), caller.connections), (Some("0"), 1), "{}", way.name);
    }
}

#[test]
fn grpc_large_messages_pass_in_both_directions_at_once() {
    let server = Server::willing();
    let large = octets(16 << 20);
    for way in Way::all(&server) {
        let client = way.client();
        let said = client.unary(ask(large.clone(), &[])).unwrap().into_inner();
        assert!(said == large, "{}: {} octets came back, or others", way.name, said.len());
        // More than all windows hold, while nobody reads yet.
        let mut chat = client.chat(&[]).unwrap();
        let pieces: Vec<_> = (0..64).map(|nth| octets(nth * 2047)).collect();
        for piece in &pieces {
            chat.say(piece.clone());
        }
        assert!(chat.finish().unwrap() == pieces, "{}: each message by itself, in order", way.name);
    }
}

#[test]
fn grpc_calls_share_a_connection_and_nothing_else() {
    let server = Server::willing();
    for way in Way::all(&server) {
        let client = way.client();
        // Streams that stand still hold up nobody.
        let _still: Vec<_> = (0..20).map(|_| client.chat(&[]).unwrap()).collect();
        let talk = |client: Client, nth: usize| {
            for length in [0, 70_000, 5] {
                let message = octets(length + nth);
                assert_eq!(client.unary(ask(message.clone(), &[])).unwrap().into_inner(), message);
            }
        };
        thread::scope(|scope| {
            for nth in 0..40 {
                let client = client.clone();
                scope.spawn(move || talk(client, nth));
            }
        });
    }
}
