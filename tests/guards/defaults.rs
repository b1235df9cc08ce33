//! What is anybody protected by who wrote nothing but addresses (CF-8)?

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use outrigger_config::defaults;
use tokio::time::{Instant, sleep};

use crate::support::draft::{answer, get};
use crate::support::free_addr;
use crate::support::inside::run;
use crate::support::inside::service::{Caller, answering, scripted};
use crate::support::inside::sidecar::Sidecar;
use crate::support::rig::upstream;

/// A service that answers each request so, and how many it had.
fn saying(status: u16) -> (std::net::SocketAddr, Rc<Cell<u32>>) {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let addr = answering(move |_| {
        counted.update(|count| count + 1);
        async move { answer(status) }
    });
    (addr, count)
}

/// In either direction nobody waits for ever: not for a head, not for content that has stopped.
#[test]
fn cf_8_nobody_waits_for_ever() {
    run(Duration::ZERO, async {
        let silent = scripted(|stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        });
        let sidecar = Sidecar::beside(silent, &[upstream("up", &[silent], "")]);
        for door in [sidecar.outbound, sidecar.inbound] {
            let start = Instant::now();
            assert_eq!(Caller::of(door).send(&get("up")).await.unwrap().status(), 504);
            assert_eq!(start.elapsed(), defaults::REQUEST);
        }
        let stalling = scripted(|mut stream| async move {
            let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
            tokio::io::AsyncWriteExt::write_all(&mut stream, half).await.unwrap();
            std::future::pending::<()>().await;
        });
        let sidecar = Sidecar::beside(stalling, &[upstream("up", &[stalling], "")]);
        let start = Instant::now();
        assert!(Caller::of(sidecar.outbound).send(&get("up")).await.is_err(), "it breaks off");
        assert_eq!(start.elapsed(), defaults::IDLE);
    });
}

/// Who refuses is passed over, as long as the budget pays for it; what was sent is not sent again.
#[test]
fn cf_8_retries_are_safe_and_bounded() {
    run(Duration::ZERO, async {
        let (busy, asked) = saying(503);
        let nobody = [free_addr(), free_addr()];
        let sidecar =
            Sidecar::beside(busy, &[upstream("busy", &[busy], ""), upstream("nobody", &nobody, "")]);
        let (mut caller, start) = (Caller::of(sidecar.outbound), Instant::now());
        for _ in 0..200 {
            assert_eq!(caller.send(&get("busy")).await.unwrap().status(), 503);
            assert_eq!(caller.send(&get("nobody")).await.unwrap().status(), 502);
        }
        assert_eq!(asked.get(), 200);
        let retries = sidecar.metric("retries_total", &[("upstream", "nobody")]) as f64;
        let earned = 200.0 * defaults::BUDGET_PERCENT + 3.0;
        let bound = start.elapsed().as_secs_f64().mul_add(defaults::BUDGET_MIN_RATE, earned);
        assert!(retries > 0.0 && retries <= bound, "{retries} retries, {bound} were earned");
        assert_eq!(sidecar.metric("retries_total", &[("upstream", "busy")]), 0);
    });
}

/// One of three fails, and is left alone after seven times; all three fail, and one is left alone.
#[test]
fn cf_8_health_is_passive_and_leaves_somebody() {
    run(Duration::ZERO, async {
        let turns = "loadBalancer: {policy: round-robin}";
        let [(bad, failed), (one, _), (two, _)] = [503, 200, 200].map(saying);
        let all = [503; 3].map(|status| saying(status).0);
        let sidecar =
            Sidecar::beside(bad, &[upstream("up", &[bad, one, two], turns), upstream("all", &all, turns)]);
        let mut caller = Caller::of(sidecar.outbound);
        for _ in 0..60 {
            caller.send(&get("up")).await.unwrap();
            caller.send(&get("all")).await.unwrap();
        }
        assert_eq!(failed.get(), defaults::CONSECUTIVE_FAILURES.get());
        for (name, ejected) in [("up", 1), ("all", 1)] {
            assert_eq!(sidecar.metric("endpoint_ejections_total", &[("upstream", name)]), ejected);
            assert_eq!(sidecar.metric("endpoint_healthy", &[("upstream", name)]), 3 - ejected);
        }
        sleep(defaults::BASE_EJECTION_TIME * 3).await;
        assert_eq!(sidecar.metric("endpoint_healthy", &[("upstream", "up")]), 3, "it returns by itself");
    });
}

/// Every part of it is counted without anybody asking for it.
#[test]
fn cf_8_all_of_it_is_counted() {
    run(Duration::ZERO, async {
        let (well, _) = saying(200);
        let sidecar = Sidecar::beside(well, &[upstream("up", &[free_addr(), well], "")]);
        let mut caller = Caller::of(sidecar.outbound);
        for _ in 0..10 {
            assert_eq!(caller.send(&get("up")).await.unwrap().status(), 200);
        }
        assert_eq!(Caller::of(sidecar.inbound).send(&get("us")).await.unwrap().status(), 200);
        sleep(Duration::from_millis(1)).await;
        let attempts = sidecar.metric("attempts_total", &[("upstream", "up")]);
        let retries = sidecar.metric("retries_total", &[("upstream", "up"), ("cause", "connect-refused")]);
        assert_eq!((attempts, retries > 0), (10 + retries, true));
        for direction in ["inbound", "outbound"] {
            let labels = [("direction", direction), ("code", "200")];
            let count = if direction == "inbound" { 1 } else { 10 };
            assert_eq!(sidecar.metric("requests_total", &labels), count);
            assert_eq!(sidecar.metric("request_duration_seconds_count", &labels[..1]), count);
        }
    });
}
