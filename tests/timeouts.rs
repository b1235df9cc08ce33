//! How long is too long? One word a clock, and what is not cut by it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use outrigger_config::model::RequestTimeout;
use outrigger_config::{Source, parse};
use socket2::{Domain, Socket, Type};

use crate::support::caller::timed;
use crate::support::draft::{answer, ask, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, eventually, upstream};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// A response head at once, then `pieces` octets with a pause before each, and then silence.
fn drip(pieces: usize, pause: Duration, length: usize) -> Reply {
    Reply::Act(Box::new(move |stream: &mut TcpStream| {
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
        for _ in 0..pieces {
            thread::sleep(pause);
            stream.write_all(b".")?;
        }
        // Until the other side has had enough.
        stream.set_read_timeout(None)?;
        stream.read(&mut [0; 1]).map(drop)
    }))
}

#[test]
fn to_1_a_slow_download_is_no_slow_answer() {
    let origin = Origin::start(|_, request| match request.target() {
        "/slow" => drip(8, MS(60), 8),
        _ => Reply::Hang,
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {responseHeaders: 200ms}")]);
    let said = rig.caller().send(&ask("GET", "/slow", "up")).unwrap();
    assert_eq!((said.status(), said.body.len()), (200, 8));
    let (said, took) = timed(|| rig.caller().send(&get("up")).unwrap());
    assert_eq!(said.status(), 504);
    assert!(said.reason() == "attempt-timeout", "{}", said.reason());
    assert!(took >= MS(200) && took < MS(2000), "{took:?}");
}

#[test]
fn to_2_the_request_timeout_covers_the_last_byte() {
    let torrent = || {
        Reply::Act(Box::new(|stream: &mut TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'.'; 16_384])?;
            }
        }))
    };
    let origin = Origin::start(move |_, request| match request.target() {
        "/torrent" => torrent(),
        _ => drip(100, MS(20), 100),
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {request: 200ms}")]);
    for target in ["/drip", "/torrent"] {
        let request = ask("GET", target, "up");
        let (said, took) = timed(|| rig.caller().send(&request));
        assert!(said.is_err(), "{target}: an answer that breaks off must not look whole");
        assert!(took >= MS(200) && took < MS(3000), "{target}: {took:?}");
    }
    eventually("the end of both", || (origin.gone() == 2).then_some(()));
    eventually("both counted", || {
        (rig.metric("deadline_exceeded_total", &[("where", "request")]) == 2).then_some(())
    });
}

#[test]
fn to_2_the_request_timeout_covers_an_upload_that_never_pauses() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(200)));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {request: 200ms}")]);
    let mut caller = rig.caller();
    caller.begin(&ask("PUT", "/", "up").with("content-length", u64::MAX / 2)).unwrap();
    let mut socket = caller.stream().try_clone().unwrap();
    let flood = thread::spawn(move || while socket.write_all(&[b'.'; 16_384]).is_ok() {});
    let (said, took) = timed(|| caller.finish().unwrap());
    assert_eq!(said.status(), 504);
    assert!(took < MS(3000), "{took:?}");
    caller.leave();
    flood.join().unwrap();
}

#[test]
fn to_2_events_are_bounded_by_silence_alone() {
    let kinds = ["text/event-stream", "text/event-stream;charset=UTF-8", "Text/Event-Stream ; charset=utf-8"];
    let origin = Origin::start(move |_, request| {
        let kind = kinds[request.target()[1..].parse::<usize>().unwrap()];
        Reply::Act(Box::new(move |stream: &mut TcpStream| {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 8\r\n\r\n")?;
            for _ in 0..8 {
                thread::sleep(MS(50));
                stream.write_all(b".")?;
            }
            Ok(())
        }))
    });
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {request: 200ms}")]);
    for (nth, kind) in kinds.iter().enumerate() {
        let said = rig.caller().send(&ask("GET", &format!("/{nth}"), "up"));
        assert_eq!(said.map(|said| said.body.len()).ok(), Some(8), "{kind}");
    }
}

#[test]
fn to_3_each_attempt_has_its_own_time() {
    let origin = Origin::start(|_, request| match request.target() {
        "/stalls" => drip(1, MS(0), 2),
        _ => Reply::Hang,
    });
    let settings = |clock: &str| {
        format!(
            "timeouts: {{{clock}: 100ms}}\nretry: {{on: [timeout], attempts: 2, backoff: {{base: 1ms, max: 1ms}}}}"
        )
    };
    for clock in ["responseHeaders", "backendRequest"] {
        let rig = Rig::start(&[upstream("up", &[origin.addr], &settings(clock))]);
        let before = (origin.count(), origin.gone());
        let (said, took) = timed(|| rig.caller().send(&get("up")).unwrap());
        assert_eq!((said.status(), origin.count() - before.0), (504, 3), "{clock}");
        assert!(took >= MS(300) && took < MS(3000), "{clock}: {took:?}");
        eventually("the end of all three", || (origin.gone() == before.1 + 3).then_some(()));
    }
    // By the Gateway API `backendRequest` covers the whole response.
    let rig = Rig::start(&[upstream("up", &[origin.addr], &settings("backendRequest"))]);
    let request = ask("GET", "/stalls", "up");
    let (said, took) = timed(|| rig.caller().send(&request));
    assert!(said.is_err() && took >= MS(100) && took < MS(3000), "{took:?}");
}

#[test]
fn to_4_silence_ends_a_stream_and_bytes_keep_it() {
    let origin = Origin::start(|_, _| drip(8, MS(60), 1000));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "timeouts: {idle: 200ms}")]);
    let (said, took) = timed(|| rig.caller().send(&get("up")));
    assert!(said.is_err(), "an answer that breaks off must not look whole");
    assert!(took >= MS(8 * 60 + 200) && took < MS(3000), "{took:?}");
    eventually("the upstream's side", || (origin.gone() == 1).then_some(()));
    rig.counts("deadline_exceeded_total", &[("where", "idle")], 1);
}

#[test]
fn to_5_every_wait_is_finite_by_default() {
    let text = "apiVersion: outrigger/v1\nkind: Sidecar\nname: us\noutbound: {}\n---\n".to_owned()
        + &upstream("up", &["127.0.0.1:1".parse().unwrap()], "");
    let config = parse(&[Source { name: "policy.yaml".into(), text }]).unwrap();
    let timeouts = &config.upstreams[0].policy.timeouts;
    assert!(matches!(*timeouts.request, RequestTimeout::UntilHead(limit) if limit <= Duration::from_mins(1)));
    assert!(*timeouts.idle <= Duration::from_mins(10) && *timeouts.connect <= Duration::from_secs(10));
    let limits = config.sidecar.limits;
    assert!(limits.head_timeout.max(limits.idle_timeout) <= Duration::from_mins(10));
}

/// A port whose backlog is full: it takes no further connection and refuses none.
fn black_hole() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut held = vec![listener];
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let full = socket.connect_timeout(&addr, MS(100)).is_err();
        held.push(socket);
        if full {
            return (addr.as_socket().unwrap(), held);
        }
    }
}

#[test]
fn to_6_a_black_hole_fails_at_the_connect() {
    let (addr, _held) = black_hole();
    let rig = Rig::start(&[upstream("up", &[addr], "timeouts: {connect: 100ms}\nretry: {attempts: 0}")]);
    let (said, took) = timed(|| rig.caller().send(&get("up")).unwrap());
    assert_eq!(said.status(), 502);
    assert!(said.reason() == "connect-timeout", "{}", said.reason());
    assert!(took >= MS(100) && took < MS(2000), "{took:?}");
    rig.counts("attempts_total", &[("outcome", "connect-timeout")], 1);
    rig.counts("deadline_exceeded_total", &[("where", "connect")], 1);
}

/// RFC 9110 §10.1.1: whoever expects `100 Continue` may take its time after it.
#[test]
fn to_1_a_client_may_be_slow_after_continue() {
    let origin = Origin::start(|_, _| Reply::Answer(answer(200)));
    let rig = Rig::start(&[upstream("up", &[origin.addr], "")]);
    let mut caller = rig.caller();
    let head = ask("PUT", "/", "up").with("expect", "100-continue").with("content-length", 2);
    caller.begin(&head).unwrap();
    // Longer than the patience with which the upstream's own word is awaited.
    thread::sleep(MS(1200));
    caller.stream().write_all(b"ok").unwrap();
    assert_eq!(caller.finish().unwrap().status(), 200);
    assert_eq!(origin.seen()[0].message.body, b"ok");
}
