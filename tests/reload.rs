//! Does a change of policy take effect, whole or not at all, and does nobody notice?

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::caller::Caller;
use crate::support::draft::{answer, get};
use crate::support::free_addr;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes, eventually, upstream};

/// An origin that says who it is.
fn named(name: &'static str) -> Origin {
    Origin::start(move |_, _| Reply::Answer(answer(200).with("x-name", name)))
}

fn to(addr: SocketAddr) -> [String; 1] {
    [upstream("up", &[addr], "")]
}

/// Who answers.
fn who(rig: &Rig) -> String {
    rig.caller().send(&get("up")).unwrap().field("x-name").unwrap_or_default().to_owned()
}

fn answers(rig: &Rig, name: &str) {
    eventually(name, || (who(rig) == name).then_some(()));
}

#[test]
fn cf_1_what_is_wrong_never_runs() {
    let origin = named("a");
    let rig = Rig::start(&to(origin.addr));
    let good = fs::read_to_string(rig.policy_file()).unwrap();
    rig.counts("config_in_sync", &[], 1);
    let line = good.lines().count() + 1;
    fs::write(rig.policy_file(), format!("{good}retrys: {{attempts: 1}}\n")).unwrap();
    rig.counts("config_in_sync", &[], 0);
    rig.counts("config_reloads_total", &[("result", "rejected")], 1);
    assert_eq!((who(&rig).as_str(), rig.metric("config_generation", &[])), ("a", 1), "the old one serves");
    assert_eq!(rig.probe("/readyz"), Some(200), "and is ready to");
    eventually("its place", || rig.complaints().contains(&format!("policy.yaml:{line}:1")).then_some(()));
    assert!(rig.complaints().contains("did you mean `retry`?"), "{}", rig.complaints());
    fs::write(rig.policy_file(), good).unwrap();
    rig.counts("config_in_sync", &[], 1);
}

/// An edit in place, a rename over the file, the way Kubernetes swaps a directory, and a signal.
#[test]
fn u_8_every_way_to_change_a_file_is_noticed() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(named);
    let rig = Rig::start(&to(a.addr));
    answers(&rig, "a");
    let (file, dir) = (rig.policy_file(), rig.policy_file().parent().unwrap().to_owned());

    fs::write(&file, rig.policy(&to(b.addr))).unwrap();
    answers(&rig, "b");

    fs::write(dir.join("draft"), rig.policy(&to(c.addr))).unwrap();
    fs::rename(dir.join("draft"), &file).unwrap();
    answers(&rig, "c");

    for (version, policy) in [("..1", rig.policy(&to(c.addr))), ("..2", rig.policy(&to(d.addr)))] {
        fs::create_dir(dir.join(version)).unwrap();
        fs::write(dir.join(version).join("policy.yaml"), policy).unwrap();
    }
    symlink("..1", dir.join("..data")).unwrap();
    symlink("..data/policy.yaml", dir.join("link")).unwrap();
    fs::rename(dir.join("link"), &file).unwrap();
    assert_eq!(who(&rig), "c");
    symlink("..2", dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    answers(&rig, "d");

    let generation = rig.metric("config_generation", &[]);
    let told = || rig.complaints().matches("the policy says what runs already").count();
    let before = told();
    rig.signal(Signal::HUP);
    eventually("an answer to the signal", || (told() > before).then_some(()));
    assert_eq!((who(&rig).as_str(), rig.metric("config_generation", &[])), ("d", generation));
}

/// Each generation sends all traffic to another origin, while callers go on calling on the connections that they have.
#[test]
fn cf_3_reloads_under_load_fail_nobody() {
    const RELOADS: usize = 50;
    let [a, b] = ["a", "b"].map(named);
    let sidecar = "accessLog: {successSample: 100%, maxBytesPerSecond: 64MiB}".to_owned();
    let rig = Rig::with(&Wishes { sidecar, ..Wishes::default() }, &[upstream("a", &[a.addr], "hosts: [up]")]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| call_until(&rig, &done))).collect();
        let end = SetOnDrop(&done);
        for nth in 0..RELOADS {
            let (name, origin) = if nth % 2 == 0 { ("b", &b) } else { ("a", &a) };
            rig.reload(&[upstream(name, &[origin.addr], "hosts: [up]")]);
        }
        drop(end);
        let calls: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert!(calls > 2 * RELOADS, "{calls} calls are no load");
        for line in rig.logged(calls) {
            let odd = line["generation"].as_u64().unwrap() % 2 == 1;
            assert_eq!(line["upstream"], if odd { "a" } else { "b" }, "one generation a request: {line}");
        }
    });
    assert_eq!(rig.metric("config_generation", &[]), RELOADS as u64 + 1);
}

/// Ends the load even where an assertion ends the reloads.
struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Calls every few milliseconds on one connection; how often.
fn call_until(rig: &Rig, done: &AtomicBool) -> usize {
    let (mut caller, mut calls) = (rig.caller(), 0);
    while !done.load(Ordering::Acquire) {
        let said = caller.send(&get("up")).expect("no connection is dropped");
        assert!(said.status() == 200 && !said.closes(), "{} {}", said.start(), said.reason());
        calls += 1;
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(caller.connections, 1);
    calls
}

#[test]
fn cf_7_a_policy_that_has_gone_serves_on() {
    let origin = named("a");
    let rig = Rig::start(&to(origin.addr));
    let dir = rig.policy_file().parent().unwrap().to_owned();
    let away = dir.with_extension("away");
    fs::rename(&dir, &away).unwrap();
    rig.signal(Signal::HUP);
    rig.counts("config_in_sync", &[], 0);
    assert_eq!(who(&rig), "a");
    fs::rename(&away, &dir).unwrap();
    rig.signal(Signal::HUP);
    rig.counts("config_in_sync", &[], 1);
}

/// What a reload leaves alone keeps its connections, budget and load.
#[test]
fn cf_3_an_unchanged_upstream_keeps_its_connections() {
    let [a, b] = ["a", "b"].map(named);
    let rig = Rig::start(&to(a.addr));
    assert_eq!(who(&rig), "a");
    rig.reload(&[upstream("up", &[a.addr], ""), upstream("other", &[b.addr], "")]);
    assert_eq!(who(&rig), "a");
    assert_eq!(a.connections(), 1);
}

/// A port that cannot be had refuses the whole generation.
#[test]
fn cf_3_a_generation_that_cannot_listen_does_not_run() {
    let [a, b] = ["a", "b"].map(named);
    let rig = Rig::start(&to(a.addr));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text =
        rig.policy(&to(b.addr)).replace(&rig.outbound.to_string(), &taken.local_addr().unwrap().to_string());
    fs::write(rig.policy_file(), text).unwrap();
    rig.counts("config_in_sync", &[], 0);
    assert_eq!(who(&rig), "a");
}

/// Who is connected to a port that a reload takes away is served to the end, by the policy that had the port.
#[test]
fn u_9_a_listener_that_goes_takes_no_request_with_it() {
    let app = named("app");
    let wishes = Wishes { app: Some(app.addr), ..Wishes::default() };
    let rig = Rig::with(&wishes, &to(app.addr));
    let mut caller = Caller::of(rig.inbound);
    let call = |caller: &mut Caller| caller.send(&get("app")).unwrap();
    assert_eq!(call(&mut caller).field("x-name"), Some("app"));
    let policy = fs::read_to_string(rig.policy_file()).unwrap();
    let without: Vec<_> = policy.lines().filter(|line| !line.starts_with("inbound:")).collect();
    assert_ne!(without.len(), policy.lines().count(), "the policy has an inbound line");
    fs::write(rig.policy_file(), without.join("\n")).unwrap();
    rig.counts("config_generation", &[], 2);
    let last = call(&mut caller);
    assert_eq!((last.field("x-name"), last.field("connection")), (Some("app"), Some("close")));
    eventually("the port to be closed", || TcpStream::connect(rig.inbound).is_err().then_some(()));
}

/// Such a connection was not meant for anyone else, so it ends by the policy that let it in.
#[test]
fn cf_9_u_9_a_port_that_is_captured_from_now_on_takes_no_request_with_it() {
    let app = named("app");
    let rig = Rig::with(&Wishes { app: Some(app.addr), ..Wishes::default() }, &to(app.addr));
    let policy = fs::read_to_string(rig.policy_file()).unwrap();
    let written = policy.lines().find(|line| line.starts_with("inbound:")).unwrap();
    let [here, capture] = [(); 2].map(|()| free_addr());
    let becomes = |entry: String, generation| {
        fs::write(rig.policy_file(), policy.replace(written, &entry)).unwrap();
        rig.counts("config_generation", &[], generation);
    };
    becomes(format!("inbound: [{{port: {}, forwardTo: {}}}]", here.port(), app.addr), 2);
    let mut caller = Caller::of(here);
    assert_eq!(caller.send(&get("app")).unwrap().field("x-name"), Some("app"));
    let port = capture.port();
    let captured = format!("inbound: [{{port: {}, capture: redirect, forwardTo: original}}]", here.port());
    becomes(format!("{captured}\ninboundCapture: {{port: {port}}}"), 3);
    let last = caller.send(&get("app")).unwrap();
    assert_eq!((last.field("x-name"), last.field("connection")), (Some("app"), Some("close")));
}
