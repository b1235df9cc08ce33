//! In which order does everything end? Callers, then the application, and its own calls last (REQUIREMENTS U2, D12).

use std::time::Duration;

use rustix::process::Signal;

use super::{REST, Running, Scene};
use crate::support::caller::Caller;
use crate::support::draft::{answer, get};
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{eventually, upstream};

#[test]
fn d_12_u_2_the_application_is_told_when_its_callers_have_gone() {
    let app = Origin::start(|_, _| Reply::Late(Duration::from_millis(500), answer(200)));
    let up = Origin::always(200);
    let scene = Scene::new("20s", Some(app.addr), &[upstream("up", &[up.addr], "")]);
    let mut running = scene.start(&format!("trap 'kill $!; call && echo told; exit 0' TERM; {REST}"));
    assert_eq!(running.line().as_deref(), Some("up"));
    let mut caller = Caller::of(scene.inbound);
    caller.begin(&get("us")).unwrap();
    eventually("work in flight", || (app.count() == 1).then_some(()));
    running.tell(Signal::TERM);
    eventually("readiness to fail", || (scene.probe("/readyz") == Some(503)).then_some(()));
    assert_eq!(up.count(), 0, "it works for its caller, and knows nothing");
    let said = caller.finish().unwrap();
    assert!(said.status() == 200 && said.closes());
    assert_eq!(running.line().as_deref(), Some("told"), "it may still call out then");
    assert_eq!((running.code(), up.count()), (0, 1));
}

/// A caller that never goes, and an application that never ends: three signals are three steps.
#[test]
fn d_12_who_is_in_a_hurry_says_it_again() {
    let app = Origin::start(|_, _| Reply::Hang);
    let scene = Scene::new("1m", Some(app.addr), &[]);
    let mut running = scene.start(&format!("trap 'echo told' TERM INT; {REST}"));
    assert_eq!(running.line().as_deref(), Some("up"));
    let mut caller = Caller::of(scene.inbound);
    caller.begin(&get("us")).unwrap();
    eventually("work in flight", || (app.count() == 1).then_some(()));
    running.tell(Signal::INT);
    eventually("readiness to fail", || (scene.probe("/readyz") == Some(503)).then_some(()));
    running.tell(Signal::TERM);
    assert_eq!(running.line().as_deref(), Some("told"));
    running.tell(Signal::TERM);
    assert_eq!(running.code(), 128 + 9);
}

#[test]
fn d_12_the_grace_has_an_end() {
    let app = Origin::start(|_, _| Reply::Hang);
    let scene = Scene::new("600ms", Some(app.addr), &[]);
    let mut running = scene.start(&format!("trap 'echo told' TERM; {REST}"));
    assert_eq!(running.line().as_deref(), Some("up"));
    let mut caller = Caller::of(scene.inbound);
    caller.begin(&get("us")).unwrap();
    eventually("work in flight", || (app.count() == 1).then_some(()));
    running.tell(Signal::TERM);
    assert_eq!(running.line().as_deref(), Some("told"), "callers have half of it");
    assert_eq!(running.code(), 128 + 9, "and the application the rest");
}

/// It joins the group of a child, which ends with it.
#[test]
fn d_12_an_application_that_left_its_group_is_killed_too() {
    let scene = Scene::new("300ms", None, &[upstream("up", &[Origin::always(200).addr], "")]);
    let elsewhere = r#"$SIG{TERM} = "IGNORE"; $| = 1; pipe(R, W); my $child = fork;
        if (!$child) { close W; close STDOUT; close STDERR; setpgrp(0, 0); <R>; exit }
        close R; setpgrp($child, $child); setpgrp(0, $child) or die; print "up\n"; sleep 60 while 1"#;
    let mut running = Running::of(&mut scene.command(&["perl", "-e", elsewhere]));
    assert_eq!(running.line().as_deref(), Some("up"));
    running.tell(Signal::TERM);
    assert_eq!((running.code(), running.line()), (128 + 9, None));
}

/// The process stays as long as the service calls out, and tells it to go before it cuts anything.
#[test]
fn u_2_at_the_very_end_own_calls_are_told_to_go_too() {
    // Well within the tenth of the grace that what is under way has at the end.
    let up = Origin::start(|_, _| Reply::Late(Duration::from_millis(20), answer(200)));
    let scene = Scene::new("2s", None, &[upstream("up", &[up.addr], "")]);
    let mut running = scene.sidecar();
    let mut caller = Caller::of(scene.outbound);
    assert!(!caller.send(&get("up")).unwrap().closes());
    running.tell(Signal::TERM);
    let answers = std::iter::from_fn(|| Some(caller.send(&get("up")).expect("no call is cut")));
    let kept = answers.take_while(|said| said.status() == 200 && !said.closes()).count();
    assert!(kept >= 3, "{kept} calls before the end of its grace");
    assert_eq!(running.code(), 0);
}
