//! What happens when one side leaves? Streams that are left are cancelled at once, connections end only when they are
//! empty.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{GET, GET1, OK, POST, before, before_http1};
use crate::support::PATIENCE;
use crate::support::draft::answer;
use crate::support::frames::{Frame, code};
use crate::support::link::{Event, Link};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::End;
use crate::support::rig::{Rig, Wishes, eventually};
use crate::support::scripted::Upstream;
use crate::support::server::Server;
use crate::support::sidecar::{Policy, Sidecar};

/// What happens to a stream, as its upstream sees it.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Began,
    Reset(u32),
    Ended,
}

/// An upstream that answers nothing, and tells what happens to streams.
fn telling() -> (Server, Receiver<Fate>) {
    let (tell, told) = mpsc::channel();
    let server = Server::scripted(&[], move |link| {
        while let Ok(event) = link.event() {
            let _ = match event {
                Event::Head(..) => tell.send(Fate::Began),
                Event::Reset(_, code) => tell.send(Fate::Reset(code)),
                _ => Ok(()),
            };
        }
        let _ = tell.send(Fate::Ended);
    });
    (server, told)
}

#[test]
fn dl_4_a_cancelled_stream_is_cancelled_upstream() {
    let (origin, told) = telling();
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    for head in [GET, POST] {
        let stream = link.open(&head, head == GET);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Began));
        let began = Instant::now();
        link.send(&Frame::reset(stream, code::CANCEL));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Reset(code::CANCEL)));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    link.sync().expect("the connection goes on");
    assert_eq!(origin.connections(), 1, "and so does the one behind");
}

#[test]
fn dl_4_a_cancelled_stream_ends_its_http1_connection() {
    let (tell, told) = mpsc::channel();
    let origin = Upstream::new(move |call| {
        call.request();
        let _ = tell.send(End::Open);
        let _ = tell.send(call.peer.rest().1);
    });
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&GET, true);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(End::Open));
    link.send(&Frame::reset(stream, code::CANCEL));
    assert_ne!(told.recv_timeout(PATIENCE), Ok(End::Open));
}

#[test]
fn dl_4_a_client_that_leaves_cancels_all_its_streams() {
    let (origin, told) = telling();
    let sidecar = before(&origin);
    let mut link = Link::connect(sidecar.outbound);
    for _ in 0..3 {
        link.open(&GET, true);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Began));
    }
    drop(link);
    for _ in 0..3 {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Reset(code::CANCEL)));
    }
    let mut peer = sidecar.calls_out();
    peer.send(GET1);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Began));
    drop(peer);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Fate::Reset(code::CANCEL)));
    assert_eq!(origin.connections(), 1);
}

/// The client has its answer and wants no more uploads of the stream: RFC 9113 §8.1.
#[test]
fn an_answer_may_come_before_the_upload_ends() {
    let origin = Upstream::new(|call| {
        call.head();
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").finish();
        call.peer.rest();
    });
    let sidecar = before_http1(&origin);
    let mut link = Link::connect(sidecar.outbound);
    let stream = link.open(&POST, false);
    link.send(&Frame::data(stream, *b"some", false));
    assert_eq!(link.message(stream).expect("an answer").text(), "ok");
    link.sync().expect("the connection goes on");
}

/// A rig whose application answers POST late.
fn late(sidecar: &str) -> (Rig, Origin) {
    let app = Origin::start(|_, request| match request.method() {
        "POST" => Reply::Late(Duration::from_millis(600), answer(201)),
        _ => Reply::Answer(answer(200)),
    });
    let (app_addr, inbound) = (Some(app.addr), "protocol: http1");
    let wishes = Wishes {
        app: app_addr,
        inbound: inbound.to_owned(),
        sidecar: sidecar.to_owned(),
        ..Wishes::default()
    };
    (Rig::with(&wishes, &[]), app)
}

#[test]
fn u_2_a_drain_says_goaway_and_lets_open_streams_finish() {
    let (mut rig, app) = late("shutdown: {drain: 20s}");
    let (mut busy, mut idle) = (Link::connect(rig.inbound), Link::connect(rig.inbound));
    assert_eq!(idle.ask(&GET).expect("an answer").status(), 200);
    let stream = busy.open(&POST, true);
    eventually("work in flight", || (app.count() == 2).then_some(()));
    rig.signal(Signal::TERM);
    assert_eq!(idle.end().0, Some(code::NO_ERROR));
    assert_eq!(busy.message(stream).expect("it is finished").status(), 201);
    assert_eq!(busy.goaway.map(|(_, code)| code), Some(code::NO_ERROR));
    assert_eq!(busy.end(), (Some(code::NO_ERROR), End::Closed));
    assert!(rig.ended().success());
}

#[test]
fn u_16_callers_are_sent_away_when_their_connection_is_old() {
    let (rig, _app) = late("limits: {maxConnectionAge: 400ms}");
    let mut link = Link::connect(rig.inbound);
    assert_eq!(link.ask(&GET).expect("an answer").status(), 200);
    let stream = link.open(&POST, true);
    assert_eq!(link.message(stream).expect("it is finished").status(), 201);
    let began = Instant::now();
    let (code, end) = link.end();
    assert_eq!((code, end), (Some(code::NO_ERROR), End::Closed));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A client that goes on until it is told to go loses nothing: the first GOAWAY names the highest stream there can be, so
/// that what is on its way is still served (RFC 9113 §6.8).
#[test]
fn u_16_no_request_is_lost_when_a_connection_is_old() {
    let (rig, _app) = late("limits: {maxConnectionAge: 300ms}");
    let mut link = Link::connect(rig.inbound);
    let mut connections = 1;
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        if link.goaway.is_some() {
            link = Link::connect(rig.inbound);
            connections += 1;
        }
        assert_eq!(link.ask(&GET).map(|answer| answer.status()), Ok(200));
    }
    assert!((3..=8).contains(&connections), "{connections} in five ages");
}

#[test]
fn u_16_connections_to_upstreams_are_replaced_when_they_are_old() {
    let origin = Server::answering(OK, "ok");
    let policy =
        Policy { upstream: "protocol: http2\nlimits: {maxConnectionAge: 300ms}", ..Policy::default() };
    let sidecar = Sidecar::with(origin.addr, policy);
    let mut link = Link::connect(sidecar.outbound);
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert_eq!(link.ask(&GET).map(|answer| answer.text()), Ok("ok".to_owned()));
        thread::sleep(Duration::from_millis(1));
    }
    let connections = origin.connections();
    assert!((3..=8).contains(&connections), "{connections} in five ages");
}
