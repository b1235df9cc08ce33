//! Who serves in the demo? `holdings`, which needs a price for each answer, and the replicas of `market-data`, which
//! know prices and have their faults.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::http::{Client, Conn};

/// What a service that cares for its callers would set, sidecar or not.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a price takes.
const WORK: Duration = Duration::from_millis(5);
/// How long it takes where things are slow, and up to how much longer.
const SLOW: Duration = Duration::from_millis(300);
const JITTER_MILLIS: u64 = 100;
/// Requests that `holdings` works on at one time, like a service with so many threads.
const PLACES: usize = 100;

/// A service of the demo.
#[derive(Debug, Clone)]
pub enum Service {
    /// Answers with what somebody owns, at today's price.
    Holdings(Arc<Holdings>),
    /// Answers with a price.
    Replica(Arc<Replica>),
}

/// The service that calls another.
#[derive(Debug)]
pub struct Holdings {
    /// Where `market-data` is: its replicas, or the sidecar's outbound port. Asked in turn.
    prices: Vec<Client>,
    turn: AtomicUsize,
    places: Semaphore,
}

/// One of the services that are called.
#[derive(Debug)]
pub struct Replica {
    temper: Temper,
    /// Calls that came directly, and through sidecars.
    calls: [AtomicU64; 2],
    hangs: AtomicBool,
    killed: Notify,
}

/// What is wrong with a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Temper {
    /// Nothing.
    Healthy,
    /// It takes sixty times as long.
    Slow,
    /// It fails every third call, at random.
    Failing,
}

impl Temper {
    /// In the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Failing => "failing",
        }
    }
}

impl Service {
    async fn answer(&self, headers: &HeaderMap) -> (StatusCode, &'static str) {
        match self {
            Self::Holdings(holdings) => holdings.answer().await,
            Self::Replica(replica) => replica.answer(headers).await,
        }
    }
}

impl Holdings {
    /// Calls these.
    pub fn new(prices: impl IntoIterator<Item = SocketAddr>) -> Arc<Self> {
        let prices = prices.into_iter().map(|addr| Client::new(addr, "holdings")).collect();
        Arc::new(Self { prices, turn: AtomicUsize::new(0), places: Semaphore::new(PLACES) })
    }

    async fn answer(&self) -> (StatusCode, &'static str) {
        let _place = self.places.acquire().await;
        let next = &self.prices[self.turn.fetch_add(1, Relaxed) % self.prices.len()];
        match timeout(PATIENCE, next.get("market-data", "/prices/ACME")).await {
            Ok(Ok(status)) if status.is_success() => (StatusCode::OK, r#"{"holdings":[{"ACME":12}]}"#),
            Ok(_) => (StatusCode::BAD_GATEWAY, r#"{"error":"no price"}"#),
            Err(_) => (StatusCode::GATEWAY_TIMEOUT, r#"{"error":"no price in time"}"#),
        }
    }
}

impl Replica {
    /// With this fault.
    pub fn new(temper: Temper) -> Arc<Self> {
        Arc::new(Self {
            temper,
            calls: Default::default(),
            hangs: AtomicBool::new(false),
            killed: Notify::new(),
        })
    }

    /// What is wrong with it.
    pub fn temper(&self) -> Temper {
        self.temper
    }

    /// Calls that it has got: directly, and through sidecars.
    pub fn calls(&self) -> [u64; 2] {
        self.calls.each_ref().map(|calls| calls.load(Relaxed))
    }

    /// From now on it answers when nobody waits any more.
    pub fn hang(&self) {
        self.hangs.store(true, Relaxed);
    }

    /// Ends its service, with all connections.
    pub fn kill(&self) {
        self.killed.notify_one();
    }

    /// Serves until it is killed.
    pub async fn live(self: Arc<Self>, listener: TcpListener) {
        tokio::select! {
            () = serve(listener, Service::Replica(Arc::clone(&self))) => {}
            () = self.killed.notified() => {}
        }
    }

    async fn answer(&self, headers: &HeaderMap) -> (StatusCode, &'static str) {
        // Sidecars number the attempts; nobody else sends this.
        let side = usize::from(headers.contains_key("x-request-attempt"));
        self.calls[side].fetch_add(1, Relaxed);
        if self.hangs.load(Relaxed) {
            sleep(2 * PATIENCE).await;
        }
        match self.temper {
            Temper::Failing if fastrand::u8(..3) == 0 => {
                return (StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"out of order"}"#);
            }
            Temper::Slow => sleep(SLOW + Duration::from_millis(fastrand::u64(..JITTER_MILLIS))).await,
            Temper::Healthy | Temper::Failing => sleep(WORK).await,
        }
        (StatusCode::OK, r#"{"ACME":"17.42"}"#)
    }
}

/// Serves until dropped, and takes its connections along.
pub async fn serve(listener: TcpListener, service: Service) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await.and_then(|(stream, _)| Conn::new(stream)) {
            Ok(conn) => drop(connections.spawn(serve_connection(conn, service.clone()))),
            // No descriptor is free, or the peer has left again.
            Err(_) => sleep(WORK).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(mut conn: Conn, service: Service) -> io::Result<()> {
    while let Some(head) = conn.request().await? {
        let (status, content) = service.answer(&head.headers).await;
        conn.respond(status, content).await?;
    }
    Ok(())
}
