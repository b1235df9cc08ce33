//! What does a caller see? Requests at a steady rate, and what became of each.
//!
//! The loop is open: a request is due when the clock says so, whether or not those before it were answered, and its time
//! counts from when it was due. A closed loop would ask less while things are slow, and so hide what it measures
//! (G. Tene's "coordinated omission").

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};

use super::http::Client;

/// Nobody waits longer for a page.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A caller: whom it calls, and what it saw.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    patience: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Of every answer, good or bad.
    times: Vec<Duration>,
    succeeded: usize,
}

/// What a caller saw, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Requests that have ended.
    pub requests: usize,
    /// Share of them that was answered with 2xx; `None` before the first.
    pub success_rate: Option<f64>,
    /// Median of the time to the answer, in milliseconds; whatever the answer was.
    pub p50_ms: Option<f64>,
    /// The time that 99 of 100 answers stay within, in milliseconds.
    pub p99_ms: Option<f64>,
}

impl Caller {
    /// Has seen nothing yet, and waits no longer than this.
    pub fn new(client: Client, patience: Duration) -> Arc<Self> {
        Arc::new(Self { client, patience, seen: Mutex::default() })
    }

    /// What it has seen so far.
    pub fn summary(&self) -> Summary {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        summarize(seen.times.clone(), seen.succeeded)
    }

    async fn call(&self, due: Instant) {
        let answer = timeout(self.patience, self.client.get("holdings", "/holdings")).await;
        let succeeded = matches!(answer, Ok(Ok(status)) if status.is_success());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.times.push(due.elapsed());
        seen.succeeded += usize::from(succeeded);
    }
}

/// Lets every caller call once a `period` for as long as `duration`, and waits for the answers.
pub async fn send(callers: &[Arc<Caller>], period: Duration, duration: Duration) {
    let mut calls = JoinSet::new();
    let began = Instant::now();
    let mut ticks = interval_at(began, period);
    loop {
        let due = ticks.tick().await;
        if due.duration_since(began) >= duration {
            break;
        }
        for caller in callers {
            let caller = Arc::clone(caller);
            calls.spawn(async move { caller.call(due).await });
        }
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

fn summarize(mut times: Vec<Duration>, succeeded: usize) -> Summary {
    let requests = times.len();
    let mut millis = |percent| percentile(&mut times, percent).map(|time| time.as_secs_f64() * 1e3);
    Summary {
        requests,
        success_rate: (requests > 0).then(|| share(succeeded as u64, requests as u64)),
        p50_ms: millis(50),
        p99_ms: millis(99),
    }
}

/// The smallest value that at least `percent` of 100 do not exceed (nearest rank); `None` of nothing.
fn percentile(times: &mut [Duration], percent: usize) -> Option<Duration> {
    let index = (times.len() * percent).div_ceil(100).checked_sub(1)?;
    Some(*times.select_nth_unstable(index).1)
}

/// `part` of `whole`, 0..=1.
#[expect(clippy::cast_precision_loss, reason = "a demonstration makes fewer than 2^53 requests")]
pub fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of =
            |times: std::ops::RangeInclusive<u64>, percent| percentile(&mut millis(times.rev()), percent);
        assert_eq!(of(1..=100, 50), Some(Duration::from_millis(50)));
        assert_eq!(of(1..=100, 99), Some(Duration::from_millis(99)));
        assert_eq!(of(1..=100, 100), Some(Duration::from_millis(100)));
        assert_eq!(of(1..=101, 99), Some(Duration::from_millis(100)));
        assert_eq!(of(7..=7, 1), Some(Duration::from_millis(7)));
        assert_eq!(of(7..=8, 50), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&mut [], 50), None);
    }

    #[test]
    fn a_summary_counts_every_answer() {
        let summary = summarize(millis([30, 10, 20, 40]), 3);
        let expected =
            Summary { requests: 4, success_rate: Some(0.75), p50_ms: Some(20.0), p99_ms: Some(40.0) };
        assert_eq!(summary, expected);
    }

    #[test]
    fn nothing_seen_is_no_success() {
        let expected = Summary { requests: 0, success_rate: None, p50_ms: None, p99_ms: None };
        assert_eq!(summarize(Vec::new(), 0), expected);
    }
}
