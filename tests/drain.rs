//! How does it end? Readiness first, then callers, and the service's own calls last (REQUIREMENTS U2).

use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::authority::Authority;
use crate::support::caller::Caller;
use crate::support::draft::{answer, get, post};
use crate::support::origin::{Origin, Reply};
use crate::support::peer::{End, Peer};
use crate::support::rig::{Rig, Wishes, eventually, upstream};
use crate::support::secret;

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn u_2_callers_go_first_and_own_calls_work_to_the_end() {
    let app = Origin::start(|_, request| match request.method() {
        "POST" => Reply::Late(MS(800), answer(201)),
        _ => Reply::Answer(answer(200)),
    });
    let sidecar = "shutdown: {drain: 20s}".to_owned();
    let wishes = Wishes { app: Some(app.addr), sidecar, ..Wishes::default() };
    let mut rig = Rig::with(&wishes, &[upstream("up", &[app.addr], "")]);
    let (mut slow, mut idle, mut own) = (Caller::of(rig.inbound), Caller::of(rig.inbound), rig.caller());
    assert_eq!(own.send(&get("up")).unwrap().status(), 200);
    assert_eq!(idle.send(&get("us")).unwrap().status(), 200);
    slow.begin(&post("us", "work")).unwrap();
    eventually("work in flight", || (app.count() == 3).then_some(()));

    let start = Instant::now();
    rig.signal(Signal::TERM);
    eventually("readiness to fail", || (rig.probe("/readyz") == Some(503)).then_some(()));
    assert_eq!(rig.probe("/livez"), Some(200), "to drain is no illness");
    let said = Caller::of(rig.inbound).send(&get("us")).unwrap();
    assert!(said.status() == 200 && said.closes(), "late callers are served and sent away");
    let said = slow.finish().unwrap();
    assert!(
        said.status() == 201 && said.closes(),
        "what was in flight is finished, and is the last of its connection"
    );
    assert_eq!(own.send(&get("up")).unwrap().status(), 200, "the service may still call out");
    assert!(!own.send(&get("up")).unwrap().closes());
    own.leave();
    assert!(rig.ended().success());
    assert!(start.elapsed() < Duration::from_secs(15), "nobody was left to wait for: {:?}", start.elapsed());
}

/// Its request may be on its way: a connection that was made just before the drain is not closed before it was heard.
#[test]
fn u_2_who_has_just_connected_is_heard() {
    let app = Origin::always(200);
    let sidecar = "shutdown: {drain: 600ms}".to_owned();
    let rig = Rig::with(&Wishes { app: Some(app.addr), sidecar, ..Wishes::default() }, &[]);
    let mut fresh = Peer::connect(rig.inbound);
    rig.counts("connections_active", &[("direction", "inbound")], 1);
    let mut kept = Peer::connect(rig.inbound);
    kept.send(get("us").octets());
    assert_eq!(kept.message().status(), 200);
    rig.signal(Signal::TERM);
    // Idle connections are told to end in the order of their coming.
    assert_eq!(kept.some().err(), Some(End::Closed));
    fresh.send(get("us").octets());
    let said = fresh.message();
    assert!(said.status() == 200 && said.closes(), "{}", said.head);
}

/// The same within TLS, where it is settled by then what will be spoken.
#[test]
fn u_2_se_1_who_has_just_shaken_hands_is_heard() {
    let ca = Authority::new("root");
    let theirs = ca.house("server");
    let app = Origin::always(200);
    let sidecar = format!("shutdown: {{drain: 600ms}}\nidentity: {{certDir: {}}}", theirs.path().display());
    let rig = Rig::with(&Wishes { app: Some(app.addr), sidecar, ..Wishes::default() }, &[]);
    let caller = secret::Caller::new(&ca, Some(&ca.issue("client"))).speaking(&["http/1.1"]);
    let mut fresh = caller.call(rig.inbound).unwrap();
    let mut kept = caller.call(rig.inbound).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: us\r\n\r\n";
    assert!(kept.head(request).unwrap().contains(" 200 "));
    rig.signal(Signal::TERM);
    assert_eq!(
        kept.0.read(&mut [0]).unwrap(),
        0,
        "idle connections are told to end in the order of their coming"
    );
    let said = fresh.head(request).unwrap();
    assert!(said.contains(" 200 ") && said.to_lowercase().contains("connection: close"), "{said}");
}

#[test]
fn u_2_the_drain_has_an_end() {
    let app = Origin::start(|_, _| Reply::Hang);
    let sidecar = "shutdown: {drain: 300ms}".to_owned();
    let mut rig = Rig::with(&Wishes { app: Some(app.addr), sidecar, ..Wishes::default() }, &[]);
    let mut hung = Caller::of(rig.inbound);
    hung.begin(&get("us")).unwrap();
    eventually("a call that hangs", || (app.count() == 1).then_some(()));
    let start = Instant::now();
    rig.signal(Signal::TERM);
    rig.ended();
    assert!(start.elapsed() >= MS(300), "{:?}", start.elapsed());
}
