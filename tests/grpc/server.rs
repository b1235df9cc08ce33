//! What does a gRPC server do? It answers by its script, and keeps a ledger of who called and who left.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime;
use tokio::sync::oneshot;
use tonic::Status;

use super::service;

/// A server of one test, on a thread and a port of its own.
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    ledger: Arc<Ledger>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A call that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Metadata and whatever else the head says.
    pub head: HeaderMap,
    /// Whom the caller meant.
    pub authority: String,
    /// Which attempt at its request this is, from 1. Sidecars on the way count only their own.
    pub attempt: usize,
    /// When it came.
    pub at: Instant,
}

impl Seen {
    /// The value of a field that came at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.get(name).map(|value| value.to_str().unwrap())
    }

    /// The milliseconds in `grpc-timeout`.
    pub fn time_left(&self) -> u64 {
        let said = self.field("grpc-timeout").expect("a deadline");
        let (number, unit) = said.split_at(said.len() - 1);
        let number: u64 = number.parse().unwrap();
        match unit {
            "S" => number * 1000,
            "m" => number,
            "u" => number / 1000,
            unit => panic!("nobody expects the unit {unit}"),
        }
    }
}

/// How a call is treated.
pub enum Act {
    /// As its method says.
    Serve,
    /// By a status alone, in the only head there is.
    Fail(Status),
    /// By a head, and the status in trailers.
    FailLate(Status),
    /// By a head and one message, and the status in trailers.
    Break(Status),
    /// Not before this time has passed.
    After(Duration, Box<Act>),
    /// Never.
    Hang,
}

/// What the n-th call (from 0) meets.
pub type Script = dyn Fn(usize, &Seen) -> Act + Send + Sync;

/// What happened.
#[derive(Default)]
pub struct Ledger {
    seen: Mutex<Vec<Seen>>,
    left: Mutex<Vec<Instant>>,
    connections: Mutex<usize>,
}

impl Ledger {
    /// A call was given up by its caller.
    pub fn leave(&self) {
        self.left.lock().unwrap().push(Instant::now());
    }

    /// Enters a call; its number.
    fn enter(&self, request: &Request<Incoming>) -> (usize, Seen) {
        let mut all = self.seen.lock().unwrap();
        let head = request.headers().clone();
        let authority = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let id = head.get("x-request-id");
        let before = all.iter().filter(|seen| id.is_some() && seen.head.get("x-request-id") == id).count();
        all.push(Seen { head, authority, attempt: before + 1, at: Instant::now() });
        (all.len() - 1, all[all.len() - 1].clone())
    }
}

impl Server {
    /// Starts one that treats calls as `script` says.
    pub fn start(script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let ledger = Arc::<Ledger>::default();
        let (stop, stopped) = oneshot::channel();
        let serve = serve(listener, Arc::new(script), Arc::clone(&ledger));
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Self { addr, ledger, stop: Some(stop), thread: Some(thread) }
    }

    /// Starts one that does as it is asked.
    pub fn willing() -> Self {
        Self::start(|_, _| Act::Serve)
    }

    /// Its process dies: its sockets close, wherever they are.
    pub fn die(&mut self) {
        self.stop.take();
        self.thread.take().map(JoinHandle::join);
    }

    /// How many calls came.
    pub fn count(&self) -> usize {
        self.ledger.seen.lock().unwrap().len()
    }

    /// The calls that came.
    pub fn seen(&self) -> Vec<Seen> {
        self.ledger.seen.lock().unwrap().clone()
    }

    /// The last of them.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a call")
    }

    /// When callers gave up calls that were not answered to the end.
    pub fn left(&self) -> Vec<Instant> {
        self.ledger.left.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *self.ledger.connections.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, ledger: Arc<Ledger>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        *ledger.connections.lock().unwrap() += 1;
        stream.set_nodelay(true).unwrap();
        let (script, ledger) = (Arc::clone(&script), Arc::clone(&ledger));
        let answer = service_fn(move |request| answer(request, Arc::clone(&script), Arc::clone(&ledger)));
        tokio::spawn(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer));
    }
}

fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    ledger: Arc<Ledger>,
) -> impl Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> {
    let (nth, seen) = ledger.enter(&request);
    async move {
        let act = script(nth, &seen);
        drop(script);
        Ok(service::answer(request, act, ledger).await)
    }
}
