//! Does the server learn that nobody waits any longer? Within 50 ms, through whatever lies between.

use std::time::{Duration, Instant};

use super::client::ask;
use super::server::{Act, Server};
use super::ways::Way;
use crate::support::rig::eventually;

#[test]
fn dl_4_a_server_learns_within_50_ms_that_its_caller_left() {
    let server = Server::start(|_, seen| if seen.field("x-hang").is_some() { Act::Hang } else { Act::Serve });
    for way in Way::all(&server) {
        let client = way.client();
        // Of an odd number the middle one, since others use the machine too.
        let mut waits: Vec<_> = (0..5)
            .map(|nth| {
                let before = (server.count(), server.left().len());
                let leave: Box<dyn FnOnce()> = if nth % 2 == 0 {
                    let call = client.begin(ask("", &[("x-hang", "1")]));
                    Box::new(|| call.cancel())
                } else {
                    let mut chat = client.chat(&[]).unwrap();
                    chat.exchange("hello").unwrap();
                    Box::new(|| chat.cancel())
                };
                eventually("the call", || (server.count() > before.0).then_some(()));
                let start = Instant::now();
                leave();
                let left = eventually("the server to learn of it", || server.left().get(before.1).copied());
                left.saturating_duration_since(start)
            })
            .collect();
        waits.sort();
        assert!(waits[2] < Duration::from_millis(50), "{}: {waits:?}", way.name);
        for rig in &way.rigs {
            rig.counts("attempts_total", &[("outcome", "canceled")], 5);
        }
        // The connection has other uses.
        assert_eq!(client.unary(ask("still", &[])).unwrap().into_inner(), "still", "{}", way.name);
    }
}
