//! How long may a stream last? As long as it likes, if it is not silent.

use std::thread;
use std::time::{Duration, Instant};

use tonic::Code;

use super::client::{Chat, ask};
use super::server::{Act, Server};
use super::ways::Way;
use crate::support::caller::timed;
use crate::support::rig::eventually;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Says something and hears it, so often, after a pause each.
#[track_caller]
fn talk(chat: &mut Chat, often: usize, pause: Duration) {
    for _ in 0..often {
        thread::sleep(pause);
        assert_eq!(chat.exchange("still here").unwrap().unwrap(), "still here");
    }
}

#[test]
fn to_1_a_request_timeout_ends_with_the_head_of_a_stream() {
    let server = Server::start(|_, seen| if seen.field("x-hang").is_some() { Act::Hang } else { Act::Serve });
    let way = Way::both(&server, "timeouts: {request: 300ms}");
    let client = way.client();
    let mut chat = client.chat(&[]).unwrap();
    talk(&mut chat, 2, MS(400));
    assert_eq!(chat.finish().unwrap().len(), 0);
    // Without a head it is what it says.
    let (said, took) = timed(|| client.unary(ask("", &[("x-hang", "1")])).unwrap_err());
    assert_eq!(said.code(), Code::DeadlineExceeded, "{said}");
    assert!(took >= MS(300) && took < MS(2000), "{took:?}");
}

#[test]
fn to_4_silence_ends_a_stream_and_messages_keep_it() {
    let server = Server::willing();
    for way in Way::long(&server, "timeouts: {idle: 1s}") {
        let client = way.client();
        let (mut silent, mut active) = (client.chat(&[]).unwrap(), client.chat(&[]).unwrap());
        silent.exchange("once").unwrap();
        let start = Instant::now();
        talk(&mut active, 12, MS(100));
        let said = silent.end();
        assert!([Code::Unavailable, Code::DeadlineExceeded].contains(&said.code()), "{}: {said}", way.name);
        assert!(start.elapsed() >= MS(1000) && start.elapsed() < MS(4000), "{}", way.name);
        eventually("the server to be told", || (!server.left().is_empty()).then_some(()));
        talk(&mut active, 1, MS(0));
        assert_eq!(active.finish().unwrap().len(), 0, "{}", way.name);
    }
}
