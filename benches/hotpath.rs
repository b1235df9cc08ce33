//! What does a request cost us? The parts of the hot path, and a whole request over loopback with what it allocates.
//!
//! `cargo bench --bench hotpath`. Times vary with the machine; the allocations of a request do not, and more than
//! [`ALLOWED`] fail the bench: a request must not pay for features that its policy doesn't use.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench may fail loudly")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use outrigger::http1::ServerConn;
use outrigger::http1::head::{parse_request, parse_response};
use outrigger::message::{HeadLimits, Scratch, TrailerLimits};
use outrigger::pipeline::{self, Down};
use outrigger::policy::budget::Budget;
use outrigger::policy::outcome::Outcome;
use outrigger::snapshot::{self, ListenerId};
use outrigger::telemetry::{Flag, LineSink, Metrics, WorkerId};
use outrigger::upstream::guard::Asked;
use outrigger::worker::{Shared, Worker};
use outrigger_config::model::{Config, Direction};
use outrigger_config::{Source, defaults};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Allocations of one request with retries, deadlines, limits, a route and metrics on, at most: the names of two fields
/// that HTTP doesn't know, now and then a new chunk for heads, and the runtime's own.
const ALLOWED: u64 = 6;
/// What a policy may say beside its rates: a limit on what is in flight costs no allocation more.
const IN_FLIGHT: &str = "concurrency: {max: 500, adaptive: {min: 10}, maxPending: 100, queueTimeout: 200ms,
    fairShare: {by: [source], order: greedy-first}}, ";

const REQUEST: &[u8] = b"GET /prices/eur?page=2 HTTP/1.1\r\nHost: market-data\r\nUser-Agent: bench/1.0\r\n\
    Accept: application/json\r\nAccept-Language: en-GB,en;q=0.7\r\nAccept-Encoding: identity\r\n\
    Cookie: session=6f1c9e0a7b5d4c3e; theme=dark\r\nReferer: http://market-data/items\r\nCache-Control: no-cache\r\n\
    X-Tenant: simplebank\r\nX-Client-Version: 4.18.2\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const LIMITS: HeadLimits = HeadLimits {
    bytes: defaults::REQUEST_HEAD,
    fields: defaults::REQUEST_FIELDS,
    target: defaults::REQUEST_TARGET,
};

fn policy(origin: SocketAddr, limit: &str) -> Config {
    let text = format!(
        "{{apiVersion: outrigger/v1, kind: Sidecar, name: bench, outbound: {{listen: 127.0.0.1:15001}},
           accessLog: {{format: json, successSample: 0%, slowerThan: 10s}}}}
---
{{apiVersion: outrigger/v1, kind: Upstream, name: market-data, discovery: {{static: [\"{origin}\"]}},
  circuitBreaker: {{scope: both, failureRate: 50%, consecutive: 7}}}}
---
{{apiVersion: outrigger/v1, kind: Upstream, name: unguarded, discovery: {{static: [\"{origin}\"]}},
  outlierDetection: {{mode: off}}}}
---
{{apiVersion: outrigger/v1, kind: Upstream, name: built-in, discovery: {{static: [\"{origin}\"]}}}}
---
{{apiVersion: outrigger/v1, kind: RateLimitPolicy, name: quota, direction: outbound, {limit}total: {{rate: 1000000/s}},
   perKey: [{{by: [source], rate: 1000000/s, maxConcurrent: 100}}]}}
---
{{apiVersion: outrigger/v1, kind: HTTPRoute, name: prices, hosts: [market-data], rules: [{{
    matches: [{{path: {{type: PathPrefix, value: /prices}}, method: GET}}], backendRefs: [{{name: market-data}}],
    timeouts: {{request: 2s, responseHeaders: 1s}}, retry: {{on: [connect-failure, reset, gateway-error], attempts: 2}}}}]}}
"
    );
    let files = [Source { name: "bench.yaml".to_owned(), text }];
    outrigger_config::parse(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

fn heads(c: &mut Criterion) {
    let scratch = Scratch::default();
    c.bench_function("parse a request head of ten fields", |b| {
        b.iter(|| {
            let parsed = parse_request(black_box(REQUEST), &LIMITS, &scratch);
            scratch.recycle(parsed.unwrap().unwrap().0.headers);
        });
    });
    c.bench_function("parse a response head", |b| {
        b.iter(|| {
            let parsed = parse_response(black_box(RESPONSE), &LIMITS, &scratch, &Method::GET);
            scratch.recycle(parsed.unwrap().unwrap().0.headers);
        });
    });
}

fn decisions(c: &mut Criterion) {
    let (metrics, now) = (Metrics::new(1, 1000), Instant::now());
    let config = policy(SocketAddr::from(([127, 0, 0, 1], 1)), "");
    let (log, _) = LineSink::spawn(Box::new(std::io::sink()), metrics.access_log_dropped()).unwrap();
    let snapshot = snapshot::build(config, None, None, &metrics, &log, now).unwrap();
    let (head, _) = parse_request(REQUEST, &LIMITS, &Scratch::default()).unwrap().unwrap();
    c.bench_function("route", |b| {
        b.iter(|| snapshot.route(outbound(), black_box("market-data"), &head, None).is_some());
    });
    let mut budget = Budget::new(&defaults::RETRY_BUDGET, now);
    c.bench_function("earn a retry", |b| b.iter(|| budget.deposit(1, black_box(now))));
    let exchange = metrics.exchange(Direction::Outbound, "prices", "market-data");
    let took = Duration::from_micros(700);
    c.bench_function("count an exchange", |b| {
        b.iter(|| exchange.record(WorkerId::new(0), black_box(200), Flag::None, took));
    });
    let mut rng = fastrand::Rng::with_seed(1);
    let good = Outcome::Response { status: http::StatusCode::OK, retry_after: None, settled_below: false };
    for upstream in &snapshot.upstreams {
        c.bench_function(
            &format!("pick an endpoint of {}, and tell how it went", upstream.config.name),
            |b| {
                b.iter(|| {
                    let mut load = upstream.pick(&[], None, &mut rng, black_box(now)).unwrap();
                    upstream.report(&mut load, &good, Asked { turn: Some(now), whole: Some(now) }, now);
                    upstream.conclude(&mut load, &good, || now);
                });
            },
        );
    }
}

/// One worker, one connection, an origin on a thread of its own.
struct Rig {
    runtime: LocalRuntime,
    worker: Rc<Worker>,
    down: ServerConn,
    client: TcpStream,
    reply: Vec<u8>,
}

impl Rig {
    fn new(limit: &str) -> Self {
        let metrics = Metrics::new(1, 1000);
        let (log, _) = LineSink::spawn(Box::new(std::io::sink()), metrics.access_log_dropped()).unwrap();
        let snapshot =
            snapshot::build(policy(origin(), limit), None, None, &metrics, &log, Instant::now()).unwrap();
        let worker = Worker::new(WorkerId::new(0), Shared::new(snapshot, metrics), u64::MAX);
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        let (near, far) = pair();
        let peer = near.peer_addr().unwrap();
        let down = runtime.block_on(async {
            far.set_nonblocking(true).unwrap();
            let far = tokio::net::TcpStream::from_std(far).unwrap();
            ServerConn::new(far, peer, worker.timers.alarm(), false)
        });
        Self { runtime, worker, down, client: near, reply: vec![0; 4096] }
    }

    /// The client writes, the worker carries, the client reads.
    fn request(&mut self) {
        self.client.write_all(REQUEST).unwrap();
        let (worker, down) = (&self.worker, &mut self.down);
        self.runtime.block_on(async {
            let snapshot = worker.snapshot();
            let trailers = TrailerLimits { bytes: 0, fields: 0 };
            let idle_until = Instant::now() + Duration::from_mins(1);
            let head = down
                .read_head(&worker.scratch, (&LIMITS, trailers), idle_until, Duration::from_secs(10))
                .await;
            pipeline::handle(worker, &snapshot, outbound(), &mut Down::Http1(down), head.unwrap()).await;
        });
        let count = self.client.read(&mut self.reply).unwrap();
        assert!(
            self.reply[..count].starts_with(b"HTTP/1.1 200 OK\r\n") && self.reply[..count].ends_with(b"{}")
        );
    }
}

fn whole_request(c: &mut Criterion) {
    for (what, limit) in [("a request", ""), ("a request under a limit in flight", IN_FLIGHT)] {
        let mut rig = Rig::new(limit);
        rig.request();
        rig.request();
        let measured = (0..100).map(|_| allocation_counter::measure(|| rig.request()).count_total).max();
        let most = measured.unwrap_or_default();
        println!("{what} allocates {most} times");
        assert!(most <= ALLOWED, "{what} allocates more than {ALLOWED} times");
        c.bench_function(&format!("{what} over loopback, client and kernel included"), |b| {
            b.iter(|| rig.request());
        });
    }
}

fn outbound() -> ListenerId {
    ListenerId::outbound(SocketAddr::from(([127, 0, 0, 1], 15001)))
}

/// Answers everything that it is sent with the same response.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
            stream.write_all(RESPONSE).unwrap();
        }
    });
    addr
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nodelay(true).unwrap();
    (near, listener.accept().unwrap().0)
}

criterion_group!(benches, heads, decisions, whole_request);
criterion_main!(benches);
