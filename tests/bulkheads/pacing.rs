//! Does a sidecar call no faster than its upstream lets it? Both ends of a closed loop, in virtual time.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use super::rates::policy;
use crate::support::draft::{Draft, answer, ask, get};
use crate::support::inside::run;
use crate::support::inside::service::{Caller, answering};
use crate::support::inside::sidecar::Sidecar;
use crate::support::rig::upstream;

const SECOND: Duration = Duration::from_secs(1);
/// One request a second and endpoint, as its fields say.
const SLOW: fn() -> Draft = || {
    answer(200).with("ratelimit-limit", 1).with("ratelimit-remaining", 0).with("ratelimit-policy", "1;w=1")
};

/// Calls at this rate, whatever becomes of the calls, for as long as the scenario lasts.
fn load(to: SocketAddr, rate: u32) {
    let idle = Rc::<RefCell<Vec<Caller>>>::default();
    spawn_local(async move {
        let mut due = interval(SECOND / rate);
        loop {
            due.tick().await;
            let idle = Rc::clone(&idle);
            spawn_local(async move {
                let kept = idle.borrow_mut().pop();
                let mut caller = kept.unwrap_or_else(|| Caller::of(to));
                caller.send(&get("up")).await.unwrap();
                idle.borrow_mut().push(caller);
            });
        }
    });
}

/// The sidecar of a caller, which treats its upstream by these settings.
fn calling(upstream_addr: SocketAddr, settings: &str) -> Sidecar {
    Sidecar::beside(upstream_addr, &[upstream("up", &[upstream_addr], settings)])
}

/// What the server's limit has let pass and turned away so far.
fn decided(server: &Sidecar) -> [u64; 2] {
    ["allowed", "denied-rate"]
        .map(|decision| server.metric("rate_limit_decisions_total", &[("decision", decision)]))
}

/// 100 requests a second for all of them, and a demand of twice that: passed and turned away from the sixth to the
/// fifteenth second.
async fn twice_the_limit(clients: u32, settings: &str) -> [u64; 2] {
    let app = answering(|_| async { answer(200) });
    let server = Sidecar::beside(app, &[policy("total: {rate: 100/s, burst: 20}")]);
    let callers: Vec<_> = (0..clients).map(|_| calling(server.inbound, settings)).collect();
    for caller in &callers {
        load(caller.outbound, 200 / clients);
    }
    sleep(5 * SECOND).await;
    let before = decided(&server);
    sleep(10 * SECOND).await;
    let after = decided(&server);
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn bp_2_hardly_any_429_after_five_seconds() {
    for clients in [1, 4] {
        let [passed, refused] = run(Duration::ZERO, twice_the_limit(clients, "pacing: {}"));
        assert!(refused * 100 < passed + refused, "{clients}: {refused} of {}", passed + refused);
        assert!(passed >= 950, "{clients}: {passed} of 1000");
    }
}

#[test]
fn bp_2_without_it_half_are_turned_away() {
    for settings in ["", "pacing: {mode: dryRun}"] {
        let [passed, refused] = run(Duration::ZERO, twice_the_limit(1, settings));
        assert!(passed >= 950 && refused >= 950, "{settings}: {passed} and {refused}");
    }
}

#[test]
fn bp_2_the_excess_waits_and_is_then_answered_here() {
    run(Duration::ZERO, async {
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let app = answering(move |_| {
            count.set(count.get() + 1);
            async { SLOW() }
        });
        let sidecar = calling(app, "pacing: {maxWait: 1500ms}");
        let send = || {
            let mut caller = Caller::of(sidecar.outbound);
            async move { caller.send(&get("up")).await.unwrap() }
        };
        for _ in 0..2 {
            assert_eq!(send().await.status(), 200, "the first tells the pace, and a probe passes");
        }
        let (waited, denied) = tokio::join!(send(), async {
            sleep(Duration::from_millis(1)).await;
            send().await
        });
        assert_eq!((waited.status(), denied.status(), denied.reason()), (200, 429, "paced"));
        assert_eq!(denied.field("retry-after"), Some("2"));
        assert_eq!(asked.get(), 3, "who is denied reaches nobody");
        for (decision, count) in [("passed", 2), ("waited", 1), ("denied", 1)] {
            let labels = [("upstream", "up"), ("mode", "enforce"), ("decision", decision)];
            assert_eq!(sidecar.metric("paced_total", &labels), count, "{decision}");
        }
        assert_eq!(sidecar.metric("requests_total", &[("flag", "RL"), ("code", "429")]), 1);
        assert_eq!(sidecar.metric("pace_now", &[("upstream", "up")]), 1);
        sleep(6 * SECOND).await;
        assert_eq!(send().await.status(), 200, "what was heard so long ago is forgotten");
    });
}

#[test]
fn bp_2_a_dry_run_counts_and_lets_all_pass() {
    run(Duration::ZERO, async {
        let sidecar = calling(answering(|_| async { SLOW() }), "pacing: {mode: dryRun, maxWait: 1ms}");
        for _ in 0..5 {
            assert_eq!(Caller::of(sidecar.outbound).send(&get("up")).await.unwrap().status(), 200);
        }
        let counted =
            |decision| sidecar.metric("paced_total", &[("mode", "dry_run"), ("decision", decision)]);
        assert_eq!((counted("passed"), counted("denied")), (2, 3));
    });
}

#[test]
fn bp_2_a_reload_forgets_nothing_and_a_fallback_stands_in() {
    run(Duration::ZERO, async {
        let app = answering(|_| async { SLOW() });
        let sidecar = calling(app, "pacing: {}");
        let status = || async { Caller::of(sidecar.outbound).send(&get("up")).await.unwrap().status() };
        assert_eq!([status().await, status().await, status().await], [200, 200, 429]);
        let stub = "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: stub\nhosts: [up]\nrules:\n  \
                    - {backendRefs: [{name: up}], fallback: [{on: [limit], static: {status: 203}}]}\n";
        sidecar.reload(&[upstream("up", &[app], "pacing: {maxWait: 1ms}"), stub.to_owned()]);
        assert_eq!(status().await, 203);
        sidecar.reload(&[upstream("up", &[app], "")]);
        assert_eq!(status().await, 200);
    });
}

#[test]
fn bp_2_grpc_says_it_in_its_own_words() {
    run(Duration::ZERO, async {
        let app = answering(|_| async {
            // RESOURCE_EXHAUSTED.
            answer(200).with("content-type", "application/grpc").with("grpc-status", 8)
        });
        let sidecar = calling(app, "protocol: http1\npacing: {}");
        let call = ask("POST", "/shop.Cart/Add", "up")
            .with("content-type", "application/grpc")
            .with("te", "trailers");
        Caller::of(sidecar.outbound).send(&call).await.unwrap();
        assert!(sidecar.metric("pace_now", &[("upstream", "up")]) > 0);
    });
}
