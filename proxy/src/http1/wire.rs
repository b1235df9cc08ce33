//! How do octets move? A socket, what was read ahead, and what is still to be written.
//!
//! Reading goes through one scratch buffer of the worker, so an idle connection holds none. Writing goes straight to the
//! socket; only what the kernel doesn't take waits here, and nothing more is read for it until it has left.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::message::Scratch;
use crate::tls::Stream;

/// Up to here, content is copied behind what waits, to leave in one `send` (cheaper than `writev` for small pieces).
const GATHER: usize = 4 * 1024;

/// One connection's octets.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    ahead: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    eof: bool,
    blocked: bool,
}

impl Wire {
    /// Over a connected socket.
    pub fn new(stream: impl Into<Stream>) -> Self {
        Self {
            stream: stream.into(),
            ahead: Vec::new(),
            out: Vec::new(),
            sent: 0,
            eof: false,
            blocked: false,
        }
    }

    /// Its socket and what was read ahead.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Its socket.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What was read and not used.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// The peer has ended its direction.
    pub fn is_eof(&self) -> bool {
        self.eof
    }

    /// Gives back what was read too far.
    pub fn unread(&mut self, rest: &[u8]) {
        if self.ahead.is_empty() {
            self.ahead.extend_from_slice(rest);
        } else {
            self.ahead.splice(..0, rest.iter().copied());
        }
    }

    /// Drops the first `count` octets of what was read ahead.
    pub fn consume(&mut self, count: usize) {
        self.ahead.drain(..count);
    }

    /// The next octets, from what was read ahead or from the socket; 0: the peer has ended.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(into.len());
            into[..count].copy_from_slice(&self.ahead[..count]);
            self.consume(count);
            return Poll::Ready(Ok(count));
        }
        self.poll_socket(cx, into)
    }

    /// Reads behind what was read ahead; the count of new octets, 0: the peer has ended.
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_socket(cx, scratch))?;
        self.ahead.extend_from_slice(&scratch[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(self.stream.poll_octets(cx, into))?;
        self.eof = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Where a head or chunk is put together; leaves with the next [`push`](Self::push) or flush.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.out.len() && self.stream.is_flushed()
    }

    /// The peer doesn't take what we have: nothing more should be read for it.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes all of `data`: what is small waits for more behind what waits already, and so does what the socket doesn't
    /// take now. Whoever has no more for now flushes.
    pub fn push(&mut self, cx: &mut Context<'_>, data: &[u8]) -> io::Result<()> {
        let waiting = self.out.len() - self.sent;
        if waiting > 0 && waiting + data.len() <= GATHER {
            self.out.extend_from_slice(data);
            return Ok(());
        }
        let mut data = data;
        while !data.is_empty() {
            let slices = [IoSlice::new(&self.out[self.sent..]), IoSlice::new(data)];
            let written = if slices[0].is_empty() {
                Pin::new(&mut self.stream).poll_write(cx, data)
            } else {
                Pin::new(&mut self.stream).poll_write_vectored(cx, &slices)
            };
            let Poll::Ready(written) = written else {
                self.blocked = true;
                break;
            };
            let written = nonzero(written?)?;
            let queued = (self.out.len() - self.sent).min(written);
            self.sent += queued;
            data = &data[written - queued..];
            self.reset_if_written();
        }
        self.out.extend_from_slice(data);
        self.blocked |= !self.stream.is_flushed();
        Ok(())
    }

    /// Ready once nothing waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..])
            else {
                self.blocked = true;
                return Poll::Pending;
            };
            self.sent += nonzero(written?)?;
        }
        self.reset_if_written();
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.blocked = flushed.is_pending();
        flushed
    }

    /// Ends our direction.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Lets the socket be reset, not ended, when it is dropped.
    pub fn reset(&mut self) {
        self.stream.reset();
    }

    /// Lays its buffers down while nothing happens.
    pub fn rest(&mut self, scratch: &Scratch) {
        self.stream.rest();
        for buffer in [&mut self.ahead, &mut self.out] {
            if buffer.is_empty() {
                scratch.recycle_buffer(std::mem::take(buffer));
            }
        }
    }

    /// Takes buffers up for an exchange.
    pub fn rise(&mut self, scratch: &Scratch) {
        self.stream.rise();
        for buffer in [&mut self.ahead, &mut self.out] {
            if buffer.capacity() == 0 {
                *buffer = scratch.buffer();
            }
        }
    }

    fn reset_if_written(&mut self) {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            self.blocked = false;
        }
    }
}

fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}
