//! Who are the endpoints of a DNS name now?
//!
//! [`Resolver`] asks, [`Schedule`] decides what an answer or a failure means and when to ask again, [`watch`]
//! joins them and tells the upstream. DNS is only ever asked here, never by a request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

pub use self::resolver::{BadNameserver, Found, LookupError, Resolver};
use self::schedule::{Bounds, Due, Schedule};
use crate::clock::now;

mod resolver;
pub mod schedule;

#[cfg(test)]
mod tests;

/// What is known of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Whom to call: sorted and unique, so that equal sets are equal. Empty before the first answer, and when
    /// the last good one has served stale for too long.
    pub endpoints: Vec<SocketAddr>,
    /// When the last good answer came, if ever.
    pub answered_at: Option<Instant>,
    /// Its TTL after clamping; zero when nothing serves.
    pub ttl: Duration,
    /// When the resolver first failed after that answer, if it did.
    pub failing_since: Option<Instant>,
    /// Why the last question had no good answer.
    pub error: Option<String>,
}

impl Update {
    /// The resolver failed since the last good answer.
    pub fn is_stale(&self) -> bool {
        self.failing_since.is_some()
    }
}

/// Keeps `name` resolved, and calls `publish` after each answer, each failure, and when a stale set expires
/// (late by one lookup at most). The first question goes out at once. Ends only by being dropped.
///
/// `stale_for` counts from the first failure after a good answer (LB-11), though the last generation met both: that is
/// what is `known`.
pub async fn watch(
    resolver: Resolver,
    name: String,
    port: u16,
    stale_for: Duration,
    known: Option<Update>,
    publish: impl FnMut(Update),
) {
    let schedule = Schedule::resume(known, stale_for, Bounds::DEFAULT, now());
    drive(schedule, resolver, name, port, publish).await;
}

async fn drive(
    mut schedule: Schedule,
    resolver: Resolver,
    name: String,
    port: u16,
    mut publish: impl FnMut(Update),
) {
    let mut error = None;
    loop {
        match schedule.due(now()) {
            Due::Nothing => {
                sleep_until(schedule.next_wakeup().into()).await;
                continue;
            }
            Due::Refresh => error = refresh(&mut schedule, &resolver, &name, port).await,
            Due::Expired => tracing::error!(name, "DNS still fails: the last good endpoints serve no more"),
        }
        publish(snapshot(&schedule, error.clone()));
    }
}

/// Asks once. The failure, if it is one.
async fn refresh(schedule: &mut Schedule, resolver: &Resolver, name: &str, port: u16) -> Option<String> {
    match resolver.lookup(name).await {
        Ok(Found { addresses, ttl }) => {
            let endpoints = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
            schedule.on_answer(endpoints, ttl, now(), fastrand::f64());
            None
        }
        Err(error) => {
            tracing::warn!(name, %error, "DNS gave no endpoints");
            schedule.on_failure(now(), fastrand::f64());
            Some(error.to_string())
        }
    }
}

fn snapshot(schedule: &Schedule, error: Option<String>) -> Update {
    let serving = schedule.serving();
    Update {
        endpoints: serving.map(|answer| answer.endpoints.clone()).unwrap_or_default(),
        answered_at: schedule.answered_at(),
        ttl: serving.map(|answer| answer.ttl).unwrap_or_default(),
        failing_since: schedule.failing_since(),
        error,
    }
}
