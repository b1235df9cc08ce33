//! How do octets move? A socket, what was read ahead, and what is still to be written.
//!
//! Reading goes through one scratch buffer of the worker, so an idle connection holds none. Writing goes straight to the
//! socket; only what the kernel doesn't take waits here, and nothing more is read for it until it has left.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most that one read takes, and so the most that one direction of a connection buffers.
pub const READ_SIZE: usize = 32 * 1024;
/// Up to here, content is copied behind what waits, to leave in one `send` (cheaper than `writev` for small pieces).
const GATHER: usize = 4 * 1024;
/// Octets of the chunks in which heads are held: a long exchange keeps no more than one alive.
const HEADS: usize = 16 * 1024;
/// Maps and buffers that are kept for the next connections, and the room that one may have.
const SPARE: usize = 64;
const SPARE_FIELDS: usize = 64;
const SPARE_BYTES: usize = 2 * 1024;

/// Memory of the worker that connections use in turn, so that an idle one holds none and a busy one allocates none.
#[derive(Debug, Default)]
pub struct Scratch {
    read: RefCell<Box<[u8]>>,
    heads: RefCell<Heads>,
    maps: RefCell<Vec<HeaderMap>>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Scratch {
    /// Lends the read buffer, within one poll, never across a wait.
    pub fn lend<R>(&self, to: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut read = self.read.borrow_mut();
        if read.is_empty() {
            *read = vec![0; READ_SIZE].into_boxed_slice();
        }
        to(&mut read)
    }

    /// A copy of a head for its fields to share.
    pub fn hold(&self, head: &[u8]) -> Bytes {
        self.heads.borrow_mut().hold(head)
    }

    /// An empty map with room in it.
    pub fn map(&self) -> HeaderMap {
        self.maps.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a map back that is needed no more.
    pub fn recycle(&self, mut map: HeaderMap) {
        let mut spare = self.maps.borrow_mut();
        if spare.len() < SPARE && map.capacity() <= SPARE_FIELDS {
            map.clear();
            spare.push(map);
        }
    }

    fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SPARE_BYTES))
    }

    fn recycle_buffer(&self, buffer: Vec<u8>) {
        let mut spare = self.buffers.borrow_mut();
        if spare.len() < SPARE && (1..=SPARE_BYTES * 8).contains(&buffer.capacity()) {
            spare.push(buffer);
        }
    }
}

/// Heads lie one behind the other in a chunk, and chunks are used in turn, so that their memory stays warm. One that is
/// still needed when its turn comes is left to those who need it.
#[derive(Debug, Default)]
struct Heads {
    chunks: [BytesMut; 4],
    turn: usize,
}

impl Heads {
    fn hold(&mut self, head: &[u8]) -> Bytes {
        if self.chunks[self.turn].capacity() < head.len() {
            self.turn = (self.turn + 1) % self.chunks.len();
            let chunk = &mut self.chunks[self.turn];
            if !chunk.try_reclaim(HEADS.max(head.len())) {
                *chunk = BytesMut::with_capacity(HEADS.max(head.len()));
            }
        }
        let chunk = &mut self.chunks[self.turn];
        chunk.extend_from_slice(head);
        chunk.split().freeze()
    }
}

/// One connection's octets.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    ahead: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    eof: bool,
    blocked: bool,
}

impl Wire {
    /// Over a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new(), out: Vec::new(), sent: 0, eof: false, blocked: false }
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
        let mut buf = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let count = buf.filled().len();
        self.eof = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Where a head or chunk is put together; leaves with the next [`push`](Self::push) or flush.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.out.len()
    }

    /// The peer doesn't take what we have: nothing more should be read for it.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Takes all of `data`: what is small waits for more behind what waits already, and so does what the socket doesn't
    /// take now. Whoever has no more for now flushes.
    pub fn push(&mut self, cx: &mut Context<'_>, data: &[u8]) -> io::Result<()> {
        if !self.is_flushed() && self.out.len() - self.sent + data.len() <= GATHER {
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
            self.reset_if_flushed();
        }
        self.out.extend_from_slice(data);
        Ok(())
    }

    /// Ready once nothing waits.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_flushed() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, &self.out[self.sent..])
            else {
                self.blocked = true;
                return Poll::Pending;
            };
            self.sent += nonzero(written?)?;
        }
        self.reset_if_flushed();
        Poll::Ready(Ok(()))
    }

    /// Ends our direction.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Lets the socket be reset, not ended, when it is dropped.
    pub fn reset(&mut self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Lays its buffers down while nothing happens.
    pub fn rest(&mut self, scratch: &Scratch) {
        for buffer in [&mut self.ahead, &mut self.out] {
            if buffer.is_empty() {
                scratch.recycle_buffer(std::mem::take(buffer));
            }
        }
    }

    /// Takes buffers up for an exchange.
    pub fn rise(&mut self, scratch: &Scratch) {
        for buffer in [&mut self.ahead, &mut self.out] {
            if buffer.capacity() == 0 {
                *buffer = scratch.buffer();
            }
        }
    }

    fn reset_if_flushed(&mut self) {
        if self.is_flushed() {
            self.out.clear();
            self.sent = 0;
            self.blocked = false;
        }
    }
}

fn nonzero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}
