//! Is there a ready connection? Idle connections of one worker, by endpoint; never shared, so never locked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use outrigger_config::model::UpstreamLimits;

use super::endpoint::Endpoint;
use crate::http1::ClientConn;
use crate::message::Scratch;

/// Idle connections of one worker.
#[derive(Debug, Default)]
pub struct Pools(RefCell<HashMap<u64, Pool, FixedState>>);

#[derive(Debug)]
struct Pool {
    endpoint: Weak<Endpoint>,
    idle_timeout: Duration,
    /// The last used is at the end and used first, so that the others may grow old and go.
    #[expect(clippy::vec_box, reason = "a connection moves between pool and request many times")]
    idle: Vec<Box<ClientConn>>,
}

impl Pools {
    /// A connection on which a request may be sent now. What the endpoint closed meanwhile is dropped on the way, and
    /// so is what was idle for about as long as the endpoint keeps connections.
    pub fn take(
        &self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        endpoint: &Endpoint,
        now: Instant,
    ) -> Option<Box<ClientConn>> {
        let mut pools = self.0.borrow_mut();
        let pool = pools.get_mut(&endpoint.id)?;
        while let Some(mut conn) = pool.idle.pop() {
            let idle = now.saturating_duration_since(conn.idle_since);
            if !conn.is_quiet(cx, scratch) {
                endpoint.closed_after(idle, now);
                continue;
            }
            endpoint.kept_open_for(idle);
            if idle < trusted_for(&conn, endpoint, pool.idle_timeout, now) {
                conn.channel.wire.rise(scratch);
                return Some(conn);
            }
        }
        None
    }

    /// Gives a connection back for the next request.
    pub fn give(
        &self,
        scratch: &Scratch,
        endpoint: &Arc<Endpoint>,
        limits: &UpstreamLimits,
        mut conn: Box<ClientConn>,
        now: Instant,
    ) {
        conn.idle_since = now;
        conn.exchanges = conn.exchanges.saturating_add(1);
        let mut pools = self.0.borrow_mut();
        let pool = pools.entry(endpoint.id).or_insert_with(|| Pool {
            endpoint: Arc::downgrade(endpoint),
            idle_timeout: limits.idle_timeout,
            idle: Vec::new(),
        });
        // The endpoint may have lived through a reload.
        pool.idle_timeout = limits.idle_timeout;
        if pool.idle.len() < limits.max_idle {
            conn.channel.wire.rest(scratch);
            pool.idle.push(conn);
        }
    }

    /// Closes what has been idle for too long and what leads to endpoints that are gone.
    pub fn sweep(&self, cx: &mut Context<'_>, scratch: &Scratch, now: Instant) {
        self.0.borrow_mut().retain(|_, pool| {
            let Some(endpoint) = pool.endpoint.upgrade() else { return false };
            pool.idle.retain_mut(|conn| {
                let idle = now.saturating_duration_since(conn.idle_since);
                let quiet = conn.is_quiet(cx, scratch);
                if !quiet {
                    endpoint.closed_after(idle, now);
                }
                quiet && idle < trusted_for(conn, &endpoint, pool.idle_timeout, now)
            });
            true
        });
    }
}

fn trusted_for(conn: &ClientConn, endpoint: &Endpoint, idle_timeout: Duration, now: Instant) -> Duration {
    let told = conn.kept_for.unwrap_or(Duration::MAX);
    idle_timeout.min(told).min(endpoint.kept_for(now))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use outrigger_config::defaults;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_reload_of_the_idle_timeout_reaches_endpoints_that_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, now) = (listener.local_addr().unwrap(), Instant::now());
        let (pools, scratch, endpoint) = (Pools::default(), Scratch::default(), Endpoint::new(addr, now));
        for (seconds, is_kept) in [(60, true), (1, false), (60, true)] {
            let limits =
                UpstreamLimits { idle_timeout: Duration::from_secs(seconds), ..defaults::UPSTREAM_LIMITS };
            let conn = ClientConn::new(TcpStream::connect(addr).await.unwrap(), now);
            pools.give(&scratch, &endpoint, &limits, Box::new(conn), now);
            let later = now + Duration::from_secs(2);
            let taken = poll_fn(|cx| Poll::Ready(pools.take(cx, &scratch, &endpoint, later))).await;
            assert_eq!(taken.is_some(), is_kept, "{seconds} s");
        }
    }
}
