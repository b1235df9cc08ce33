//! Which shared connection takes the next request? HTTP/2 connections of one worker, by endpoint.
//!
//! Requests are spread over endpoints one by one, whatever connection they came through (REQUIREMENTS U16); to an endpoint
//! they go over the first connection that has room. Where none has, one is opened, and those who come meanwhile wait for
//! the same one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outrigger_config::model::UpstreamLimits;
use outrigger_config::model::priority::Class;

use super::Upstream;
use super::bulkhead::{Bulkhead, Permit};
use super::connect::{ConnectError, Stage, connect, timed_out, unwelcome};
use super::endpoint::Endpoint;
use super::pool::TURN;
use crate::clock::now;
use crate::http2::client::{Driver, NotOpened};
use crate::http2::{ClientStream, Connection, life};
use crate::message::TrailerLimits;
use crate::policy::outcome::ConnectFailure;
use crate::telemetry::{Metrics, WorkerId};
use crate::tls::Alpn;

/// Shared connections of one worker.
#[derive(Debug, Clone)]
pub struct Multiplexed {
    shared: Rc<RefCell<HashMap<u64, Shared, FixedState>>>,
    metrics: Arc<Metrics>,
    worker: WorkerId,
}

#[derive(Debug)]
struct Shared {
    endpoint: Weak<Endpoint>,
    idle_timeout: Duration,
    connections: Vec<Rc<Connection>>,
    /// On the connections of its upstream.
    limit: Option<Arc<Bulkhead>>,
    /// Being opened.
    opening: Vec<Rc<Opening>>,
}

/// A connection on its way, and who waits for it.
#[derive(Debug, Default)]
pub struct Opening {
    waiting: Cell<u32>,
    /// How far it has come.
    pub stage: Stage,
    ended: Cell<Option<Result<(), OpenError>>>,
    wakers: RefCell<Vec<Waker>>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// No socket.
    Connect(ConnectError),
    /// The endpoint doesn't speak HTTP/2.
    Protocol,
    /// It takes no request: it leaves, or allows no streams. Another would be no better.
    Useless,
}

/// What is asked of a new connection.
#[derive(Debug)]
struct Order {
    upstream: Arc<Upstream>,
    endpoint: Arc<Endpoint>,
    timeout: Duration,
    /// In `[0, 1]`: how much of its greatest age the connection is spared, so that not all end at one moment.
    chance: f64,
    opening: Rc<Opening>,
}

impl Multiplexed {
    /// None yet, of this worker.
    pub fn new(worker: WorkerId, metrics: Arc<Metrics>) -> Self {
        Self { shared: Rc::default(), metrics, worker }
    }

    /// A place on a connection that has room.
    pub fn take(&self, endpoint: &Endpoint, trailers: TrailerLimits, now: Instant) -> Option<ClientStream> {
        let mut all = self.shared.borrow_mut();
        let shared = all.get_mut(&endpoint.id)?;
        shared.connections.retain(|connection| !connection.is_leaving(now));
        let connections = || shared.connections.iter();
        let fresh = connections().filter(|connection| !connection.is_outdated(now));
        let old = connections().filter(|connection| connection.is_outdated(now));
        fresh.chain(old).find_map(|connection| connection.place(trailers))
    }

    /// The same; where there is none, wakes up when there may be, the worthiest first.
    pub fn poll_take(
        &self,
        cx: &mut Context<'_>,
        endpoint: &Endpoint,
        trailers: TrailerLimits,
        class: Class,
    ) -> Poll<ClientStream> {
        if let Some(place) = self.take(endpoint, trailers, now()) {
            return Poll::Ready(place);
        }
        if let Some(shared) = self.shared.borrow().get(&endpoint.id) {
            shared.connections.iter().for_each(|connection| connection.wake_at_room(cx, class));
        }
        Poll::Pending
    }

    /// A connection that is being opened, with room for one more.
    pub fn join(&self, endpoint: &Endpoint, limits: &UpstreamLimits) -> Option<Rc<Opening>> {
        let all = self.shared.borrow();
        let mut openings = all.get(&endpoint.id)?.opening.iter();
        let opening = openings.find(|opening| {
            opening.ended.get().is_none() && opening.waiting.get() < limits.http2.max_streams
        })?;
        opening.waiting.set(opening.waiting.get() + 1);
        Some(Rc::clone(opening))
    }

    /// A connection is being opened.
    pub fn is_opening(&self, endpoint: &Endpoint) -> bool {
        let all = self.shared.borrow();
        let mut openings = all.get(&endpoint.id).into_iter().flat_map(|shared| &shared.opening);
        openings.any(|opening| opening.ended.get().is_none())
    }

    /// Opens a connection, which has `place` among all those of the upstream. `timeout` bounds it.
    pub fn open(
        &self,
        upstream: &Arc<Upstream>,
        endpoint: &Arc<Endpoint>,
        (timeout, chance): (Duration, f64),
        place: Option<Permit>,
    ) -> Rc<Opening> {
        let limits = &upstream.config.limits;
        let mut all = self.shared.borrow_mut();
        let shared = all.entry(endpoint.id).or_insert_with(|| Shared {
            endpoint: Arc::downgrade(endpoint),
            idle_timeout: limits.idle_timeout,
            connections: Vec::new(),
            limit: None,
            opening: Vec::new(),
        });
        shared.idle_timeout = limits.idle_timeout;
        shared.limit = place.as_ref().map(Permit::limit);
        shared.opening.retain(|opening| opening.ended.get().is_none());
        let opening = Rc::new(Opening { waiting: Cell::new(1), ..Opening::default() });
        shared.opening.push(Rc::clone(&opening));
        let (upstream, endpoint) = (Arc::clone(upstream), Arc::clone(endpoint));
        let order = Order { upstream, endpoint, timeout, chance, opening: Rc::clone(&opening) };
        // Not the request's own task: others wait for it too, and it may be canceled.
        let life = self.clone().run(order);
        tokio::task::spawn_local(async move {
            life.await;
            drop(place);
        });
        opening
    }

    /// Closes what has been idle for too long and what leads to endpoints that are gone. Where somebody else wants a
    /// place, one connection that has had its turn takes no more requests.
    pub fn sweep(&self, now: Instant) {
        self.shared.borrow_mut().retain(|_, shared| {
            let gone = shared.endpoint.strong_count() == 0;
            let mut wanted = shared.limit.as_ref().is_some_and(|limit| limit.is_wanted());
            shared.connections.retain(|connection| {
                let idle = connection.idle(now);
                let yields = wanted && (idle.is_some() || connection.carried() >= TURN.into());
                wanted &= !yields;
                let old = idle.is_some_and(|idle| idle >= shared.idle_timeout);
                !(gone || old || yields || connection.is_leaving(now))
            });
            !(gone && shared.opening.is_empty())
        });
    }

    /// Opens a connection, and drives it to its end.
    async fn run(self, order: Order) {
        let id = order.endpoint.id;
        let Some((connection, mut driver)) = self.admit(order).await else { return };
        let (watch, closing) = (connection.watch(), Closing(Rc::downgrade(&connection)));
        drop(connection);
        // How it ended, its streams know. Of who floods us nothing more is read, so there is nothing to wait for.
        let cut = poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
            Poll::Pending => watch.poll_cut(cx).map(Some),
            Poll::Ready(_) => Poll::Ready(watch.cut()),
        })
        .await;
        if let Some(limit) = cut {
            self.metrics.limit_exceeded(self.worker, limit);
        }
        drop((driver, closing));
        if let Some(shared) = self.shared.borrow_mut().get_mut(&id) {
            shared.connections.retain(|connection| !connection.is_leaving(now()));
        }
    }

    /// A new connection that others may use from now on.
    async fn admit(&self, order: Order) -> Option<(Rc<Connection>, Driver)> {
        let mut opening = Ending { opening: &order.opening, how: Err(OpenError::Protocol) };
        let opened = order.connect(self.worker).await;
        let (connection, driver) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                opening.how = Err(error);
                return None;
            }
        };
        if connection.is_leaving(now()) || !connection.has_room() {
            opening.how = Err(OpenError::Useless);
            return None;
        }
        let mut all = self.shared.borrow_mut();
        let connections = &mut all.get_mut(&order.endpoint.id)?.connections;
        let old = connections.iter().filter(|connection| connection.is_outdated(now()));
        old.for_each(|connection| connection.retire());
        connections.push(Rc::clone(&connection));
        opening.how = Ok(());
        Some((connection, driver))
    }
}

impl Order {
    async fn connect(&self, worker: WorkerId) -> Result<(Rc<Connection>, Driver), OpenError> {
        let limits = &self.upstream.config.limits;
        let age = life(limits.max_connection_age, self.chance);
        let stage = &self.opening.stage;
        let connected = async {
            let stream = connect(&self.upstream, self.endpoint.addr, Alpn::Http2, (worker, stage));
            let stream = stream.await.map_err(OpenError::Connect)?;
            let refused = |why| OpenError::Connect(ConnectError::Failed(why));
            Connection::open(stream, limits, age).await.map_err(|why| match why {
                // An endpoint that is being started or ended takes a connection, and drops it.
                NotOpened::Ended => refused(ConnectFailure::Refused),
                NotOpened::Unwelcome => refused(unwelcome(&self.upstream)),
                NotOpened::Foreign => OpenError::Protocol,
            })
        };
        let late = |_| {
            let failure = stage.timed_out();
            timed_out(&self.upstream, worker, failure);
            Err(OpenError::Connect(ConnectError::Failed(failure)))
        };
        tokio::time::timeout(self.timeout, connected).await.unwrap_or_else(late)
    }
}

/// Tells those who wait for an opening, whatever happens to it.
struct Ending<'o> {
    opening: &'o Opening,
    how: Result<(), OpenError>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.opening.end(self.how);
    }
}

/// Lets no connection be used whose driver has ended, whatever ended it.
struct Closing(std::rc::Weak<Connection>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(connection) = self.0.upgrade() {
            connection.close();
        }
    }
}

impl Opening {
    /// Ready when it has ended, well or not.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        if let Some(ended) = self.ended.get() {
            return Poll::Ready(ended);
        }
        self.wakers.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn end(&self, ended: Result<(), OpenError>) {
        self.ended.set(Some(ended));
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}
