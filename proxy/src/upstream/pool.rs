//! Is there a ready connection? Idle connections of one worker, by endpoint; never shared, so never locked.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outrigger_config::model::UpstreamLimits;
use outrigger_config::model::priority::Class;

use super::bulkhead::Permit;
use super::endpoint::Endpoint;
use crate::clock::now;
use crate::http1::ClientConn;
use crate::message::Scratch;

/// Where all connections have a place and somebody else wants one, this many exchanges go over a connection before it
/// makes room: those at hand would keep it for themselves for ever, and a new one for each would be a waste.
pub(super) const TURN: u32 = 16;

/// A connection to an endpoint, with its place among all those of the upstream.
#[derive(Debug)]
pub struct Client {
    conn: ClientConn,
    /// `None`: there is no limit on them.
    place: Option<Permit>,
}

impl Client {
    /// A connection that has such a place.
    pub fn new(conn: ClientConn, place: Option<Permit>) -> Self {
        Self { conn, place }
    }

    /// It was made with the identity in use.
    pub fn is_current(&self) -> bool {
        self.channel.wire.stream().is_current()
    }

    /// Its endpoint is still believed.
    fn holds(&self) -> bool {
        self.channel.wire.stream().proof().is_none_or(|proof| proof.holds().is_ok())
    }

    /// Somebody has no connection for want of a place.
    fn is_wanted(&self) -> bool {
        self.place.as_ref().is_some_and(Permit::is_wanted)
    }
}

impl Deref for Client {
    type Target = ClientConn;

    fn deref(&self) -> &Self::Target {
        &self.conn
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.conn
    }
}

/// Idle connections of one worker.
#[derive(Debug, Clone, Default)]
pub struct Pools(Rc<RefCell<HashMap<u64, Pool, FixedState>>>);

#[derive(Debug)]
struct Pool {
    endpoint: Weak<Endpoint>,
    idle_timeout: Duration,
    /// The last used is at the end and used first, so that the others may grow old and go.
    #[expect(clippy::vec_box, reason = "a connection moves between pool and request many times")]
    idle: Vec<Box<Client>>,
    /// Who wants the next one that is given back: the worthiest first, then the oldest.
    wanted: VecDeque<(Class, Waker)>,
    /// A connection is being made that will serve in the place of those of an identity that was replaced.
    renewing: bool,
}

impl Pools {
    /// A connection on which a request may be sent now. What the endpoint closed meanwhile is dropped on the way, and
    /// so is what was idle for about as long as the endpoint keeps connections, and those whose endpoint is believed no
    /// more. One of an identity that was replaced may serve while [another](Self::renew) is being made.
    pub fn take(
        &self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        endpoint: &Endpoint,
        now: Instant,
    ) -> Option<Box<Client>> {
        let mut pools = self.0.borrow_mut();
        let pool = pools.get_mut(&endpoint.id)?;
        while let Some(mut conn) = pool.idle.pop() {
            let idle = now.saturating_duration_since(conn.idle_since);
            if !conn.is_quiet(cx, scratch) {
                endpoint.closed_after(idle, now);
                continue;
            }
            endpoint.kept_open_for(idle);
            if conn.holds() && idle < trusted_for(&conn, endpoint, pool.idle_timeout, now) {
                conn.channel.wire.rise(scratch);
                return Some(conn);
            }
        }
        None
    }

    /// The same; where there is none, wakes up when one is given back, and nobody worthier wants it.
    pub fn poll_take(
        &self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        endpoint: &Arc<Endpoint>,
        class: Class,
        now: Instant,
    ) -> Poll<Box<Client>> {
        if let Some(conn) = self.take(cx, scratch, endpoint, now) {
            return Poll::Ready(conn);
        }
        let mut pools = self.0.borrow_mut();
        let wanted = &mut pools.entry(endpoint.id).or_insert_with(|| Pool::of(endpoint)).wanted;
        if !wanted.iter().any(|(_, waker)| waker.will_wake(cx.waker())) {
            let place = wanted.partition_point(|(other, _)| *other <= class);
            wanted.insert(place, (class, cx.waker().clone()));
        }
        Poll::Pending
    }

    /// Who polled [`poll_take`](Self::poll_take) wants none any more.
    pub fn forget(&self, cx: &mut Context<'_>, endpoint: &Endpoint) {
        if let Some(pool) = self.0.borrow_mut().get_mut(&endpoint.id) {
            pool.wanted.retain(|(_, waker)| !waker.will_wake(cx.waker()));
            // It may have been woken for one that it did not take.
            if !pool.idle.is_empty()
                && let Some((_, waker)) = pool.wanted.pop_front()
            {
                waker.wake();
            }
        }
    }

    /// Gives a connection back for the next request.
    pub fn give(
        &self,
        scratch: &Scratch,
        endpoint: &Arc<Endpoint>,
        limits: &UpstreamLimits,
        mut conn: Box<Client>,
        now: Instant,
    ) {
        conn.idle_since = now;
        conn.exchanges = conn.exchanges.saturating_add(1);
        let mut pools = self.0.borrow_mut();
        let pool = pools.entry(endpoint.id).or_insert_with(|| Pool::of(endpoint));
        // The endpoint may have lived through a reload.
        pool.idle_timeout = limits.idle_timeout;
        let next = pool.wanted.pop_front();
        // One of an identity that was replaced has served its last, once there is another.
        let yields = !conn.is_current() && !pool.renewing
            || conn.is_wanted() && (next.is_none() || conn.exchanges.is_multiple_of(TURN));
        conn.channel.wire.rest(scratch);
        if !yields && (next.is_some() || pool.idle.len() < limits.max_idle) {
            pool.idle.push(conn);
        }
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }

    /// The right to make the one connection that will serve in the place of those of an identity that was replaced;
    /// `None`: somebody has it.
    pub fn renew(&self, endpoint: &Arc<Endpoint>) -> Option<Renewal> {
        let mut pools = self.0.borrow_mut();
        let pool = pools.entry(endpoint.id).or_insert_with(|| Pool::of(endpoint));
        let begins = !std::mem::replace(&mut pool.renewing, true);
        begins.then(|| Renewal { pools: self.clone(), endpoint: endpoint.id })
    }

    /// Closes what has been idle for too long, what leads to endpoints that are gone, and what others have use for.
    pub fn sweep(&self, cx: &mut Context<'_>, scratch: &Scratch, now: Instant) {
        self.0.borrow_mut().retain(|_, pool| {
            let Some(endpoint) = pool.endpoint.upgrade() else { return false };
            pool.idle.retain_mut(|conn| {
                let idle = now.saturating_duration_since(conn.idle_since);
                let quiet = conn.is_quiet(cx, scratch);
                if !quiet {
                    endpoint.closed_after(idle, now);
                }
                quiet
                    && conn.holds()
                    && !conn.is_wanted()
                    && idle < trusted_for(conn, &endpoint, pool.idle_timeout, now)
            });
            true
        });
    }
}

impl Pool {
    fn of(endpoint: &Arc<Endpoint>) -> Self {
        Self {
            endpoint: Arc::downgrade(endpoint),
            idle_timeout: Duration::ZERO,
            idle: Vec::new(),
            wanted: VecDeque::new(),
            renewing: false,
        }
    }
}

/// A connection that is being made before anybody needs it.
#[derive(Debug)]
pub struct Renewal {
    pools: Pools,
    endpoint: u64,
}

impl Renewal {
    /// Here it is.
    pub fn end(self, mut conn: Box<Client>) {
        if let Some(pool) = self.pools.0.borrow_mut().get_mut(&self.endpoint) {
            // Its first request may cross its end as any other's may.
            conn.exchanges = 1;
            conn.idle_since = now();
            if let Some(old) = pool.idle.iter().position(|conn| !conn.is_current()) {
                pool.idle.remove(old);
            }
            pool.idle.push(conn);
            if let Some((_, waker)) = pool.wanted.pop_front() {
                waker.wake();
            }
        }
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        if let Some(pool) = self.pools.0.borrow_mut().get_mut(&self.endpoint) {
            pool.renewing = false;
        }
    }
}

fn trusted_for(conn: &ClientConn, endpoint: &Endpoint, idle_timeout: Duration, now: Instant) -> Duration {
    let told = conn.kept_for.unwrap_or(Duration::MAX);
    idle_timeout.min(told).min(endpoint.kept_for(now))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Poll, Wake};

    use outrigger_config::defaults;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Remembers that it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn bh_4_a_connection_that_is_given_back_goes_to_the_worthiest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, now) = (listener.local_addr().unwrap(), Instant::now());
        let (pools, scratch, endpoint) = (Pools::default(), Scratch::default(), Endpoint::new(addr, now));
        let classes = [Class::Sheddable, Class::Default, Class::Critical, Class::Default];
        let waiting = classes.map(|class| {
            let woken = Arc::<Woken>::default();
            let waker = Waker::from(Arc::clone(&woken));
            let cx = &mut Context::from_waker(&waker);
            assert!(pools.poll_take(cx, &scratch, &endpoint, class, now).is_pending());
            (woken, waker)
        });
        let mut order = Vec::new();
        for _ in classes {
            let conn = Client::new(ClientConn::new(TcpStream::connect(addr).await.unwrap(), now), None);
            pools.give(&scratch, &endpoint, &defaults::UPSTREAM_LIMITS, Box::new(conn), now);
            let woken = |nth: &usize| waiting[*nth].0.0.load(Ordering::SeqCst) && !order.contains(nth);
            order.extend((0..4).find(woken));
        }
        assert_eq!(order, [2, 1, 3, 0]);
    }

    #[tokio::test]
    async fn a_reload_of_the_idle_timeout_reaches_endpoints_that_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, now) = (listener.local_addr().unwrap(), Instant::now());
        let (pools, scratch, endpoint) = (Pools::default(), Scratch::default(), Endpoint::new(addr, now));
        for (seconds, is_kept) in [(60, true), (1, false), (60, true)] {
            let limits =
                UpstreamLimits { idle_timeout: Duration::from_secs(seconds), ..defaults::UPSTREAM_LIMITS };
            let conn = Client::new(ClientConn::new(TcpStream::connect(addr).await.unwrap(), now), None);
            pools.give(&scratch, &endpoint, &limits, Box::new(conn), now);
            let later = now + Duration::from_secs(2);
            let taken = poll_fn(|cx| Poll::Ready(pools.take(cx, &scratch, &endpoint, later))).await;
            assert_eq!(taken.is_some(), is_kept, "{seconds} s");
        }
    }
}
