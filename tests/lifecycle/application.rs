//! What does an application find that is started by a sidecar? What it would have found without one, and its end is ours.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{REST, Running, Scene};
use crate::support::caller::Caller;
use crate::support::draft::get;
use crate::support::origin::Origin;
use crate::support::rig::{eventually, upstream};

fn scene() -> Scene {
    Scene::new("2s", None, &[upstream("up", &[Origin::always(200).addr], "")])
}

#[test]
fn d_12_the_exit_code_is_the_applications() {
    let scene = scene();
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15)]
    {
        assert_eq!(scene.start(script).code(), code, "{script}");
    }
}

#[test]
fn d_12_what_cannot_be_started_is_told_as_by_a_shell() {
    let scene = scene();
    let file = scene.dir.path().join("no-program");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for (app, code) in [("no-such-program-anywhere", 127), (file.to_str().unwrap(), 126)] {
        let mut running = Running::of(&mut scene.command(&[app]));
        assert_eq!(running.code(), code);
        running.complains(&format!("cannot start `{app}`"));
    }
}

#[test]
fn d_12_a_wrong_policy_starts_nothing() {
    let scene = scene();
    fs::write(scene.dir.path().join("more.yaml"), "apiVersion: outrigger/v1\nkind: Upstream\nname: x\n")
        .unwrap();
    let mut running = scene.start("echo up");
    assert_eq!((running.code(), running.line()), (1, None));
    running.complains("more.yaml");
}

/// Its calls would be the sidecar's own, as the rules see it.
#[test]
fn d_12_cf_9_a_policy_that_captures_starts_no_application() {
    for captured in
        ["outbound: {capture: redirect}", "inbound: [{port: 8080, capture: redirect, forwardTo: original}]"]
    {
        let scene = scene();
        let sidecar = format!("apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\n{captured}\n");
        fs::write(scene.dir.path().join("policy.yaml"), sidecar).unwrap();
        let mut running = scene.start("echo up");
        assert_eq!((running.code(), running.line()), (1, None), "{captured}");
        running.complains("start it as another user, with `outrigger wait -- APP`");
    }
}

#[test]
fn d_12_cf_9_nor_does_a_policy_begin_to_capture_while_one_runs() {
    let scene = scene();
    let mut running = scene.start(&format!("trap 'kill $!; exit 0' TERM; {REST}"));
    assert_eq!(running.line().as_deref(), Some("up"));
    let file = scene.dir.path().join("policy.yaml");
    let policy = fs::read_to_string(&file).unwrap();
    fs::write(&file, policy.replace("outbound: {", "outbound: {capture: redirect, ")).unwrap();
    running.tell(Signal::HUP);
    running.complains("start it as another user");
    running.complains("policy rejected");
    running.tell(Signal::TERM);
    assert_eq!(running.code(), 0);
}

/// Only the foreground group may read a terminal; whoever else tries is stopped.
#[test]
fn d_12_it_reads_the_terminal() {
    let scene = scene();
    let policy = scene.dir.path().display();
    let beside = format!("{} run --config {policy} -- bash -c", env!("CARGO_BIN_EXE_outrigger"));
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{beside} 'read -r word; echo read $word'"));
    command.arg("/dev/null").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::of(&mut command);
    running.child.stdin.take().unwrap().write_all(b"this\n").unwrap();
    assert_eq!(running.code(), 0);
    assert!(std::iter::from_fn(|| running.line()).any(|line| line.trim_end() == "read this"));
}

#[test]
fn d_12_its_streams_are_its_own() {
    let scene = scene();
    let script = "cat; call; echo aside >&2";
    let mut command = scene.command(&["bash", "-c", &format!("{}{script}", super::CALL)]);
    let mut running = Running::of(command.stdin(Stdio::piped()));
    running.child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    assert_eq!(running.code(), 0);
    let said: Vec<_> = std::iter::from_fn(|| running.line()).collect();
    assert_eq!(said, ["one", "two"], "no access log among it");
    running.complains("aside");
    running.complains("\"upstream\":\"up\"");
}

#[test]
fn d_12_it_inherits_nothing_of_ours() {
    let scene = scene();
    let script = "ulimit -Sn; grep -E '^Sig(Blk|Ign)' /proc/self/status; exec ls /proc/self/fd";
    let found = |beside: &[&str]| {
        let mut command = Command::new("bash");
        command
            .args(["-c", "ulimit -Sn 300; exec \"$@\"", "limited"])
            .args(beside)
            .args(["bash", "-c", script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::of(&mut command);
        std::iter::from_fn(move || running.line()).map(unless_heard).collect::<Vec<_>>()
    };
    let policy = scene.dir.path().to_str().unwrap();
    let beside_us = found(&[env!("CARGO_BIN_EXE_outrigger"), "run", "--config", policy, "--"]);
    assert_eq!(beside_us, found(&[]), "the same limit, signals and descriptors as alone");
    assert_eq!(beside_us[0], "300");
}

/// A line of what is ignored, without the signals that a sidecar hears itself: whoever started the test may ignore some of
/// those (`nohup`, a shell's `&`).
fn unless_heard(line: String) -> String {
    use Signal as S;
    let heard = [S::HUP, S::INT, S::QUIT, S::USR1, S::USR2, S::TERM, S::WINCH];
    let heard = heard.iter().fold(0, |set, signal| set | 1u64 << (signal.as_raw() - 1));
    match line.strip_prefix("SigIgn:\t") {
        Some(set) => format!("SigIgn:\t{:016x}", u64::from_str_radix(set, 16).unwrap() & !heard),
        None => line,
    }
}

#[test]
fn d_12_signals_are_passed_on_but_for_the_one_that_is_ours() {
    let scene = scene();
    let mut running = scene
        .start(&format!("trap 'echo one' USR1; trap 'echo two' USR2; trap 'kill $!; exit 4' QUIT; {REST}"));
    assert_eq!(running.line().as_deref(), Some("up"));
    running.tell(Signal::HUP);
    running.tell(Signal::USR1);
    assert_eq!(running.line().as_deref(), Some("one"), "HUP would have ended it");
    running.tell(Signal::USR2);
    assert_eq!(running.line().as_deref(), Some("two"));
    running.complains("the policy says what runs already");
    running.tell(Signal::QUIT);
    assert_eq!(running.code(), 4);
}

/// Runs a command as process 1 of a namespace of its own; `None`: that is not allowed here, which is said aloud.
#[allow(clippy::print_stderr, reason = "a test that shows nothing says so")]
fn as_process_1(command: &Command) -> Option<Running> {
    let namespace = ["--user", "--map-current-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let allowed = Command::new("unshare").args(namespace).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no process namespace can be made here, so nothing is known of life as process 1");
        return None;
    }
    let mut inside = Command::new("unshare");
    inside.args(namespace).arg(command.get_program()).args(command.get_args());
    inside.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(Running::of(&mut inside))
}

/// The process 1 of a namespace, seen from outside.
fn inner(running: &Running) -> rustix::process::Pid {
    let pid = running.child.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let found = eventually("process 1", || fs::read_to_string(&children).ok()?.trim().parse().ok());
    rustix::process::Pid::from_raw(found).unwrap()
}

#[test]
fn d_12_process_1_reaps_what_others_leave_behind() {
    let scene = scene();
    let orphan =
        "orphan=$( (sleep 0.05 >&- 2>&- & echo $!) ); while [ -e /proc/$orphan ]; do :; done; exit 5";
    let Some(mut running) = as_process_1(&scene.command(&["bash", "-c", orphan])) else { return };
    assert_eq!(
        running.code(),
        5,
        "the orphan is gone for good, and the application's code is not lost among it"
    );
}

#[test]
fn d_12_process_1_heeds_signals() {
    let origin = Origin::always(200);
    let scene = Scene::new("2s", Some(origin.addr), &[]);
    let Some(mut running) = as_process_1(&scene.command(&[])) else { return };
    eventually("readiness", || (scene.probe("/readyz") == Some(200)).then_some(()));
    assert_eq!(Caller::of(scene.inbound).send(&get("us")).unwrap().status(), 200);
    rustix::process::kill_process(inner(&running), Signal::TERM).unwrap();
    assert_eq!(running.code(), 0);
}
