//! What may a peer make us do? Counts the frames that pass by, so that a flood is noticed whatever it consists of.
//!
//! The `h2` crate bounds what it keeps. It doesn't bound what it does: each of these frames is cheap to send and costs
//! its receiver an answer, a look-up or a stream (CVE-2019-9511 … 9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671).

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use outrigger_config::model::Http2Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::scan::{Kind, Scanner};
use super::tally::{Meter, Tally, WINDOW};
use crate::clock::now;

/// Error codes that say that the stream was broken by what came over it (RFC 9113 §7).
const PROVOKED: [u32; 4] = [1, 3, 5, REFUSED];
/// A stream more than were allowed.
const REFUSED: u32 = 7;
/// The peer behaves in a way that might be an attack.
const ENHANCE_YOUR_CALM: u32 = 11;

/// What is known of a connection without asking the codec.
#[derive(Debug)]
pub struct Watch {
    limits: Http2Limits,
    cut: Cell<Option<&'static str>>,
    resets: Cell<Meter>,
    read: Cell<u64>,
    written: Cell<u64>,
    refused: Cell<u32>,
    head_since: Cell<Option<Instant>>,
    settled: Cell<bool>,
    foreign: Cell<bool>,
    /// The peer knows what we allow.
    acknowledged: Cell<bool>,
    last_stream: Cell<Option<u32>>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    /// Of a connection with these limits.
    pub fn new(limits: Http2Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            cut: Cell::new(None),
            resets: Cell::default(),
            read: Cell::new(0),
            written: Cell::new(0),
            refused: Cell::new(0),
            head_since: Cell::new(None),
            settled: Cell::new(false),
            foreign: Cell::new(false),
            acknowledged: Cell::new(false),
            last_stream: Cell::new(None),
            waker: RefCell::default(),
        })
    }

    /// The limit that the peer has passed; nothing more is read from it.
    pub fn cut(&self) -> Option<&'static str> {
        self.cut.get()
    }

    /// As [`cut`](Self::cut); wakes the task when it comes to it.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<&'static str> {
        if let Some(limit) = self.cut.get() {
            return Poll::Ready(limit);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A stream ended without an answer, by the peer's doing.
    pub fn on_reset(&self) {
        let mut resets = self.resets.get();
        if resets.is_over(self.limits.resets, WINDOW) {
            self.cut_off("http2-resets");
        }
        self.resets.set(resets);
    }

    /// Octets read and written so far.
    pub fn moved(&self) -> [u64; 2] {
        [self.read.get(), self.written.get()]
    }

    /// Streams that the codec refused since this was asked last: more than were allowed.
    pub fn take_refused(&self) -> u32 {
        self.refused.take()
    }

    /// Since when the head, or other frame without content, has been coming of which there is only a part.
    pub fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    /// The peer has said what it allows.
    pub fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// What the peer says is not HTTP/2, which begins with SETTINGS (RFC 9113 §3.4).
    pub fn is_foreign(&self) -> bool {
        self.foreign.get()
    }

    /// The last stream that a peer which is leaving has begun with (RFC 9113 §6.8).
    pub fn last_stream(&self) -> Option<u32> {
        self.last_stream.get()
    }

    fn cut_off(&self, limit: &'static str) {
        if self.cut.get().is_none() {
            self.cut.set(Some(limit));
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The limit for which the codec cuts a peer off by itself. It says which in the text of its GOAWAY only.
fn limit_of(text: &[u8]) -> &'static str {
    match text {
        b"too_many_data_fr" => "http2-empty-data",
        b"too_many_continu" => "http2-continuation",
        b"header_list_way_" => "http2-header-list",
        _ => "http2-resets",
    }
}

/// A connection's octets under watch.
#[derive(Debug)]
pub struct Guarded<T> {
    io: T,
    ahead: Vec<u8>,
    watch: Rc<Watch>,
    reads: Scanner,
    writes: Scanner,
    tally: Tally,
}

impl<T> Guarded<T> {
    /// The server's end; `ahead` was read of it already.
    pub fn server(io: T, ahead: Vec<u8>, watch: Rc<Watch>) -> Self {
        Self { ahead, ..Self::new(io, watch, [PREFACE.len(), 0]) }
    }

    /// The client's end.
    pub fn client(io: T, watch: Rc<Watch>) -> Self {
        Self::new(io, watch, [0, PREFACE.len()])
    }

    fn new(io: T, watch: Rc<Watch>, [read, written]: [usize; 2]) -> Self {
        let (reads, writes) = (Scanner::new(read), Scanner::new(written));
        Self { io, ahead: Vec::new(), watch, reads, writes, tally: Tally::default() }
    }

    fn on_read(&mut self, octets: &[u8]) {
        let (watch, tally) = (&self.watch, &mut self.tally);
        watch.read.set(watch.read.get() + octets.len() as u64);
        let mut began = false;
        self.reads.feed(octets, |frame| {
            began = true;
            if !watch.settled.get() && !matches!(frame.kind, Kind::Settings | Kind::GoAway) {
                watch.foreign.set(true);
            }
            if frame.kind == Kind::Settings {
                let heard = if frame.is_ack() { &watch.acknowledged } else { &watch.settled };
                heard.set(true);
            }
            if frame.kind == Kind::GoAway {
                // The highest bit is reserved.
                watch.last_stream.set(Some(frame.lead[0] & 0x7fff_ffff));
            }
            if let Some(limit) = tally.on_read(&frame, &watch.limits) {
                watch.cut_off(limit);
            }
        });
        let in_head = tally.is_in_head() || self.reads.is_inside() && !tally.is_in_data();
        // From its first octet: those that trickle put nothing off.
        let since = watch.head_since.get().filter(|_| !began);
        watch.head_since.set(in_head.then(|| since.unwrap_or_else(now)));
    }

    fn on_written(&mut self, octets: &[u8]) {
        let (watch, tally) = (&self.watch, &mut self.tally);
        watch.written.set(watch.written.get() + octets.len() as u64);
        self.writes.feed(octets, |frame| match frame.kind {
            Kind::Data => tally.on_sent(frame.length),
            // Resets that we are provoked to send cost as much as those that come (CVE-2025-8671).
            Kind::Reset if PROVOKED.contains(&frame.lead[0]) => {
                let refused = frame.lead[0] == REFUSED;
                watch.refused.update(|count| count + u32::from(refused));
                // Who doesn't know yet how many streams are allowed may well open more.
                if !refused || watch.acknowledged.get() {
                    watch.on_reset();
                }
            }
            Kind::GoAway if frame.lead[1] == ENHANCE_YOUR_CALM => watch.cut_off(limit_of(&frame.text)),
            _ => {}
        });
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.cut.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.ahead.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        } else {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.drain(..count);
        }
        this.on_read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_write(cx, octets))?;
        this.on_written(&octets[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, slices))?;
        let mut left = count;
        for slice in slices {
            let written = left.min(slice.len());
            this.on_written(&slice[..written]);
            left -= written;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
