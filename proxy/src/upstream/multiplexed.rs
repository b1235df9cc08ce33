//! Which shared connection takes the next request? HTTP/2 connections of one worker, by endpoint.
//!
//! Requests are spread over endpoints one by one, whatever connection they came through (REQUIREMENTS U16); to an endpoint
//! they go over the first connection that has room. Where none has, one is opened, and those who come meanwhile wait for
//! the same one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outrigger_config::model::UpstreamLimits;

use super::bulkhead::{Bulkhead, Permit};
use super::connect::{ConnectError, connect};
use super::endpoint::Endpoint;
use super::pool::TURN;
use crate::clock::now;
use crate::http2::{ClientStream, Connection};
use crate::message::TrailerLimits;
use crate::policy::outcome::ConnectFailure;

/// Shared connections of one worker.
#[derive(Debug, Clone, Default)]
pub struct Multiplexed(Rc<RefCell<HashMap<u64, Shared, FixedState>>>);

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
}

impl Multiplexed {
    /// A place on a connection that has room.
    pub fn take(&self, endpoint: &Endpoint, trailers: TrailerLimits, now: Instant) -> Option<ClientStream> {
        let mut all = self.0.borrow_mut();
        let shared = all.get_mut(&endpoint.id)?;
        shared.connections.retain(|connection| !connection.is_leaving(now));
        shared.connections.iter().find_map(|connection| connection.place(trailers))
    }

    /// The same; where there is none, wakes up when there may be.
    pub fn poll_take(
        &self,
        cx: &mut Context<'_>,
        endpoint: &Endpoint,
        trailers: TrailerLimits,
    ) -> Poll<ClientStream> {
        if let Some(place) = self.take(endpoint, trailers, now()) {
            return Poll::Ready(place);
        }
        if let Some(shared) = self.0.borrow().get(&endpoint.id) {
            shared.connections.iter().for_each(|connection| connection.wake_at_room(cx));
        }
        Poll::Pending
    }

    /// A connection that is being opened, with room for one more.
    pub fn join(&self, endpoint: &Endpoint, limits: &UpstreamLimits) -> Option<Rc<Opening>> {
        let all = self.0.borrow();
        let mut openings = all.get(&endpoint.id)?.opening.iter();
        let opening = openings.find(|opening| opening.waiting.get() < limits.http2.max_streams)?;
        opening.waiting.set(opening.waiting.get() + 1);
        Some(Rc::clone(opening))
    }

    /// Opens a connection, which has `place` among all those of the upstream. `timeout` bounds it.
    pub fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        limits: &UpstreamLimits,
        (timeout, chance): (Duration, f64),
        place: Option<Permit>,
    ) -> Rc<Opening> {
        let mut all = self.0.borrow_mut();
        let shared = all.entry(endpoint.id).or_insert_with(|| Shared {
            endpoint: Arc::downgrade(endpoint),
            idle_timeout: limits.idle_timeout,
            connections: Vec::new(),
            limit: None,
            opening: Vec::new(),
        });
        shared.idle_timeout = limits.idle_timeout;
        shared.limit = place.as_ref().map(Permit::limit);
        let opening = Rc::new(Opening { waiting: Cell::new(1), ..Opening::default() });
        shared.opening.push(Rc::clone(&opening));
        // Not the request's own task: others wait for it too, and it may be canceled.
        let life = self.clone().run(Arc::clone(endpoint), *limits, (timeout, chance), Rc::clone(&opening));
        tokio::task::spawn_local(async move {
            life.await;
            drop(place);
        });
        opening
    }

    /// Closes what has been idle for too long and what leads to endpoints that are gone. Where somebody else wants a
    /// place, one connection that has had its turn takes no more requests.
    pub fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, shared| {
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
    async fn run(
        self,
        endpoint: Arc<Endpoint>,
        limits: UpstreamLimits,
        (timeout, chance): (Duration, f64),
        opening: Rc<Opening>,
    ) {
        // Not all at one moment (REQUIREMENTS U16).
        let age = limits.max_connection_age.mul_f64(1.0 - chance / 10.0);
        let opened = tokio::time::timeout(timeout, async {
            let stream = connect(endpoint.addr).await.map_err(OpenError::Connect)?;
            Connection::open(stream, &limits, age).await.map_err(|_| OpenError::Protocol)
        })
        .await
        .unwrap_or(Err(OpenError::Connect(ConnectError::Failed(ConnectFailure::TimedOut))));
        let id = endpoint.id;
        drop(endpoint);
        let driver = {
            let mut all = self.0.borrow_mut();
            let Some(shared) = all.get_mut(&id) else { return opening.end(Err(OpenError::Protocol)) };
            shared.opening.retain(|other| !Rc::ptr_eq(other, &opening));
            match opened {
                Ok((connection, driver)) => {
                    shared.connections.push(Rc::clone(&connection));
                    opening.end(Ok(()));
                    (connection, driver)
                }
                Err(error) => return opening.end(Err(error)),
            }
        };
        let (connection, driver) = driver;
        let closing = Rc::downgrade(&connection);
        drop(connection);
        // How it ended, its streams know.
        let _ = driver.await;
        if let Some(connection) = closing.upgrade() {
            connection.close();
        }
        if let Some(shared) = self.0.borrow_mut().get_mut(&id) {
            shared.connections.retain(|connection| !connection.is_leaving(now()));
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
