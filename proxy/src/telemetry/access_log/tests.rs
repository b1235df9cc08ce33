//! Does the log hold what it promises of volume, content and waiting? (OB-3)

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const WORKER: WorkerId = WorkerId::new(0);
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Announces each write and takes it only when told how it ends.
struct Gate(Sender<()>, Receiver<io::Result<()>>);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        self.1.recv().unwrap_or(Ok(())).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn config() -> model::AccessLog {
    model::AccessLog {
        enabled: true,
        success_sample: 0.01,
        slower_than: Duration::from_millis(500),
        max_bytes_per_second: 1 << 20,
    }
}

fn record() -> Record<'static> {
    Record {
        time: SystemTime::UNIX_EPOCH,
        direction: model::Direction::Outbound,
        peer: ([127, 0, 0, 1], 4000).into(),
        identity: None,
        protocol: None,
        method: Some(Text(b"GET")),
        authority: Text(b"market-data"),
        path: Some(Path(b"/prices?token=secret")),
        route: "prices",
        upstream: Some("market-data"),
        endpoint: Some(([10, 0, 0, 5], 8000).into()),
        status: 503,
        grpc_status: None,
        flag: Flag::UpstreamOverflow,
        reason: Some("breaker-open"),
        stand_in: None,
        attempts: 2,
        request_id: Some(Text(b"abc")),
        trace_id: trace_id(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        bytes_in: 0,
        bytes_out: 42,
        duration: Duration::from_micros(12_345),
        generation: 7,
    }
}

/// The line as JSON; there must be exactly one.
fn line(record: &Record) -> Value {
    let line = record.to_line().unwrap();
    assert_eq!(line.iter().filter(|byte| **byte < 0x20).count(), 1, "one control character: the line feed");
    serde_json::from_slice(&line).unwrap()
}

fn log(
    config: &model::AccessLog,
    out: impl Write + Send + 'static,
) -> (AccessLog, SinkEnd, Counter, Instant) {
    let (dropped, now) = (Counter::new(1), Instant::now());
    let (sink, end) = LineSink::spawn(Box::new(out), dropped.clone()).unwrap();
    (AccessLog::new(config, sink, dropped.clone(), now), end, dropped, now)
}

#[test]
fn ob_3_failures_and_slow_ones_always_and_a_share_of_the_rest() {
    let (log, ..) = log(&config(), io::sink());
    let (quick, slow) = (Duration::from_millis(1), Duration::from_millis(500));
    assert!(log.wants(500, Flag::None, quick, 0.99), "a failure by status");
    assert!(log.wants(0, Flag::None, quick, 0.99), "no status at all");
    assert!(log.wants(429, Flag::RateLimited, quick, 0.99), "a failure by flag");
    assert!(log.wants(200, Flag::None, slow, 0.99), "slow");
    assert!(log.wants(200, Flag::None, quick, 0.009), "drawn");
    assert!(!log.wants(200, Flag::None, quick, 0.01), "not drawn");
    assert!(!log.wants(404, Flag::None, quick, 0.99), "the application's own 404 is no failure");
}

#[test]
fn ob_3_off_writes_nothing() {
    let (log, ..) = log(&model::AccessLog { enabled: false, ..config() }, io::sink());
    assert!(!log.wants(500, Flag::UpstreamTimeout, Duration::MAX, 0.0));
}

#[test]
fn ob_3_the_byte_cap_drops_and_counts() {
    let one = record().to_line().unwrap().len() as u64;
    let page = Page::default();
    let (log, end, dropped, now) =
        log(&model::AccessLog { max_bytes_per_second: 3 * one, ..config() }, page.clone());
    for _ in 0..10 {
        log.write(WORKER, &record(), now);
    }
    assert_eq!(dropped.get(), 7);
    log.write(WORKER, &record(), now + Duration::from_secs(1));
    drop(log);
    assert!(end.wait(PATIENCE));
    assert_eq!(page.text().lines().count(), 4);
    assert_eq!(dropped.get(), 7);
}

#[test]
fn ob_3_a_stuck_reader_never_stops_a_worker() {
    let (entered, inside) = channel();
    let (release, gate) = channel();
    let (log, end, dropped, now) =
        log(&model::AccessLog { max_bytes_per_second: u64::MAX, ..config() }, Gate(entered, gate));
    log.write(WORKER, &record(), now);
    inside.recv_timeout(PATIENCE).unwrap();
    // The writer's thread is stuck with that line: what follows fills the queue, then is dropped.
    for _ in 0..1024 + 5 {
        log.write(WORKER, &record(), now);
    }
    assert_eq!(dropped.get(), 5);
    assert!(!end.wait(Duration::ZERO), "not all is written yet");
    drop((release, log));
    assert!(end.wait(PATIENCE));
    assert_eq!(dropped.get(), 5);
}

#[test]
fn ob_3_what_the_reader_refuses_is_counted() {
    let (entered, _inside) = channel();
    let (release, gate) = channel();
    release.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
    let (log, end, dropped, now) = log(&config(), Gate(entered, gate));
    log.write(WORKER, &record(), now);
    drop((release, log));
    assert!(end.wait(PATIENCE));
    assert_eq!(dropped.get(), 1);
}

#[test]
fn a_line_says_it_all_and_no_query() {
    assert_eq!(
        line(&record()),
        serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z", "direction": "outbound", "peer": "127.0.0.1:4000",
            "method": "GET", "authority": "market-data", "path": "/prices", "route": "prices",
            "upstream": "market-data", "endpoint": "10.0.0.5:8000", "status": 503, "flag": "UO",
            "reason": "breaker-open", "attempts": 2, "request_id": "abc",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "bytes_in": 0, "bytes_out": 42,
            "duration_ms": 12.345, "generation": 7,
        })
    );
}

#[test]
fn a_trace_id_is_valid_or_absent() {
    for invalid in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01",
    ] {
        assert_eq!(trace_id(invalid.as_bytes()), None, "{invalid}");
    }
}

proptest! {
    /// Whatever a peer sends, the log stays one line of JSON of bounded length.
    #[test]
    fn ob_3_no_peer_can_forge_a_line(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let text = Text(&bytes);
        let value = line(&Record {
            method: Some(text),
            authority: text,
            request_id: Some(text),
            path: Some(Path(&bytes)),
            ..record()
        });
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned();
        prop_assert_eq!(&value["request_id"], &Value::String(shown));
        prop_assert!(!value["path"].as_str().unwrap().contains('?'));
    }
}
