//! What may a peer make us do? Counts the frames that pass by, so that a flood is noticed whatever it consists of.
//!
//! The `h2` crate bounds what it keeps. It doesn't bound what it does: each of these frames is cheap to send and costs
//! its receiver an answer, a look-up or a stream (CVE-2019-9511 … 9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671).

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use outrigger_config::model::Http2Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::scan::{Frame, Kind, Scanner};
use crate::clock::now;

/// Over which resets, window updates and frames without effect are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Frames of a kind that are allowed in a [`WINDOW`] whatever else passes.
const FREE: u32 = 1000;
/// Beside those, per request: some clients send a few before each.
const PER_REQUEST: u32 = 4;
/// Beside those, one window update for as many octets of content: less is not worth a frame.
const OCTETS_PER_UPDATE: u32 = 256;
/// What a long quiet time can save up for later.
const MOST: u32 = 1_000_000;
/// CONTINUATION frames that a head may be split into.
const MAX_CONTINUATIONS: u32 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes that say that the stream was broken by what came over it (RFC 9113 §7).
const PROVOKED: [u32; 4] = [1, 3, 5, 7];

/// What is known of a connection without asking the codec.
#[derive(Debug)]
pub struct Watch {
    limits: Http2Limits,
    cut: Cell<Option<&'static str>>,
    resets: Cell<Meter>,
    read: Cell<u64>,
    written: Cell<u64>,
    unfinished: Cell<bool>,
    settled: Cell<bool>,
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
            unfinished: Cell::new(false),
            settled: Cell::new(false),
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

    /// Some of a frame or of a head has come, and not all of it.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished.get()
    }

    /// The peer has said what it allows.
    pub fn is_settled(&self) -> bool {
        self.settled.get()
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

/// Counts what happens in a span of time.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    count: u32,
    since: Option<Instant>,
}

impl Meter {
    /// One more; is it too many? Asks for the time only when it could be.
    fn is_over(&mut self, limit: u32, per: Duration) -> bool {
        self.count = self.count.saturating_add(1);
        let since = *self.since.get_or_insert_with(now);
        if self.count <= limit {
            return false;
        }
        let now = now();
        if now.saturating_duration_since(since) < per {
            return true;
        }
        *self = Self { count: 1, since: Some(now) };
        false
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

/// What has come so far.
#[derive(Debug, Default)]
struct Tally {
    control: Meter,
    updates: Meter,
    idle: Meter,
    empty: u32,
    continuations: u32,
    in_head: bool,
    /// DATA frames that have gone out since PING and SETTINGS were counted anew.
    sent: u32,
    /// What allows frames beyond [`FREE`], since the respective count began.
    credit: Credit,
}

#[derive(Debug, Default, Clone, Copy)]
struct Credit {
    requests: u32,
    octets: u64,
}

impl<T> Guarded<T> {
    /// The server's end; `ahead` was read of it already.
    pub fn server(io: T, ahead: Vec<u8>, watch: Rc<Watch>) -> Self {
        Self::new(io, ahead, watch, [PREFACE.len(), 0])
    }

    /// The client's end.
    pub fn client(io: T, watch: Rc<Watch>) -> Self {
        Self::new(io, Vec::new(), watch, [0, PREFACE.len()])
    }

    fn new(io: T, ahead: Vec<u8>, watch: Rc<Watch>, [read, written]: [usize; 2]) -> Self {
        let (reads, writes) = (Scanner::new(read), Scanner::new(written));
        Self { io, ahead, watch, reads, writes, tally: Tally::default() }
    }

    fn on_read(&mut self, octets: &[u8]) {
        let (watch, tally) = (&self.watch, &mut self.tally);
        watch.read.set(watch.read.get() + octets.len() as u64);
        self.reads.feed(octets, |frame| {
            if let Some(limit) = tally.on_read(&frame, watch) {
                watch.cut_off(limit);
            }
        });
        watch.unfinished.set(self.reads.is_inside() || tally.in_head);
    }

    fn on_written(&mut self, octets: &[u8]) {
        let (watch, tally) = (&self.watch, &mut self.tally);
        watch.written.set(watch.written.get() + octets.len() as u64);
        self.writes.feed(octets, |frame| match frame.kind {
            Kind::Data => {
                tally.credit.octets += u64::from(frame.length);
                tally.sent = tally.sent.saturating_add(1).min(FREE);
            }
            // Resets that we are provoked to send cost as much as those that come (CVE-2025-8671).
            Kind::Reset if PROVOKED.contains(&frame.lead[0]) => watch.on_reset(),
            _ => {}
        });
    }
}

impl Tally {
    /// The limit that a frame passes.
    fn on_read(&mut self, frame: &Frame, watch: &Watch) -> Option<&'static str> {
        let limits = &watch.limits;
        match frame.kind {
            Kind::Data if frame.length == 0 && frame.flags & END_STREAM == 0 => {
                self.empty += 1;
                (self.empty > limits.empty_data).then_some("http2-empty-data")
            }
            Kind::Data => {
                self.empty = 0;
                None
            }
            Kind::Headers => {
                self.credit.requests = self.credit.requests.saturating_add(1);
                self.in_head = frame.flags & END_HEADERS == 0;
                (self.empty, self.continuations) = (0, 0);
                None
            }
            Kind::Continuation => {
                self.continuations += 1;
                self.in_head = frame.flags & END_HEADERS == 0;
                (self.continuations > MAX_CONTINUATIONS).then_some("http2-continuation")
            }
            Kind::Settings | Kind::Ping => {
                watch.settled.set(watch.settled.get() || frame.kind == Kind::Settings);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rate is positive and bounded"
                )]
                let limit = limits.control_frames.ceil().max(1.0) as u32;
                // Some clients measure the path by a PING for what they were just sent.
                let limit = limit.saturating_add(self.sent);
                let asks = frame.flags & ACK == 0;
                let over = asks && self.control.is_over(limit, Duration::from_secs(1));
                if self.control.count == 1 {
                    self.sent = 0;
                }
                over.then_some("http2-control-frames")
            }
            Kind::WindowUpdate => {
                let octets = self.credit.octets / u64::from(OCTETS_PER_UPDATE);
                let limit = self.allowance().saturating_add(u32::try_from(octets).unwrap_or(MOST)).min(MOST);
                let over = self.updates.is_over(limit, WINDOW);
                // A count that begins anew needs no credit of the past.
                if self.updates.count == 1 {
                    self.credit = Credit::default();
                }
                over.then_some("http2-window-updates")
            }
            Kind::Priority | Kind::Other => {
                let over = self.idle.is_over(self.allowance(), WINDOW);
                over.then_some("http2-priority")
            }
            Kind::GoAway => {
                // The highest bit is reserved.
                watch.last_stream.set(Some(frame.lead[0] & 0x7fff_ffff));
                None
            }
            Kind::Reset => None,
        }
    }

    fn allowance(&self) -> u32 {
        FREE.saturating_add(self.credit.requests.saturating_mul(PER_REQUEST))
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
