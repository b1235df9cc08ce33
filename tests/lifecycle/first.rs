//! Does the very first call of an application succeed, and the very last? (REQUIREMENTS U1, D12)

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::{REST, Scene};
use crate::support::draft::answer;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::upstream;

/// Starts and stops of one test, over so many sidecars at one time.
const CYCLES: usize = 200;
const AT_ONCE: usize = 8;

#[test]
fn d_12_u_1_u_2_an_application_that_calls_in_its_first_and_last_moment_never_fails() {
    let origin = Origin::always(200);
    let script = format!("trap 'kill $!; call || exit 9; exit 7' TERM; call || exit 8; {REST}");
    let begun = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let scene = Scene::new("5s", None, &[upstream("up", &[origin.addr], "")]);
                while begun.fetch_add(1, Ordering::Relaxed) < CYCLES {
                    let mut running = scene.start(&script);
                    assert_eq!(running.line().as_deref(), Some("up"), "{}", running.complaints());
                    running.tell(Signal::TERM);
                    assert_eq!(running.code(), 7, "{}", running.complaints());
                }
            });
        }
    });
    assert_eq!(origin.count(), 2 * CYCLES);
}

#[test]
fn u_1_it_starts_once_names_are_known() {
    let origin = Origin::always(200);
    let names = slow_names(Duration::from_millis(300));
    let port = origin.addr.port();
    let document = format!(
        "apiVersion: outrigger/v1\nkind: Upstream\nname: up\ndiscovery: {{dns: up.internal, port: {port}}}\n"
    );
    let scene = Scene::new("5s", None, &[document]);
    let mut command = scene.command(&["bash", "-c", &format!("{}call", super::CALL)]);
    let mut running = super::Running::of(command.env("OUTRIGGER_DNS", names.to_string()));
    assert_eq!(running.code(), 0, "{}", running.complaints());
    assert_eq!(origin.count(), 1);
}

#[test]
fn u_1_it_starts_once_endpoints_were_checked() {
    let good = Origin::always(200);
    let bad =
        Origin::start(|_, request| Reply::Answer(answer(if request.target() == "/" { 200 } else { 503 })));
    let check = "healthCheck: {http: /ping, interval: 2s}\nretry: {attempts: 0}";
    let scene = Scene::new("5s", None, &[upstream("up", &[good.addr, bad.addr], check)]);
    let mut running = scene.start("call && call && call && call");
    assert_eq!(running.code(), 0, "{}", running.complaints());
    let calls = |origin: &Origin| origin.seen().iter().filter(|seen| seen.message.target() == "/").count();
    assert_eq!((calls(&good), calls(&bad)), (4, 0), "no call finds out what a check would have");
}

#[test]
fn u_1_an_upstream_that_nobody_finds_does_not_keep_it_from_starting() {
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let document =
        "apiVersion: outrigger/v1\nkind: Upstream\nname: up\ndiscovery: {dns: up.internal, port: 1}\n"
            .to_owned();
    let scene = Scene::new("5s", None, &[document]);
    let mut command = scene.command(&["true"]);
    let silent = names.local_addr().unwrap().to_string();
    let mut running = super::Running::of(command.env("OUTRIGGER_DNS", silent));
    assert_eq!(running.code(), 0, "{}", running.complaints());
}

/// A name server that says 127.0.0.1 of every name, after a while (RFC 1035 §4).
fn slow_names(delay: Duration) -> SocketAddr {
    const A: &[u8] = &[0, 1];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let name = 12 + question[12..length].iter().position(|&octet| octet == 0).unwrap();
            let asked = &question[12..name + 5];
            let found = u8::from(&question[name + 1..name + 3] == A);
            let header = [question[0], question[1], 0x81, 0x80, 0, 1, 0, found, 0, 0, 0, 0];
            let mut said = [&header, asked].concat();
            if found == 1 {
                said.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            thread::sleep(delay);
            let _ = socket.send_to(&said, from);
        }
    });
    addr
}
