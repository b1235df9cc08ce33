//! What does an attack cost? A sidecar before an application, measured while somebody attacks it and somebody else asks.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::caller::Caller;
use crate::support::draft::{answer, ask};
use crate::support::eventually;
use crate::support::link::{Exchange, Link};
use crate::support::origin::{Origin, Reply, Seen};
use crate::support::peer::Message;
use crate::support::rig::{Rig, Wishes};
use crate::support::server::Server;

/// CPU time of the sidecar that an attack may take, honest callers included. The bound is that of a release build; an
/// unoptimised one, several times as slow, stays as far below it, since an attack ends before its work begins.
const CPU: Duration = Duration::from_millis(500);
/// Resident memory that may stay.
const MEMORY: u64 = 8 << 20;
/// Requests of an attacker that the application may see.
const REQUESTS: usize = 200;
/// The slowest answer that somebody else may get, and how often they ask.
const SLOWEST: Duration = Duration::from_millis(300);
const PROBES: Duration = Duration::from_millis(20);
/// What an honest caller asks for.
const PROBE: &str = "/probe";

/// Attacks are measured one after the other: they would count as each other's neighbours.
static ALONE: Mutex<()> = Mutex::new(());

/// A sidecar that is attacked, and the application behind it.
pub struct Victim {
    pub rig: Rig,
    requests: Box<dyn Fn() -> usize>,
}

/// An attack is over, even if it panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Victim {
    /// Before an application of HTTP/1 that treats requests so; `sidecar`: further keys of the `Sidecar` document.
    pub fn new(sidecar: &str, script: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let app = Origin::start(move |_, request| match request.target() {
            PROBE => Reply::Answer(answer(200)),
            _ => script(request),
        });
        let (addr, attacks) = (app.addr, |seen: &Seen| seen.message.target() != PROBE);
        Self::before(addr, "protocol: http1", sidecar, move || {
            app.seen().iter().filter(|seen| attacks(seen)).count()
        })
    }

    /// Before an application of HTTP/2 that answers at once; callers share a connection to it.
    pub fn of_http2() -> Self {
        let app = Server::answering(&[(":status", "200")], "ok");
        let (addr, attacks) = (app.addr, |seen: &Exchange| seen.head.get(":path") != Some(PROBE));
        Self::before(addr, "protocol: http2", "", move || {
            app.seen().iter().filter(|seen| attacks(seen)).count()
        })
    }

    fn before(app: SocketAddr, inbound: &str, sidecar: &str, requests: impl Fn() -> usize + 'static) -> Self {
        let sidecar = format!("accessLog: {{successSample: 0%}}\n{sidecar}");
        let inbound = inbound.to_owned();
        let wishes = Wishes { app: Some(app), inbound, sidecar, ..Wishes::default() };
        Self { rig: Rig::with(&wishes, &[]), requests: Box::new(requests) }
    }

    /// Before an application that answers at once.
    pub fn answering() -> Self {
        Self::new("", |_| Reply::Answer(answer(200)))
    }

    /// Runs an attack on the inbound port and measures what it does.
    #[track_caller]
    pub fn under<T>(&self, attack: impl FnOnce(SocketAddr) -> T) -> T {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let over = AtomicBool::new(false);
        let sidecar = (self.rig.inbound, self.rig.id());
        probe_while(sidecar, |nth| nth < 10);
        let (cpu, memory) = (self.cpu(), self.rig.resident());
        let result = thread::scope(|scope| {
            let honest = scope.spawn(|| probe_while(sidecar, |_| !over.load(Ordering::SeqCst)));
            let attacking = Over(&over);
            let result = attack(sidecar.0);
            drop(attacking);
            let slowest = honest.join().expect("honest callers are served");
            assert!(slowest <= SLOWEST, "somebody else waited for {slowest:?}");
            result
        });
        let cpu = self.cpu_at_rest().saturating_sub(cpu);
        assert!(cpu <= CPU, "it cost {cpu:?} of CPU time");
        let seen = self.requests();
        assert!(seen <= REQUESTS, "the application saw {seen} requests");
        eventually("memory is given back", || self.rig.resident() <= memory + MEMORY);
        result
    }

    /// How many requests of others than honest callers the application saw.
    pub fn requests(&self) -> usize {
        (self.requests)()
    }

    /// Waits until this limit is said to have been exceeded.
    #[track_caller]
    pub fn counted(&self, limit: &str) {
        eventually(&format!("{limit} is counted"), || {
            self.rig.metric("limit_exceeded_total", &[("limit", limit)]) > 0
        });
    }

    /// CPU time that the sidecar has taken: fields 14 and 15 of `/proc/PID/stat`, in ticks of 10 ms.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.rig.id())).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap_or_default();
        let ticks =
            after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>();
        Duration::from_millis(ticks * 10)
    }

    /// The same, when it takes no more.
    fn cpu_at_rest(&self) -> Duration {
        let mut last = self.cpu();
        eventually("the sidecar comes to rest", || {
            thread::sleep(Duration::from_millis(50));
            let now = self.cpu();
            std::mem::replace(&mut last, now) == now
        });
        last
    }
}

/// Asks as an honest caller does, in both versions; answers how long the slowest answer took, less the time for which the
/// machine was busy with something else.
fn probe_while((inbound, sidecar): (SocketAddr, u32), more: impl Fn(usize) -> bool) -> Duration {
    let mut caller = Caller::of(inbound);
    let mut link = Link::connect(inbound);
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "us"), (":path", PROBE)];
    let (mut slowest, mut nth) = (Duration::ZERO, 0);
    while more(nth) {
        let (began, withheld_before) = (Instant::now(), withheld(sidecar));
        let status = if nth.is_multiple_of(2) {
            caller.send(&ask("GET", PROBE, "us")).expect("an answer").status()
        } else {
            link.ask(&head).expect("an answer").status()
        };
        assert_eq!(status, 200);
        let took = began.elapsed();
        slowest = slowest.max(took.saturating_sub(withheld(sidecar).saturating_sub(withheld_before)));
        nth += 1;
        thread::sleep(PROBES.saturating_sub(began.elapsed()));
    }
    slowest
}

/// For how long threads of the sidecar, or this one, were ready to run and had no CPU: the second field of `schedstat`.
fn withheld(sidecar: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{sidecar}/task")).unwrap().map_while(Result::ok);
    let threads = tasks.map(|task| task.path()).chain([PathBuf::from("/proc/thread-self")]);
    let waits = threads.filter_map(|thread| fs::read_to_string(thread.join("schedstat")).ok());
    let nanos = waits.filter_map(|said| said.split(' ').nth(1)?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}
