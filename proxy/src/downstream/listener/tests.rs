//! Does one connection's end stay its own, and what does it leave behind?

use std::cell::Cell;

use outrigger_config::Source;

use super::*;
use crate::clock::now;
use crate::snapshot;
use crate::telemetry::{LineSink, Metrics, WorkerId};
use crate::worker::Shared;

const POLICY: &str = "apiVersion: outrigger/v1\nkind: Sidecar\nname: tests\noutbound: {}\n";

fn worker() -> Rc<Worker> {
    let source = Source { name: "a.yaml".to_owned(), text: POLICY.to_owned() };
    let config = outrigger_config::parse(&[source]).unwrap();
    let metrics = Metrics::new(1, 1000);
    let (log, _) = LineSink::spawn(Box::new(io::sink()), metrics.access_log_dropped()).unwrap();
    let shared = Shared::new(snapshot::build(config, None, None, &metrics, &log, now()).unwrap(), metrics);
    Worker::new(WorkerId::new(0), shared, 1024)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_panic_ends_its_own_connection_and_is_counted() {
    run(async {
        let (worker, went_on) = (worker(), Rc::new(Cell::new(false)));
        let seen = Rc::clone(&went_on);
        let neighbour = contained(Rc::clone(&worker), async move {
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            seen.set(true);
        });
        let neighbour = tokio::task::spawn_local(neighbour);
        let broken = contained(Rc::clone(&worker), async {
            tokio::task::yield_now().await;
            panic!("as the test wants it");
        });
        tokio::task::spawn_local(broken).await.expect("the panic does not reach the runtime");
        neighbour.await.unwrap();
        assert!(went_on.get());
        let (_, metrics) = worker.shared.metrics.render();
        assert!(metrics.contains("panics_total 1\n"), "{metrics}");
    });
}

#[test]
fn u_9_a_listener_that_has_gone_keeps_its_generation_as_long_as_its_connections() {
    let worker = worker();
    let gone = worker.snapshot().listeners()[0];
    let first = Arc::downgrade(&worker.snapshot());
    let stays = [worker.stay(gone), worker.stay(gone)];
    let log = LineSink::spawn(Box::new(io::sink()), worker.shared.metrics.access_log_dropped()).unwrap().0;
    let policy = POLICY.replace("{}", "{listen: 127.0.0.1:15999}");
    let next = outrigger_config::parse(&[Source { name: "a.yaml".to_owned(), text: policy }]).unwrap();
    let next =
        snapshot::build(next, first.upgrade().as_deref(), None, &worker.shared.metrics, &log, now()).unwrap();
    worker.shared.snapshot.store(Arc::new(next));
    for stay in stays {
        worker.tidy();
        assert_eq!(worker.snapshot_for(gone).generation, 1);
        drop(stay);
    }
    worker.tidy();
    assert_eq!(worker.snapshot_for(gone).generation, 2);
    assert!(first.upgrade().is_none(), "nothing else keeps it");
}

#[test]
fn places_are_counted_exactly() {
    let occupancy = Occupancy::default();
    let held: Vec<_> = (0..3).map(|_| occupancy.enter(2)).collect();
    assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    drop(held);
    assert!(occupancy.enter(1).is_some(), "who was refused holds no place either");
}

/// Nobody accepts, so only as many as the backlog holds get in (and the one that Linux admits beyond it).
#[test]
fn limit_backlog() {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), false, 2).unwrap();
    let addr = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200));
    let waiting: Vec<_> = (0..6).map(|_| connect()).collect();
    assert_eq!(waiting.iter().filter(|connected| connected.is_ok()).count(), 3);
}
