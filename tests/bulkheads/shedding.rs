//! Who goes first when there is more to do than can be done? Classes, places in flight, limits that adapt themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::rates::{before, policy};
use super::{Gate, Latch, begin};
use crate::support::caller::Caller;
use crate::support::draft::{answer, ask, get, post};
use crate::support::inside::run;
use crate::support::inside::service::{answering, connect, message};
use crate::support::inside::sidecar::Sidecar;
use crate::support::origin::{Origin, Reply};
use crate::support::rig::{Rig, Wishes, eventually, upstream};
use crate::support::server::Server;

const CLASSES: &str = "priorities:\n\
    - {match: {path: {type: PathPrefix, value: /pay}}, class: critical}\n\
    - {match: {path: {type: PathPrefix, value: /report}}, class: sheddable}\n";

#[test]
fn bh_4_the_critical_have_places_that_nobody_else_takes() {
    let gate = Gate::closed();
    let concurrency = "concurrency: {max: 4, maxPending: 0, shares: {default: 75%, sheddable: 25%}}";
    let rig = before(gate.origin.addr, &[policy(&format!("{concurrency}\n{CLASSES}"))]);
    let inside = |count| rig.counts("rate_limit_in_flight", &[("policy", "gate")], count);
    let refused = |path| {
        let answer = begin(rig.inbound, &ask("GET", path, "app")).message();
        assert_eq!((answer.status(), answer.reason()), (503, "overload"));
        assert!(answer.field("x-outrigger-reason").unwrap().ends_with("policy=gate"));
    };
    let mut served = vec![begin(rig.inbound, &ask("GET", "/report", "app"))];
    inside(1);
    refused("/report");
    served.extend([
        begin(rig.inbound, &ask("GET", "/look", "app")),
        begin(rig.inbound, &ask("GET", "/look", "app")),
    ]);
    inside(3);
    refused("/look");
    served.push(begin(rig.inbound, &ask("GET", "/pay", "app")));
    inside(4);
    refused("/pay");
    gate.open();
    for peer in &mut served {
        assert_eq!(peer.message().status(), 200);
    }
    inside(0);
}

#[test]
fn rl_2_the_worthiest_is_served_first_and_displaces_the_least() {
    let gate = Gate::closed();
    let concurrency = "concurrency: {max: 1, maxPending: 2, queueTimeout: 10s}";
    let rig = before(gate.origin.addr, &[policy(&format!("{concurrency}\n{CLASSES}"))]);
    let waiting = |count| rig.counts("rate_limit_waiting", &[("policy", "gate")], count);
    let mut first = begin(rig.inbound, &ask("GET", "/look", "app"));
    rig.counts("rate_limit_in_flight", &[("policy", "gate")], 1);
    let mut shed = begin(rig.inbound, &ask("GET", "/report", "app"));
    waiting(1);
    let mut default = begin(rig.inbound, &ask("GET", "/look/1", "app"));
    waiting(2);
    let mut critical = begin(rig.inbound, &ask("GET", "/pay", "app"));
    assert_eq!(shed.message().reason(), "overload");
    waiting(2);
    gate.open();
    for peer in [&mut first, &mut critical, &mut default] {
        assert_eq!(peer.message().status(), 200);
    }
    let order: Vec<_> = gate.origin.seen().iter().map(|seen| seen.message.target().to_owned()).collect();
    assert_eq!(order, ["/look", "/pay", "/look/1"]);
}

#[test]
fn rl_2_overloaded_twice_the_critical_lose_nothing() {
    let gate = Gate::closed();
    gate.open();
    let concurrency = "concurrency: {max: 4, maxPending: 4, queueTimeout: 10s}";
    let rig = before(gate.origin.addr, &[policy(&format!("{concurrency}\n{CLASSES}"))]);
    let work = |path| {
        let mut caller = Caller::of(rig.inbound);
        let answers = (0..50).map(|_| caller.send(&ask("GET", path, "app")).unwrap().status());
        answers.filter(|status| *status == 503).count()
    };
    let lost = |path, callers| {
        thread::scope(|scope| {
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(|| work(path))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum::<usize>()
        })
    };
    thread::scope(|scope| {
        let critical = scope.spawn(|| lost("/pay", 4));
        // With these there are twice as many as can be served and wait.
        assert!(lost("/report", 12) > 0);
        assert_eq!(critical.join().unwrap(), 0);
    });
    assert_eq!(gate.most(), 4);
}

#[test]
fn rl_2_an_upstreams_places_go_to_the_worthiest_too() {
    let gate = Gate::closed();
    let rig = Rig::start(&[
        policy(&format!("direction: outbound\nconcurrency: {{max: 1000}}\n{CLASSES}")),
        upstream("up", &[gate.origin.addr], "limits: {maxRequests: 1, queueTimeout: 10s}"),
    ]);
    let waiting = |count| rig.counts("limit_waiting", &[("upstream", "up"), ("limit", "requests")], count);
    let mut calls = Vec::new();
    for (nth, path) in ["/look", "/report", "/pay"].into_iter().enumerate() {
        calls.push(begin(rig.outbound, &ask("GET", path, "up")));
        rig.counts("limit_in_flight", &[("upstream", "up"), ("limit", "requests")], 1);
        waiting(u64::try_from(nth).unwrap());
    }
    gate.open();
    for peer in &mut calls {
        assert_eq!(peer.message().status(), 200);
    }
    let order: Vec<_> = gate.origin.seen().iter().map(|seen| seen.message.target().to_owned()).collect();
    assert_eq!(order, ["/look", "/pay", "/report"]);
}

#[test]
fn rl_2_the_worthiest_have_the_next_stream_of_a_shared_connection() {
    let latch = Arc::<Latch>::default();
    let gate = Arc::clone(&latch);
    // One request at a time.
    let server = Server::treating_with(&[(3, 1)], move |link, stream, _| {
        gate.wait();
        link.answer(stream, &[(":status", "200")], b"");
    });
    let limits = "protocol: http2\nlimits: {maxConnections: 1, queueTimeout: 10s}";
    let documents = [
        policy(&format!("direction: outbound\nconcurrency: {{max: 1000}}\n{CLASSES}")),
        upstream("up", &[server.addr], limits),
    ];
    let rig = Rig::with(&Wishes { workers: Some(1), ..Wishes::default() }, &documents);
    let mut calls = Vec::new();
    for (nth, path) in ["/look", "/report", "/look/1", "/pay"].into_iter().enumerate() {
        calls.push(begin(rig.outbound, &ask("GET", path, "up")));
        let labels = [("upstream", "up"), ("limit", "connections")];
        rig.counts("limit_in_flight", &labels, 1);
        rig.counts("limit_waiting", &labels, u64::try_from(nth).unwrap());
    }
    latch.open();
    for peer in &mut calls {
        assert_eq!(peer.message().status(), 200);
    }
    let order: Vec<_> = server.seen().iter().map(|seen| seen.head.get(":path").unwrap().to_owned()).collect();
    assert_eq!(order, ["/look", "/pay", "/look/1", "/report"]);
}

#[test]
fn bp_4_a_callers_slow_upload_is_no_slowness_of_the_upstreams() {
    run(Duration::ZERO, async {
        let origin = answering(|_| async {
            sleep(Duration::from_millis(10)).await;
            answer(200)
        });
        let limits = "limits: {adaptive: {min: 1, max: 100}, queueTimeout: 10s}";
        let sidecar = Sidecar::beside(origin, &[upstream("up", &[origin], limits)]);
        let storm = async |pause: Duration| {
            let callers = (0..8).map(|_| {
                let to = sidecar.outbound;
                spawn_local(async move {
                    for _ in 0..20 {
                        let request = post("up", "all").octets();
                        let (before, last) = request.split_at(request.len() - 1);
                        let mut stream = connect(to).await.unwrap();
                        stream.write_all(before).await.unwrap();
                        sleep(pause).await;
                        stream.write_all(last).await.unwrap();
                        assert_eq!(message(&mut stream, &mut Vec::new()).await.unwrap().status(), 200);
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.unwrap();
            }
            sidecar.metric("limit_now", &[("upstream", "up"), ("limit", "requests")])
        };
        let fast = storm(Duration::ZERO).await;
        let slow = storm(Duration::from_secs(1)).await;
        assert!(slow >= fast, "{fast}, then {slow}");
    });
}

#[test]
fn rl_8_what_a_dry_run_calls_sheddable_is_served_like_all_else() {
    let gate = Gate::closed();
    let rig = Rig::start(&[
        policy(&format!(
            "mode: dryRun\ndirection: outbound\nconcurrency: {{max: 2, shares: {{sheddable: 50%}}}}\n{CLASSES}"
        )),
        upstream(
            "up",
            &[gate.origin.addr],
            "limits: {maxRequests: 2, shares: {sheddable: 50%}, queueTimeout: 10s}",
        ),
    ]);
    let mut calls = [(); 2].map(|()| begin(rig.outbound, &ask("GET", "/report", "up")));
    rig.counts("limit_in_flight", &[("upstream", "up"), ("limit", "requests")], 2);
    let denied = [("policy", "gate"), ("mode", "dry_run"), ("decision", "denied-overload")];
    rig.counts("rate_limit_decisions_total", &denied, 1);
    gate.open();
    for peer in &mut calls {
        assert_eq!(peer.message().status(), 200);
    }
}

#[test]
fn bp_4_a_limit_finds_out_what_the_upstream_bears() {
    let well = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&well);
    let origin = Origin::start(move |_, _| {
        Reply::Answer(answer(if state.load(Ordering::SeqCst) { 200 } else { 503 }))
    });
    let limits = "limits: {adaptive: {min: 1, max: 100}}\nretry: {attempts: 0}";
    let rig = Rig::start(&[upstream("up", &[origin.addr], limits)]);
    let now = || rig.metric("limit_now", &[("upstream", "up"), ("limit", "requests")]);
    let work = || rig.storm(4, 20, |caller, _| drop(caller.send(&get("up")).unwrap()));
    let first = now();
    eventually("a limit beyond the first probe", || {
        work();
        (now() > first).then_some(())
    });
    well.store(false, Ordering::SeqCst);
    eventually("a limit that yields to refusals", || {
        work();
        (now() < first).then_some(())
    });
}
