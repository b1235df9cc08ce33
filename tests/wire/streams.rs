//! How much of a stream is held on the way? What one read brings, and no more.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::scripted::Upstream;
use crate::support::sidecar::Sidecar;
use crate::support::{PATIENCE, eventually};

const WHOLE: usize = 64 << 20;
/// More than kernel buffers of a loopback connection and the proxy together may hold.
const FLAT_KIB: u64 = 4 << 10;

/// Waits until the counter stands still; answers where.
fn comes_to_rest(counter: &AtomicUsize) -> usize {
    let (mut last, mut same) = (0, 0);
    eventually("the stream stops", || {
        let now = counter.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        thread::sleep(Duration::from_millis(10));
        same > 10
    });
    last
}

/// Writes a whole stream, counting.
fn pour(mut into: impl Write, written: &AtomicUsize) {
    let piece = vec![b'x'; 64 << 10];
    while written.load(Ordering::SeqCst) < WHOLE {
        let Ok(count) = into.write(&piece) else { return };
        written.fetch_add(count, Ordering::SeqCst);
    }
}

#[test]
fn limit_buffered_per_direction_of_an_answer() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let origin = Upstream::new(move |call| {
        call.request();
        call.peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {WHOLE}\r\n\r\n"));
        call.peer.stream.set_write_timeout(Some(PATIENCE * 3)).expect("it is open");
        pour(&call.peer.stream, &counter);
    });
    let sidecar = Sidecar::before(origin.addr);
    let before = sidecar.resident();
    let mut peer = sidecar.calls_out();
    peer.send(super::GET);
    let stopped = comes_to_rest(&written);
    assert!(stopped < WHOLE, "the upstream is not held back");
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
    assert_eq!(peer.message().body.len(), WHOLE, "and all of it arrives when it is read");
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
}

#[test]
fn limit_buffered_per_direction_of_an_upload() {
    let read = Arc::new(AtomicUsize::new(0));
    let go = Arc::new(AtomicUsize::new(0));
    let (counter, gate) = (Arc::clone(&read), Arc::clone(&go));
    let origin = Upstream::new(move |call| {
        call.head();
        while gate.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = call.peer.stream.read(&mut buffer) {
            if counter.fetch_add(count, Ordering::SeqCst) + count >= WHOLE - (64 << 10) {
                break;
            }
        }
        call.peer.send(super::OK);
        call.peer.rest();
    });
    let sidecar = Sidecar::before(origin.addr);
    let before = sidecar.resident();
    let mut peer = sidecar.calls_out();
    peer.send(format!("POST / HTTP/1.1\r\nhost: origin\r\ncontent-length: {WHOLE}\r\n\r\n"));
    let written = Arc::new(AtomicUsize::new(0));
    let (counter, stream) = (Arc::clone(&written), peer.stream.try_clone().expect("a descriptor can be had"));
    let pouring = thread::spawn(move || pour(stream, &counter));
    assert!(comes_to_rest(&written) < WHOLE, "the client is not held back");
    assert!(sidecar.resident() < before + FLAT_KIB, "{} of {before} KiB", sidecar.resident());
    go.store(1, Ordering::SeqCst);
    assert_eq!(peer.message().status(), 200);
    pouring.join().expect("all is written");
}

#[test]
fn content_flows_as_it_comes() {
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Upstream::new(move |call| {
        call.request();
        call.peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        for _ in 0..3 {
            call.peer.send("data: 1\n\n");
            let _ = told.lock().expect("one connection holds it").recv_timeout(PATIENCE);
        }
    });
    let sidecar = Sidecar::before(origin.addr);
    let mut peer = sidecar.calls_out();
    peer.send(super::GET).head();
    for _ in 0..3 {
        assert_eq!(peer.exactly(3 + 9 + 2).expect("an event comes"), b"9\r\ndata: 1\n\n\r\n");
        tell.send(()).expect("the origin waits for it before the next event");
    }
}
