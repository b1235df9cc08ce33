//! Does everything that is said beside the messages arrive? Metadata in both directions, statuses and their details.

use bytes::Bytes;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::client::ask;
use super::server::{Act, Server};
use super::ways::Way;

/// Every octet there is.
fn all_octets() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

/// What a server says with everything that a status may carry.
fn fault(code: Code) -> Status {
    let mut status = Status::with_details(code, "zu groß: 100 %\n\"so\"", all_octets().into());
    status.metadata_mut().insert("x-cause", "disk".parse().unwrap());
    status.metadata_mut().insert_bin("x-octets-bin", MetadataValue::from_bytes(&all_octets()));
    status
}

#[track_caller]
fn assert_whole(said: &Status, code: Code, at: &str) {
    assert_eq!((said.code(), said.message()), (code, "zu groß: 100 %\n\"so\""), "{at}");
    assert_eq!(said.details(), all_octets(), "{at}: details of {code:?}");
    assert_eq!(said.metadata().get("x-cause").unwrap(), "disk", "{at}");
    let octets = said.metadata().get_bin("x-octets-bin").unwrap().to_bytes().unwrap();
    assert_eq!(octets, all_octets(), "{at}: binary metadata of {code:?}");
}

#[test]
fn ec_4_every_status_arrives_whole_wherever_it_stands() {
    let server = Server::start(|_, seen| {
        let status = fault(Code::from_bytes(seen.field("x-code").unwrap().as_bytes()));
        match seen.field("x-place").unwrap() {
            "head" => Act::Fail(status),
            "trailers" => Act::FailLate(status),
            _ => Act::Break(status),
        }
    });
    for way in Way::all(&server) {
        let client = way.client();
        for number in 1..=16 {
            let (code, said) = (Code::from(number), number.to_string());
            let asked = |place| ask("word", &[("x-code", &said), ("x-place", place)]);
            assert_whole(&client.unary(asked("head")).unwrap_err(), code, way.name);
            let (_, mut nothing) = client.split(asked("trailers")).unwrap();
            assert_whole(&nothing.hear().unwrap_err(), code, way.name);
            let (_, mut part) = client.split(asked("behind a message")).unwrap();
            assert_eq!(part.hear().unwrap().unwrap(), "word", "{}", way.name);
            assert_whole(&part.hear().unwrap_err(), code, way.name);
        }
    }
}

#[test]
fn grpc_a_server_may_end_a_stream_that_its_client_talks_on() {
    let server = Server::start(|_, seen| match seen.field("x-break") {
        Some(_) => Act::Break(fault(Code::FailedPrecondition)),
        None => Act::Serve,
    });
    for way in Way::all(&server) {
        let client = way.client();
        let mut chat = client.chat(&[("x-break", "1")]).unwrap();
        assert_eq!(chat.exchange("first").unwrap().unwrap(), "first", "{}", way.name);
        assert_whole(&chat.end(), Code::FailedPrecondition, way.name);
        chat.say("nobody listens");
        assert_eq!(client.unary(ask("next", &[])).unwrap().into_inner(), "next", "{}", way.name);
    }
}

#[test]
fn grpc_metadata_passes_in_both_directions() {
    let server = Server::willing();
    for way in Way::all(&server) {
        let mut request = ask("word", &[("x-echo", "a, b"), ("x-echo", "c"), ("x-empty", "")]);
        request.metadata_mut().append_bin("x-echo-bin", MetadataValue::from_bytes(&all_octets()));
        request.metadata_mut().append_bin("x-echo-bin", MetadataValue::from_bytes(b""));
        let (head, mut words) = way.client().split(request).unwrap();
        words.finish().unwrap();
        for (place, metadata) in [("head", head), ("trailers", words.trailers())] {
            let texts: Vec<_> = metadata.get_all("x-echo").iter().collect();
            assert_eq!(texts, ["a, b", "c"], "{}: {place}", way.name);
            let octets = metadata.get_all_bin("x-echo-bin").iter().map(|value| value.to_bytes().unwrap());
            let octets: Vec<Bytes> = octets.collect();
            assert_eq!(octets, [Bytes::from(all_octets()), Bytes::new()], "{}: {place}", way.name);
        }
        let seen = server.last();
        assert_eq!(seen.field("x-empty"), Some(""), "{}", way.name);
        assert_eq!(seen.field("te"), Some("trailers"), "{}: servers refuse a call without", way.name);
        assert_eq!(seen.field("content-type"), Some("application/grpc"), "{}", way.name);
        assert_eq!(seen.authority, "up", "{}", way.name);
        for name in ["connection", "transfer-encoding", "content-length"] {
            assert_eq!(seen.field(name), None, "{}: of one hop", way.name);
        }
    }
}
