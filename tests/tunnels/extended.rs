//! Does a WebSocket get from HTTP/2 to HTTP/1 and back? Extended CONNECT (RFC 8441), spoken by the h2 crate.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::support::PATIENCE;
use crate::support::caller::timed;
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, upstream};
use crate::support::scripted::Upstream;

use super::{before, before_with, give_back, parrot, websocket};

/// Talks HTTP/2 to this address, for as long as our patience lasts.
fn speak<T>(to: SocketAddr, talk: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let talk = async {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        while !requests.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            requests = requests.ready().await.unwrap();
        }
        talk(requests).await
    };
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, talk).await.expect("an end within our patience") })
}

/// Asks for this protocol on a stream.
async fn extended(
    requests: &mut SendRequest<Bytes>,
    protocol: &'static str,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let request = Request::builder()
        .method("CONNECT")
        .uri("http://up/chat?room=1")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol))
        .body(())
        .unwrap();
    let (answer, body) = requests.send_request(request, false).unwrap();
    (answer.await.unwrap(), body)
}

/// So many octets.
async fn exactly(count: usize, from: &mut RecvStream) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let data = from.data().await.expect("the stream goes on").unwrap();
        from.flow_control().release_capacity(data.len()).unwrap();
        heard.extend(data);
    }
    heard
}

/// Nothing more comes, and that is said.
async fn ends(from: &mut RecvStream) -> bool {
    while let Some(Ok(data)) = from.data().await {
        if !data.is_empty() {
            return false;
        }
    }
    from.is_end_stream()
}

/// A WebSocket server's half of the handshake, then whatever `talk` does.
fn accepting(talk: impl Fn(&mut Peer) + Send + Sync + 'static) -> Upstream {
    Upstream::new(move |call| {
        let Some(asked) = call.head() else { return };
        let accept = derive_accept_key(asked.field("sec-websocket-key").unwrap_or_default().as_bytes());
        call.peer.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: chat\r\n\r\n"
        ));
        talk(&mut call.peer);
    })
}

#[test]
fn a_websocket_over_http2_reaches_a_server_of_http1() {
    let server = accepting(|peer| {
        assert_eq!(peer.exactly(2).unwrap(), b"hi");
        peer.send("hi there");
        assert_eq!(peer.rest(), (b"bye".to_vec(), End::Closed));
        peer.send("goodbye");
    });
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        let (mut answer, mut body) = extended(&mut requests, "websocket").await;
        assert_eq!(answer.status(), 200);
        let field = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(field("sec-websocket-protocol").as_deref(), Some("chat"));
        // RFC 8441 §5: they prove nothing here.
        assert_eq!(["connection", "upgrade", "sec-websocket-accept"].map(field), [None, None, None]);
        body.send_data(Bytes::from_static(b"hi"), false).unwrap();
        assert_eq!(exactly(8, answer.body_mut()).await, b"hi there");
        body.send_data(Bytes::from_static(b"bye"), true).unwrap();
        assert_eq!(exactly(7, answer.body_mut()).await, b"goodbye");
        assert!(ends(answer.body_mut()).await, "the end comes through as an end");
    });
    let asked = server.seen().pop().unwrap();
    assert_eq!(asked.start(), "GET /chat?room=1 HTTP/1.1");
    assert_eq!((asked.field("host"), asked.field("upgrade")), (Some("up"), Some("websocket")));
    assert_eq!(asked.field("sec-websocket-version"), Some("13"));
    let key = asked.field("sec-websocket-key").unwrap_or_default();
    assert!(key.len() == 24 && key.ends_with("=="), "RFC 6455 §4.1: sixteen octets in base64: {key}");
}

#[test]
fn a_websocket_over_http2_that_is_refused_is_an_ordinary_answer() {
    let server = Upstream::answering("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno");
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        for _ in 0..2 {
            let (mut answer, _body) = extended(&mut requests, "websocket").await;
            assert_eq!(answer.status(), 403);
            assert_eq!(exactly(2, answer.body_mut()).await, b"no");
        }
        let (answer, _body) = extended(&mut requests, "hulk").await;
        assert!(answer.status().is_client_error() || answer.status() == StatusCode::NOT_IMPLEMENTED);
    });
    assert_eq!(server.seen().len(), 2, "what the policy does not list reaches nobody");
}

/// To its caller a 200 would look like the tunnel; the attempt is one all the same.
#[test]
fn a_websocket_over_http2_that_is_answered_with_200_is_counted_and_refused() {
    let server = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno");
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        let (answer, _body) = extended(&mut requests, "websocket").await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    });
    rig.counts("attempts_total", &[("outcome", "success")], 1);
}

#[test]
fn a_reset_of_the_stream_ends_the_tunnel_and_no_other() {
    let server = parrot();
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        let (mut stays, mut talk) = extended(&mut requests, "websocket").await;
        let (goes, mut reset) = extended(&mut requests, "websocket").await;
        rig.counts("connections_active", &[("direction", "outbound"), ("protocol", "http2")], 1);
        reset.send_reset(h2::Reason::CANCEL);
        drop(goes);
        for _ in 0..3 {
            talk.send_data(Bytes::from_static(b"on"), false).unwrap();
            assert_eq!(exactly(2, stays.body_mut()).await, b"on");
        }
    });
    rig.counts("requests_total", &[("direction", "outbound")], 2);
}

/// The connection is told to go, and goes with its last stream.
#[test]
fn u_2_a_drain_waits_for_the_tunnel_of_a_stream() {
    let server = parrot();
    let mut rig = before_with("shutdown: {drain: 20s}", &server, "");
    speak(rig.inbound, async |mut requests| {
        let (mut answer, mut body) = extended(&mut requests, "websocket").await;
        rig.signal(Signal::TERM);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            body.send_data(Bytes::from_static(b"on"), false).unwrap();
            assert_eq!(exactly(2, answer.body_mut()).await, b"on");
        }
        assert_eq!(rig.probe("/readyz"), Some(503));
        body.send_data(Bytes::new(), true).unwrap();
        assert!(ends(answer.body_mut()).await);
    });
    let (ended, took) = timed(|| rig.ended());
    assert!(ended.success() && took < Duration::from_secs(10), "{took:?}");
}

/// RFC 9113 §8.5.
#[test]
fn a_stream_may_be_a_tunnel_by_connect() {
    let server = Upstream::new(|call| {
        give_back(&mut call.peer);
        call.peer.send("bye");
    });
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        for (authority, status) in [("up:443", 200), ("nowhere:443", 404)] {
            let request = Request::builder().method("CONNECT").uri(authority).body(()).unwrap();
            let (answer, mut body) = requests.send_request(request, false).unwrap();
            let mut answer = answer.await.unwrap();
            assert_eq!(answer.status(), status, "{authority}");
            if status == 200 {
                body.send_data(Bytes::from_static(b"hello"), true).unwrap();
                assert_eq!(exactly(8, answer.body_mut()).await, b"hellobye");
                assert!(ends(answer.body_mut()).await);
            }
        }
    });
}

/// A server of HTTP/2 that gives back what comes on each stream, and says what it was asked in `x-asked`.
fn http2_parrot(takes_connect: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, takes_connect));
            }
        });
    });
    addr
}

async fn serve(stream: TcpStream, takes_connect: bool) -> Result<(), h2::Error> {
    let mut settings = h2::server::Builder::new();
    if takes_connect {
        settings.enable_connect_protocol();
    }
    let mut connection = settings.handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let protocol = request.extensions().get::<Protocol>().map_or("none", Protocol::as_str);
        let asked = format!("{} {} {protocol}", request.method(), request.uri().path());
        let answer = Response::builder().header("x-asked", asked).body(()).unwrap();
        let mut back = respond.send_response(answer, false)?;
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                let _ = back.send_data(data, false);
            }
            let _ = back.send_data(Bytes::from_static(b"bye"), true);
        });
    }
    Ok(())
}

#[test]
fn a_websocket_of_http1_reaches_a_server_of_http2() {
    let rig = Rig::start(&[upstream("up", &[http2_parrot(true)], "protocol: http2")]);
    let mut peer = Peer::connect(rig.outbound);
    peer.send(websocket("up").octets());
    let said = peer.head();
    assert_eq!((said.status(), said.field("upgrade")), (101, Some("websocket")), "{}", said.head);
    assert_eq!(said.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "RFC 6455 §1.3");
    assert_eq!(said.field("x-asked"), Some("CONNECT / websocket"));
    super::echoes(&mut peer, "over two protocols");
    assert_eq!(peer.finish().rest(), (b"bye".to_vec(), End::Closed));
}

/// RFC 8441 §3: without the setting nobody may ask, and an upgrade is no reason to break a connection.
#[test]
fn a_server_of_http2_that_takes_no_extended_connect_gets_none() {
    let rig = Rig::start(&[upstream("up", &[http2_parrot(false)], "protocol: http2")]);
    let mut peer = Peer::connect(rig.outbound);
    peer.send(websocket("up").octets());
    let said = peer.head();
    assert_ne!(said.status(), 101);
    assert!(said.field("x-asked").is_none_or(|asked| asked == "GET / none"), "{}", said.head);
}

/// Five thousand short messages at once are within every window, and no attack.
#[test]
fn a_burst_of_short_messages_is_passed_on() {
    const MESSAGES: usize = 5000;
    let server = parrot();
    let rig = before(&server, "");
    speak(rig.outbound, async |mut requests| {
        let (mut answer, mut body) = extended(&mut requests, "websocket").await;
        assert_eq!(answer.status(), 200);
        for _ in 0..MESSAGES {
            body.send_data(Bytes::from_static(b"0123456789"), false).unwrap();
        }
        assert_eq!(exactly(MESSAGES * 10, answer.body_mut()).await.len(), MESSAGES * 10);
    });
    rig.counts("protocol_errors_total", &[], 0);
}

#[test]
fn a_large_message_crosses_both_protocols_whole() {
    let server = parrot();
    let rig = before(&server, "");
    let said: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    speak(rig.outbound, async |mut requests| {
        let (mut answer, mut body) = extended(&mut requests, "websocket").await;
        assert_eq!(answer.status(), 200);
        body.send_data(Bytes::from(said.clone()), false).unwrap();
        assert!(exactly(said.len(), answer.body_mut()).await == said);
    });
}
