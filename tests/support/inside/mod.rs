//! How do minutes pass in a moment? Clients, sidecars and services in one thread, on one clock that stands while they work.
//!
//! [`run`] gives a scenario a `LocalRuntime` whose clock is paused: when nothing is ready, neither task nor socket, tokio
//! moves it to the next timer. Octets that are still in the kernel would be overtaken by that. Loopback delivers within the
//! system call that sends, so small messages never are; large ones may wait a millisecond for a window or an acknowledgement
//! (and forty where a peer has not switched Nagle's delay off). Before time moves, the thread therefore looks for octets many
//! times, and once more after a rest. The last look and the move are one step on one thread: a busy machine makes a scenario
//! slow, never wrong.

pub mod service;
pub mod sidecar;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Looks at the sockets that cost nothing, for each that costs a rest: a scenario that is at work pays for few rests.
const LOOKS: u32 = 63;
/// In virtual time, what no scenario lasts for unless it hangs.
const END: Duration = Duration::from_mins(30);

/// Plays a scenario to its end. What it spawns with `spawn_local` ends with it.
///
/// Each move to the next timer costs a `rest` of real time: a millisecond where large messages travel, else none.
pub fn run<T>(rest: Duration, scenario: impl Future<Output = T>) -> T {
    let look = Arc::new(Notify::new());
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(parking(rest, Arc::clone(&look)))
        .build_local(LocalOptions::default())
        .expect("a runtime can be had");
    runtime.block_on(async {
        tokio::task::spawn_local(async move {
            loop {
                look.notified().await;
            }
        });
        timeout(END, scenario).await.expect("the scenario comes to an end")
    })
}

/// What the thread does when nothing is ready. With a task to wake, tokio looks at the sockets and leaves the clock alone.
fn parking(rest: Duration, look: Arc<Notify>) -> impl Fn() + Send + Sync {
    let looked = AtomicU32::new(0);
    move || {
        if looked.fetch_add(1, Ordering::Relaxed) % (LOOKS + 1) < LOOKS {
            look.notify_one();
        } else if !rest.is_zero() {
            thread::sleep(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant as Real;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, sleep};

    use super::*;

    const REST: Duration = Duration::from_millis(1);

    #[test]
    fn time_passes_in_order_and_in_no_time() {
        let (began, long) = (Real::now(), Duration::from_mins(15));
        run(Duration::ZERO, async {
            let start = Instant::now();
            let late = tokio::task::spawn_local(async move {
                sleep(long).await;
                start.elapsed()
            });
            sleep(long / 3).await;
            assert_eq!(start.elapsed(), long / 3);
            assert_eq!(late.await.unwrap(), long);
        });
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    /// Hundreds of exchanges, large and small, while somebody counts milliseconds: none passes.
    #[test]
    fn time_waits_for_octets() {
        run(REST, async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            tokio::task::spawn_local(async move {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut from, mut to) = stream.into_split();
                tokio::io::copy(&mut from, &mut to).await
            });
            let start = Instant::now();
            tokio::task::spawn_local(async {
                loop {
                    sleep(Duration::from_millis(1)).await;
                }
            });
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut from, mut to) = stream.split();
            for length in [1, 1000, 100_000].repeat(100) {
                let (said, mut heard) = (vec![7; length], vec![0; length]);
                let (sent, _) = tokio::join!(to.write_all(&said), from.read_exact(&mut heard));
                sent.unwrap();
                assert!(said == heard);
            }
            assert_eq!(start.elapsed(), Duration::ZERO);
        });
    }
}
