//! What does a WebSocket live through? A real client and a real server, both sidecars between them, minutes in a moment.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::inside::run;
use crate::support::inside::service::{connect, scripted};
use crate::support::inside::sidecar::Sidecar;
use crate::support::rig::upstream;

const REST: Duration = Duration::from_millis(1);
const SECONDS: fn(u64) -> Duration = Duration::from_secs;
const IDLE: &str = "timeouts: {idle: 10s}";

/// Both sidecars, the client's before the server's.
struct Path {
    client: Sidecar,
    server: Sidecar,
}

impl Path {
    /// To this server; the client's sidecar treats it by these settings.
    fn to(server: SocketAddr, settings: &str) -> Self {
        let inner = Sidecar::beside(server, &[]);
        let client = Sidecar::beside(server, &[upstream("chat", &[inner.inbound], settings)]);
        Self { client, server: inner }
    }

    async fn open(&self) -> WebSocketStream<TcpStream> {
        let stream = connect(self.client.outbound).await.unwrap();
        let (socket, answer) = client_async("ws://chat/room", stream).await.unwrap();
        assert_eq!(answer.status(), 101);
        socket
    }
}

/// What the server heard, the end included.
type Heard = Rc<RefCell<Vec<Message>>>;

/// A server that gives back every message and pings every seven seconds.
fn echoing(heard: &Heard) -> SocketAddr {
    let heard = Rc::clone(heard);
    scripted(move |stream| {
        let heard = Rc::clone(&heard);
        async move {
            let mut socket = accept_async(stream).await.unwrap();
            let mut pings = interval(SECONDS(7));
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    said = socket.next() => {
                        let Some(Ok(said)) = said else { return };
                        heard.borrow_mut().push(said.clone());
                        if said.is_text() || said.is_binary() {
                            socket.send(said).await.unwrap();
                        }
                    }
                    _ = pings.tick() => drop(socket.send(Message::Ping(Bytes::from_static(b"there?"))).await),
                }
            }
        }
    })
}

/// The next message that is no ping or pong.
async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Message {
    loop {
        match socket.next().await.expect("the connection lasts").expect("and is a WebSocket") {
            Message::Ping(_) | Message::Pong(_) => {}
            said => return said,
        }
    }
}

/// A message that shows what was lost or swapped.
fn large() -> Message {
    Message::binary((0..1_u32 << 18).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
}

/// Talk every three seconds for a minute, with idle timeouts of ten, while both sidecars forget how it began.
fn talk_for_a_minute(settings: &str) {
    run(REST, async {
        let heard = Heard::default();
        let path = Path::to(echoing(&heard), &format!("{IDLE}\n{settings}"));
        let mut socket = path.open().await;
        let start = Instant::now();
        for nth in 0..20 {
            let said = if nth % 5 == 4 { large() } else { Message::text(format!("line {nth}")) };
            let before = Instant::now();
            socket.send(said.clone()).await.unwrap();
            assert!(hear(&mut socket).await == said, "message {nth} comes back as it was");
            assert!(before.elapsed() < SECONDS(1), "{:?}", before.elapsed());
            match nth {
                // Another upstream object, and then none at all.
                6 => assert_eq!((path.client.reload(&[changed(&path)]), path.server.reload(&[])), (2, 2)),
                13 => assert_eq!((path.client.reload(&[]), path.server.reload(&[changed(&path)])), (3, 3)),
                _ => {}
            }
            sleep(SECONDS(3)).await;
        }
        assert!(start.elapsed() >= SECONDS(60));

        let farewell = CloseFrame { code: 4001.into(), reason: "done".into() };
        socket.close(Some(farewell.clone())).await.unwrap();
        assert_eq!(
            hear(&mut socket).await,
            Message::Close(Some(farewell.clone())),
            "the server's answer to it"
        );
        assert!(socket.next().await.is_none(), "and then a clean end");
        drop(socket);
        sleep(SECONDS(1)).await;
        let heard = heard.take();
        assert_eq!(heard.last(), Some(&Message::Close(Some(farewell))));
        assert_eq!(heard.iter().filter(|said| said.is_text() || said.is_binary()).count(), 20);
        assert!(heard.iter().filter(|said| said.is_pong()).count() >= 8, "the client saw the pings");
        assert_eq!(path.client.metric("connections_active", &[]), 0);
        assert_eq!(path.client.metric("requests_total", &[("direction", "outbound")]), 1);
        assert_eq!(path.client.metric("deadline_exceeded_total", &[]), 0);
    });
}

fn changed(path: &Path) -> String {
    upstream("chat", &[path.server.inbound], "retryBudget: {percent: 1%}")
}

#[test]
fn cf_3_to_4_a_websocket_lives_through_a_minute_and_reloads() {
    talk_for_a_minute("");
}

/// RFC 8441: the client's sidecar asks the server's by extended CONNECT, which knocks at its application as usual.
#[test]
fn cf_3_to_4_a_websocket_over_http2_lives_through_a_minute_and_reloads() {
    talk_for_a_minute("protocol: http2");
}

/// No age of a connection ends what still lives on it: who is told to go finishes first.
#[test]
fn cf_3_a_websocket_outlives_the_age_of_the_connection_that_it_shares() {
    run(REST, async {
        let path = Path::to(echoing(&Heard::default()), "protocol: http2");
        let (mut old, age) = (path.open().await, SECONDS(10 * 60));
        let start = Instant::now();
        while start.elapsed() < age * 2 {
            sleep(SECONDS(60)).await;
            let mut young = path.open().await;
            for socket in [&mut old, &mut young] {
                socket.send(Message::text("still here")).await.unwrap();
                assert_eq!(hear(socket).await, Message::text("still here"), "after {:?}", start.elapsed());
            }
        }
        let connections = path.server.metric("connections_total", &[("direction", "inbound")]);
        assert!(connections > 1, "young ones went over younger connections");
    });
}

/// Says one thing after five seconds, and nothing after that, with idle timeouts of ten.
fn fall_silent(settings: &str) {
    run(REST, async {
        let ended = Rc::new(RefCell::new(None));
        let end = Rc::clone(&ended);
        let server = scripted(move |stream| {
            let end = Rc::clone(&end);
            async move {
                let mut socket = accept_async(stream).await.unwrap();
                while let Some(Ok(said)) = socket.next().await {
                    socket.send(said).await.unwrap();
                }
                *end.borrow_mut() = Some(Instant::now());
            }
        });
        let path = Path::to(server, &format!("{IDLE}\n{settings}"));
        let mut socket = path.open().await;
        sleep(SECONDS(5)).await;
        socket.send(Message::text("the last word")).await.unwrap();
        hear(&mut socket).await;
        let silent = Instant::now();
        let said = timeout(SECONDS(60), socket.next()).await.expect("it is not kept for ever");
        assert!(!matches!(said, Some(Ok(_))), "nobody said {said:?}");
        let took = silent.elapsed();
        assert!(took >= SECONDS(10) && took < SECONDS(11), "{took:?}");
        sleep(SECONDS(1)).await;
        let took = ended.borrow().expect("the server's side has ended too") - silent;
        assert!(took < SECONDS(11), "{took:?}");
        assert_eq!(path.client.metric("deadline_exceeded_total", &[("where", "idle")]), 1);
    });
}

#[test]
fn to_4_a_silent_websocket_is_closed_at_both_ends() {
    fall_silent("");
}

#[test]
fn to_4_a_silent_websocket_over_http2_is_closed_at_both_ends() {
    fall_silent("protocol: http2");
}

/// Silence is what neither side breaks: a ticker that only one side sends is traffic for both directions.
#[test]
fn to_4_octets_in_one_direction_keep_a_websocket() {
    run(REST, async {
        let ticks = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&ticks);
        let server = scripted(move |stream| {
            let counted = Rc::clone(&counted);
            async move {
                let mut socket = accept_async(stream).await.unwrap();
                for _ in 0..10 {
                    sleep(SECONDS(6)).await;
                    socket.send(Message::text("tick")).await.unwrap();
                }
                while let Some(Ok(_)) = socket.next().await {
                    *counted.borrow_mut() += 1;
                }
            }
        });
        let path = Path::to(server, IDLE);
        let mut socket = path.open().await;
        for _ in 0..10 {
            assert_eq!(hear(&mut socket).await, Message::text("tick"));
        }
        for _ in 0..10 {
            sleep(SECONDS(6)).await;
            socket.send(Message::text("tock")).await.unwrap();
        }
        sleep(SECONDS(1)).await;
        assert_eq!(*ticks.borrow(), 10);
    });
}
