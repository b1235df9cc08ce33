//! Whose fault is a deadline? The endpoint's if it had a fair chance, by the one clock of a scenario.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::draft::{Draft, answer, get, post};
use crate::support::inside::run;
use crate::support::inside::service::{Caller, answering, connect, message, scripted};
use crate::support::inside::sidecar::Sidecar;
use crate::support::rig::upstream;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// Opens after five failures in a row, for longer than any test.
const FIVE: &str = "retry: {attempts: 0}\ncircuitBreaker: {consecutive: 5, backoff: {base: 30s, max: 30s}}";

/// A sidecar that calls `up` there.
fn before(up: SocketAddr, settings: &str) -> Sidecar {
    Sidecar::beside(up, &[upstream("up", &[up], &format!("{FIVE}\n{settings}"))])
}

fn is_open(sidecar: &Sidecar) -> bool {
    sidecar.metric("breaker_state", &[("upstream", "up"), ("endpoint", "-")]) == 2
}

/// A request of a caller that waits for so long.
fn within(millis: u64) -> Draft {
    get("up").with("x-deadline", millis)
}

/// A service that takes as long as the cell says.
fn taking(time: &Rc<Cell<Duration>>) -> SocketAddr {
    let time = Rc::clone(time);
    answering(move |_| {
        let time = time.get();
        async move {
            sleep(time).await;
            answer(200)
        }
    })
}

#[test]
fn ec_1_a_deadline_that_our_own_queue_used_up_is_nobodys_fault() {
    run(Duration::ZERO, async {
        let up = taking(&Rc::new(Cell::new(MS(200))));
        let settings = "timeouts: {request: 500ms}\nlimits: {maxConnections: 1}";
        let sidecar = before(up, settings);
        let mut callers = JoinSet::new();
        for _ in 0..12 {
            let mut caller = Caller::of(sidecar.outbound);
            callers.spawn_local(async move { caller.send(&get("up")).await.unwrap().status() });
        }
        let said = callers.join_all().await;
        assert_eq!(said.iter().filter(|status| **status == 200).count(), 2, "{said:?}");
        assert!(said.iter().all(|status| [200, 504].contains(status)), "{said:?}");
        assert!(!is_open(&sidecar), "the endpoint has answered whatever it was asked");
        assert_eq!(sidecar.metric("endpoint_ejections_total", &[]), 0);
    });
}

#[test]
fn ec_1_a_hasty_caller_opens_no_breaker() {
    run(Duration::ZERO, async {
        let sidecar = before(taking(&Rc::new(Cell::new(MS(20)))), "");
        let mut caller = Caller::of(sidecar.outbound);
        assert_eq!(caller.send(&get("up")).await.unwrap().status(), 200);
        for _ in 0..50 {
            assert_eq!(Caller::of(sidecar.outbound).send(&within(2)).await.unwrap().status(), 504);
        }
        assert!(!is_open(&sidecar));
        assert_eq!(sidecar.metric("attempts_total", &[("outcome", "deadline")]), 50, "as it is called still");
        assert_eq!(caller.send(&get("up")).await.unwrap().status(), 200);
    });
}

/// The next hop is told the deadline too, and says so a little earlier.
#[test]
fn ec_1_a_hasty_caller_opens_no_breaker_two_hops_away() {
    run(Duration::ZERO, async {
        let application = taking(&Rc::new(Cell::new(MS(20))));
        let next = Sidecar::beside(application, &[]);
        let first = before(next.inbound, "");
        assert_eq!(Caller::of(first.outbound).send(&get("up")).await.unwrap().status(), 200);
        for _ in 0..50 {
            assert_eq!(Caller::of(first.outbound).send(&within(5)).await.unwrap().status(), 504);
        }
        assert!(!is_open(&first));
        for sidecar in [&first, &next] {
            assert_eq!(sidecar.metric("endpoint_ejections_total", &[]), 0);
        }
    });
}

#[test]
fn ec_1_who_hangs_is_found_by_the_patient_at_once() {
    run(Duration::ZERO, async {
        let time = Rc::new(Cell::new(MS(20)));
        let sidecar = before(taking(&time), "");
        assert_eq!(Caller::of(sidecar.outbound).send(&get("up")).await.unwrap().status(), 200);
        time.set(Duration::from_hours(1));
        for _ in 0..5 {
            assert!(!is_open(&sidecar));
            assert_eq!(Caller::of(sidecar.outbound).send(&within(100)).await.unwrap().status(), 504);
        }
        assert!(is_open(&sidecar));
    });
}

#[test]
fn ec_1_who_hangs_is_found_even_by_the_hasty() {
    run(Duration::ZERO, async {
        let time = Rc::new(Cell::new(MS(20)));
        let sidecar = before(taking(&time), "");
        assert_eq!(Caller::of(sidecar.outbound).send(&get("up")).await.unwrap().status(), 200);
        time.set(Duration::from_hours(1));
        let start = Instant::now();
        while !is_open(&sidecar) {
            Caller::of(sidecar.outbound).send(&within(2)).await.unwrap();
            sleep(MS(100)).await;
        }
        let took = start.elapsed();
        assert!((MS(5000)..MS(6000)).contains(&took), "{took:?}");
    });
}

/// Answers each request with a head that promises more than comes.
fn hanging() -> SocketAddr {
    scripted(|mut stream| async move {
        message(&mut stream, &mut Vec::new()).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await?;
        sleep(Duration::from_hours(1)).await;
        std::io::Result::Ok(())
    })
}

#[test]
fn ec_1_who_hangs_in_the_middle_of_its_answer_has_failed() {
    for timeouts in ["{request: 300ms}", "{idle: 300ms}", "{backendRequest: 300ms}"] {
        run(Duration::ZERO, async {
            let sidecar = before(hanging(), &format!("timeouts: {timeouts}"));
            for _ in 0..5 {
                assert!(!is_open(&sidecar), "{timeouts}");
                let broken = Caller::of(sidecar.outbound).send(&get("up")).await;
                assert!(broken.is_err(), "{timeouts}: {broken:?}");
            }
            assert!(is_open(&sidecar), "{timeouts}");
        });
    }
}

#[test]
fn ec_1_a_caller_that_reads_nothing_fails_nobody() {
    for timeouts in ["{request: 300ms}", "{idle: 300ms}", "{backendRequest: 300ms}"] {
        run(MS(1), async {
            let up = scripted(|mut stream| async move {
                message(&mut stream, &mut Vec::new()).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 64000000\r\n\r\n").await?;
                stream.write_all(&vec![7; 64_000_000]).await
            });
            let sidecar = before(up, &format!("timeouts: {timeouts}"));
            for nth in 1..=5 {
                let mut stream = connect(sidecar.outbound).await.unwrap();
                stream.write_all(&get("up").octets()).await.unwrap();
                while sidecar.metric("attempts_total", &[("upstream", "up")]) < nth {
                    sleep(MS(100)).await;
                }
            }
            assert!(!is_open(&sidecar), "{timeouts}");
            assert_eq!(sidecar.metric("attempts_total", &[("outcome", "success")]), 5, "{timeouts}");
        });
    }
}

/// Two endpoints answer in 10 ms; one of them gets content that takes three seconds to come.
#[test]
fn lb_3_a_slow_upload_makes_no_endpoint_slow() {
    run(Duration::ZERO, async {
        let both = ["one", "two"].map(|me| {
            answering(move |_| async move {
                sleep(MS(10)).await;
                answer(200).with("x-me", me)
            })
        });
        let up = upstream("up", &both, "loadBalancer: {policy: peak-ewma}");
        let sidecar = Sidecar::beside(both[0], &[up]);
        let mut stream = connect(sidecar.outbound).await.unwrap();
        let octets = post("up", "0123456789").octets();
        let (most, last) = octets.split_at(octets.len() - 1);
        stream.write_all(most).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        stream.write_all(last).await.unwrap();
        let took = message(&mut stream, &mut Vec::new()).await.unwrap();
        let mut met = HashMap::<String, usize>::new();
        let mut caller = Caller::of(sidecar.outbound);
        for _ in 0..40 {
            let said = caller.send(&get("up")).await.unwrap();
            *met.entry(said.field("x-me").unwrap().to_owned()).or_default() += 1;
            sleep(MS(200)).await;
        }
        let again = met.get(took.field("x-me").unwrap()).copied().unwrap_or_default();
        assert!(again >= 5, "it is asked like the other one: {met:?}");
    });
}
