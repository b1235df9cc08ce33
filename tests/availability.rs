//! How available is what stands on six others, each of them well 99.9 % of the time? 0.999⁶ = 99.4 %, if nobody does
//! anything about it; at least 99.99 % if sidecars do what they do without being told.
//!
//! Six services in a row, two replicas each, and a sidecar beside everyone who calls, all by one clock. Whether a replica
//! is well is drawn anew for each call and each replica, 999 times of 1000. Which failures are meant decides what is
//! proved, so there are two:
//!
//! - **Gone**: the process is not there. Its port refuses, its connections are closed. Against that, an empty policy is
//!   enough: who refuses was sent nothing, so the other replica is asked.
//! - **Failing**: it answers 503, or resets the connection instead of an answer. It has been sent the request, so an empty
//!   policy does nothing about it (but to repair a kept connection once, mostly at the replica that resets that too). A
//!   rule says that the other replica may be asked; it is the README's.
//!
//! All calls are drawn, and all are made at which a replica is not well. Of the others, at which nothing can happen, one
//! in five hundred is made, to see that nothing does: so 100,000 calls take a few seconds.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet, spawn_local, yield_now};
use tokio::time::sleep;

use crate::support::draft::{Draft, answer, get};
use crate::support::free_addr;
use crate::support::inside::run;
use crate::support::inside::service::{Caller, message};
use crate::support::inside::sidecar::Sidecar;
use crate::support::rig::upstream;

const HOPS: usize = 6;
const CALLS: u32 = 100_000;
/// How often a replica is not well.
const UNWELL: f64 = 0.001;
/// Of calls at which everyone is well, one in so many is made.
const ONE_IN: u32 = 500;
/// Nothing is done about anything.
const NOTHING: &str = "retry: {attempts: 0}\noutlierDetection: {mode: off}";
/// The README's rule.
const RULE: &str =
    "retry: {on: [connect-failure, reset, gateway-error], attempts: 2, backoff: {base: 25ms, max: 250ms}}";

/// How a replica is not well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Gone,
    Failing,
}

/// How it treats the next request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Fails,
    Resets,
}

/// One of the two processes of a service.
struct Replica {
    addr: SocketAddr,
    mood: Rc<Cell<Mood>>,
    /// Calls the next service, by way of the sidecar; `None`: there is none.
    next: Option<Rc<RefCell<Caller>>>,
    process: Option<JoinHandle<()>>,
}

impl Replica {
    fn start(next: Option<SocketAddr>) -> Self {
        let next = next.map(|next| Rc::new(RefCell::new(Caller::of(next))));
        let mut replica =
            Self { addr: own_addr(), mood: Rc::new(Cell::new(Mood::Well)), next, process: None };
        replica.come();
        replica
    }

    fn come(&mut self) {
        let listener = std::net::TcpListener::bind(self.addr).expect("the port was free");
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        self.process = Some(spawn_local(serve(listener, Rc::clone(&self.mood), self.next.clone())));
    }

    /// Its port and its connections are closed when this returns.
    async fn go(&mut self) {
        if let Some(process) = self.process.take() {
            process.abort();
            // Each of its connections holds on to its mood.
            while Rc::strong_count(&self.mood) > 1 {
                yield_now().await;
            }
        }
    }
}

/// An address that nobody else takes while its replica is gone: other tests, of other processes too, are at 127.0.0.1.
fn own_addr() -> SocketAddr {
    let [.., third, fourth] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 61, third, fourth], free_addr().port()))
}

/// Takes connections, and lasts as long as they are taken.
async fn serve(listener: TcpListener, mood: Rc<Cell<Mood>>, next: Option<Rc<RefCell<Caller>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn_local(converse(stream, Rc::clone(&mood), next.clone()));
    }
}

async fn converse(mut stream: TcpStream, mood: Rc<Cell<Mood>>, next: Option<Rc<RefCell<Caller>>>) {
    stream.set_nodelay(true).unwrap();
    let mut ahead = Vec::new();
    while message(&mut stream, &mut ahead).await.is_ok() {
        let said = match mood.get() {
            Mood::Well => ask(next.as_deref()).await,
            Mood::Fails => answer(503),
            Mood::Resets => {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
        };
        if stream.write_all(&said.octets()).await.is_err() {
            return;
        }
    }
}

/// A service can do its part if the next one does.
#[expect(clippy::await_holding_refcell_ref, reason = "there is one call at a time")]
async fn ask(next: Option<&RefCell<Caller>>) -> Draft {
    let Some(next) = next else { return answer(200) };
    let heard = next.borrow_mut().send(&get("next")).await;
    answer(heard.map_or(502, |heard| heard.status()))
}

/// How many of all calls fail.
fn failures(policy: &str, trouble: Trouble) -> u32 {
    run(Duration::ZERO, async {
        let (mut replicas, mut sidecars, mut next) = (Vec::new(), Vec::new(), None);
        for _ in 0..HOPS {
            let two = [(); 2].map(|()| Replica::start(next));
            let both = upstream("next", &two.each_ref().map(|replica| replica.addr), policy);
            let sidecar = Sidecar::beside(free_addr(), &[both]);
            next = Some(sidecar.outbound);
            replicas.extend(two);
            sidecars.push(sidecar);
        }
        let mut caller = Caller::of(next.expect("there are hops"));
        let mut rng = fastrand::Rng::with_seed(61);
        let mut failed = 0;
        for call in 0..CALLS {
            let unwell: Vec<_> = (0..replicas.len()).filter(|_| rng.f64() < UNWELL).collect();
            if unwell.is_empty() && call % ONE_IN != 0 {
                continue;
            }
            for nth in &unwell {
                match trouble {
                    Trouble::Gone => replicas[*nth].go().await,
                    Trouble::Failing => {
                        replicas[*nth].mood.set(if rng.bool() { Mood::Fails } else { Mood::Resets });
                    }
                }
            }
            let status = caller.send(&get("next")).await.map_or(0, |said| said.status());
            assert!(status == 200 || !unwell.is_empty(), "{status} although all were well");
            failed += u32::from(status != 200);
            for nth in unwell {
                match trouble {
                    Trouble::Gone => replicas[nth].come(),
                    Trouble::Failing => replicas[nth].mood.set(Mood::Well),
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
        failed
    })
}

/// In percent.
fn availability(failed: u32) -> f64 {
    100.0 * (1.0 - f64::from(failed) / f64::from(CALLS))
}

/// What is drawn is the same each time, who is picked is not: 594 failures are expected, give or take 17 by the picks.
#[track_caller]
fn is_a_product(failed: u32) {
    let found = availability(failed);
    assert!((99.3..=99.5).contains(&found), "{found} % where 0.999⁶ = 99.4 %");
}

/// About 0.6 failures are expected, where both replicas are unwell at once; 10 are allowed.
#[track_caller]
fn is_four_nines(failed: u32) {
    let found = availability(failed);
    assert!(found >= 99.99, "{found} %");
}

#[test]
fn table_6_1_six_hops_of_three_nines_are_four_nines_by_default_where_replicas_go() {
    is_a_product(failures(NOTHING, Trouble::Gone));
    is_four_nines(failures("", Trouble::Gone));
}

#[test]
fn table_6_1_six_hops_of_three_nines_are_four_nines_by_one_rule_where_replicas_fail() {
    is_a_product(failures("", Trouble::Failing));
    is_four_nines(failures(RULE, Trouble::Failing));
}
