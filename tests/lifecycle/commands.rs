//! What can hooks and probes do without a shell? `outrigger wait` and `outrigger drain`.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Running, Scene};
use crate::support::caller::Caller;
use crate::support::draft::{answer, get};
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{eventually, upstream};

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn u_1_wait_ends_with_the_start() {
    let scene = Scene::new("2s", None, &[upstream("up", &[Origin::always(200).addr], "")]);
    let early = scene.outrigger(&["wait", "--timeout", "200ms"]).output().unwrap();
    assert_eq!(early.status.code(), Some(1));
    assert!(complaint(&early).contains("waited 200ms in vain"), "{}", complaint(&early));

    let mut waiting = scene.outrigger(&["wait"]).spawn().unwrap();
    let _running = scene.sidecar();
    assert!(eventually("an end", || waiting.try_wait().unwrap()).success());
    assert!(scene.outrigger(&["wait", "--ready"]).status().unwrap().success());
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    elsewhere.args(["wait", "--timeout", "1s", "--at", &scene.metrics.to_string()]);
    assert!(elsewhere.status().unwrap().success(), "no policy is needed by who knows the address");
}

#[test]
fn u_1_wait_becomes_what_comes_second() {
    let scene = Scene::new("2s", None, &[upstream("up", &[Origin::always(200).addr], "")]);
    let _running = scene.sidecar();
    for (app, code) in [(&["sh", "-c", "exit 5"][..], 5), (&["no-such-program-anywhere"], 127)] {
        let ended = scene.outrigger(&["wait"]).arg("--").args(app).output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{app:?}");
    }
}

/// Where the policy checks the application, readiness waits for it, and it may wait for the start.
#[test]
fn u_1_sidecar_and_application_do_not_wait_for_one_another() {
    let scene = Scene::new("2s", None, &[]);
    let policy = scene.dir.path().join("policy.yaml");
    let written = fs::read_to_string(&policy).unwrap();
    let gone = free_addr();
    let check = format!(
        "inbound: [{{port: 8080, listen: {}, forwardTo: {gone}, healthCheck: {{http: /, interval: 100ms}}}}]\n",
        scene.inbound
    );
    fs::write(&policy, written + &check).unwrap();
    let _running = Running::of(&mut scene.command(&[]));
    assert!(scene.outrigger(&["wait"]).status().unwrap().success());
    eventually("the check to fail", || (scene.probe("/readyz") == Some(503)).then_some(()));
    let ready = scene.outrigger(&["wait", "--ready", "--timeout", "100ms"]).output().unwrap();
    assert!(complaint(&ready).contains("is not ready"), "{}", complaint(&ready));
    assert!(scene.outrigger(&["wait", "--timeout", "1s"]).status().unwrap().success());
}

#[test]
fn u_2_drain_sends_callers_away_and_leaves_the_rest() {
    let app = Origin::start(|_, _| Reply::Late(Duration::from_millis(500), answer(200)));
    let up = Origin::always(200);
    let scene = Scene::new("20s", Some(app.addr), &[upstream("up", &[up.addr], "")]);
    let mut running = scene.sidecar();
    let (mut caller, mut own) = (Caller::of(scene.inbound), Caller::of(scene.outbound));
    assert_eq!(own.send(&get("up")).unwrap().status(), 200);
    caller.begin(&get("us")).unwrap();
    eventually("work in flight", || (app.count() == 1).then_some(()));

    assert!(scene.outrigger(&["drain", "--no-wait"]).status().unwrap().success());
    assert_eq!(scene.probe("/readyz"), Some(503), "from the first moment");
    assert_eq!((scene.probe("/livez"), scene.probe("/startupz")), (Some(200), Some(200)));
    let mut waiting = scene.outrigger(&["drain"]).spawn().unwrap();
    assert!(caller.finish().unwrap().closes());
    assert!(waiting.wait().unwrap().success(), "it goes on from where the first has begun");
    assert!(!own.send(&get("up")).unwrap().closes(), "the service's own calls go on");
    assert!(running.child.try_wait().unwrap().is_none(), "and so does the process");

    own.leave();
    let told = Instant::now();
    running.tell(Signal::TERM);
    assert_eq!(running.code(), 0);
    assert!(told.elapsed() < Duration::from_secs(5), "nobody is left to wait for: {:?}", told.elapsed());
}

#[test]
fn u_2_drain_says_when_there_is_nobody() {
    let scene = Scene::new("2s", None, &[]);
    let output = scene.outrigger(&["drain"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("cannot drain at unix:"), "{}", complaint(&output));
}
