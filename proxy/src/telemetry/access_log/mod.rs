//! Which exchanges are written down, and how much may that cost? (OB-3)
//!
//! Every failure and every slow exchange, and a sample of the rest; below a cap in bytes a second; handed to a
//! writer's thread without ever waiting for it. What is not written is counted.

mod byte_cap;
mod record;
mod sink;
#[cfg(test)]
mod tests;
mod timestamp;

use std::time::{Duration, Instant};

use outrigger_config::model;

use self::byte_cap::ByteCap;
use super::cells::{Counter, WorkerId};
use super::metrics::Flag;

pub use self::record::{Path, Record, Text, trace_id};
pub use self::sink::{LineSink, SinkEnd};
pub use self::timestamp::rfc3339;

/// The access log as one generation wants it. The sink outlives generations.
#[derive(Debug)]
pub struct AccessLog {
    config: model::AccessLog,
    cap: ByteCap,
    sink: LineSink,
    dropped: Counter,
}

impl AccessLog {
    /// `dropped` counts the lines that the cap or a full queue kept back ([`super::Metrics::access_log_dropped`]);
    /// no `now` of a later call lies before this one.
    pub fn new(config: &model::AccessLog, sink: LineSink, dropped: Counter, now: Instant) -> Self {
        let cap = ByteCap::new(config.max_bytes_per_second, now);
        Self { config: config.clone(), cap, sink, dropped }
    }

    /// Whether this exchange is worth a line: a failure, slow, or drawn. `draw` is random in `0..1`. A status below
    /// 100 means that the caller saw none, which is a failure.
    pub fn wants(&self, status: u16, flag: Flag, took: Duration, draw: f64) -> bool {
        let failed = flag != Flag::None || !(100..500).contains(&status);
        self.config.enabled
            && (failed || took >= self.config.slower_than || draw < self.config.success_sample)
    }

    /// Writes one line, or counts it as dropped. Never waits.
    pub fn write(&self, worker: WorkerId, record: &Record, now: Instant) {
        // In a storm of failures the cap is long exhausted: do not serialise what cannot be written.
        let written = self.cap.has_room(now) && self.hand_over(record, now);
        if !written {
            self.dropped.inc(worker);
        }
    }

    fn hand_over(&self, record: &Record, now: Instant) -> bool {
        record.to_line().is_some_and(|line| self.cap.take(line.len(), now) && self.sink.send(line))
    }
}
