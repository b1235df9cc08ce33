//! Who writes the lines, and what if it is slow? A thread behind a bounded queue.

use std::io::{self, Write};
use std::iter;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use super::super::cells::{Counter, WorkerId};

/// Lines that may wait; some 400 KiB of usual ones.
const QUEUE: usize = 1024;

/// Where lines go. Clones lead to the same writer.
#[derive(Debug, Clone)]
pub struct LineSink(SyncSender<Vec<u8>>);

/// Tells when everything was written.
#[derive(Debug)]
pub struct SinkEnd(Receiver<()>);

impl LineSink {
    /// Starts the writer's thread. It ends when the last clone of the sink is gone and the queue is empty. `lost`
    /// counts lines that `out` refused.
    pub fn spawn(out: Box<dyn Write + Send>, lost: Counter) -> io::Result<(Self, SinkEnd)> {
        let (sender, lines) = sync_channel(QUEUE);
        let (done, end) = channel::<()>();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_all(&lines, out, &lost);
            drop(done);
        })?;
        Ok((Self(sender), SinkEnd(end)))
    }

    /// Hands a line over unless the queue is full. Never waits.
    pub(super) fn send(&self, line: Vec<u8>) -> bool {
        self.0.try_send(line).is_ok()
    }
}

impl SinkEnd {
    /// Waits until every line was written, or so long. Drop all clones of the sink first.
    pub fn wait(&self, patience: Duration) -> bool {
        self.0.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Writes what waits, all of it in one call, until nobody can send any more.
fn write_all(lines: &Receiver<Vec<u8>>, mut out: Box<dyn Write + Send>, lost: &Counter) {
    let mut batch = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut count = 0;
        batch.clear();
        for line in iter::once(first).chain(lines.try_iter()).take(QUEUE) {
            batch.extend_from_slice(&line);
            count += 1;
        }
        if out.write_all(&batch).and_then(|()| out.flush()).is_err() {
            // How much of it arrived is unknown. A reader that went away may come back, so go on.
            lost.add(WorkerId::CONTROL, count);
        }
    }
}
