//! How does a downstream connection go? Request heads in, responses out, one exchange after the other.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::body::Decoder;
use super::channel::Channel;
use super::head::{ends_head, parse_request};
use crate::clock::{Alarm, now};
use crate::message::{Ends, HeadError, HeadLimits, RequestHead, Scratch, TrailerLimits};
use crate::telemetry::Held;
use crate::tls::{HANDSHAKE, Stream};

/// What is read ahead of the exchange in hand, at most: pipelined requests wait in the kernel beyond it.
const READ_AHEAD: usize = 16 * 1024;
/// How long, and how much, we go on reading after the last answer, so that it isn't lost to a reset (RFC 9112 §9.6).
pub const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// The part of HTTP/2's preface that is a head to HTTP/1 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// Why no further request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Closed, idle for too long, or broken between requests: nobody waits for an answer.
    Quietly,
    /// The head is refused.
    Malformed(HeadError),
    /// The head took longer than `headTimeout`.
    Slow,
    /// What came first begins the preface of HTTP/2, and is read ahead (RFC 9113 §3.4).
    Http2,
    /// What came first begins a handshake of TLS.
    Tls,
    /// It was woken early, and nothing has come.
    Roused,
}

/// A connection from a downstream.
#[derive(Debug)]
pub struct ServerConn {
    /// Its octets, the request's content and the response's.
    pub channel: Channel,
    /// Rings for whatever this connection waits for.
    pub alarm: Alarm,
    /// Who calls, and whom.
    pub ends: Ends,
    /// Counts it among those that speak as it does now.
    pub active: Option<Held>,
    /// Idle times may be cut short by a drain.
    drains: bool,
    /// No head has come yet.
    unasked: bool,
    /// Nothing says yet that it will not turn out to speak HTTP/2.
    may_be_http2: bool,
}

impl ServerConn {
    /// Over an accepted socket.
    pub fn new(stream: impl Into<Stream>, ends: impl Into<Ends>, alarm: Alarm, drains: bool) -> Self {
        Self {
            channel: Channel::new(stream),
            alarm,
            ends: ends.into(),
            active: None,
            drains,
            unasked: true,
            may_be_http2: true,
        }
    }

    /// The next request. The connection may be idle until `idle_until`; a head may take `head_timeout` from its first octet.
    pub async fn read_head(
        &mut self,
        scratch: &Scratch,
        (limits, trailers): (&HeadLimits, TrailerLimits),
        idle_until: Instant,
        head_timeout: Duration,
    ) -> Result<RequestHead, Ended> {
        let mut reader = HeadReader { conn: self, limits, head_timeout, searched: None };
        let head = poll_fn(|cx| reader.poll(cx, scratch, idle_until)).await?;
        (self.unasked, self.may_be_http2) = (false, false);
        self.channel.wire.rise(scratch);
        self.channel.decoder = Decoder::new(head.framing, trailers);
        Ok(head)
    }

    /// No request has come yet.
    pub fn is_fresh(&self) -> bool {
        self.unasked
    }

    /// It was agreed on to speak nothing else over it.
    pub fn speaks_http1(&mut self) {
        self.may_be_http2 = false;
    }

    /// Its socket and what was read of it, for who speaks something else over it.
    pub fn into_parts(self) -> (Stream, Vec<u8>, Alarm) {
        let (stream, ahead) = self.channel.wire.into_parts();
        (stream, ahead, self.alarm)
    }

    fn wait_idle(&self, until: Instant) {
        if self.drains { self.alarm.set_idle(until) } else { self.alarm.set(until) }
    }

    /// Ends at once, with a reset: who reads an answer must not take its break for its end.
    pub fn abort(&mut self) {
        self.channel.wire.reset();
    }

    /// Has the downstream gone while its answer is awaited? Reads ahead to find out, so call it only after its
    /// request was read to the end: nothing else may wait for what it sends.
    ///
    /// An end of its direction counts as leaving, since clients that give up close; one that announced its last request
    /// (`Connection: close`) may half-close and still read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, scratch: &Scratch, may_half_close: bool) -> Poll<()> {
        while self.channel.wire.ahead().len() < READ_AHEAD {
            if self.channel.wire.is_eof() {
                return if may_half_close { Poll::Pending } else { Poll::Ready(()) };
            }
            let room = READ_AHEAD - self.channel.wire.ahead().len();
            if ready!(scratch.lend(|buffer| self.channel.wire.poll_read_ahead(cx, &mut buffer[..room])))
                .is_err()
            {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Writes what waits, ends our direction, and reads on for a moment, so that the last answer arrives.
    pub async fn close(&mut self, scratch: &Scratch) {
        self.alarm.set(now() + LINGER);
        let mut left = LINGER_BYTES;
        let mut shut = false;
        poll_fn(|cx| {
            if self.alarm.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !shut {
                let flushed: io::Result<()> = ready!(self.channel.wire.poll_flush(cx));
                if flushed.is_err() || ready!(self.channel.wire.poll_shutdown(cx)).is_err() {
                    return Poll::Ready(());
                }
                shut = true;
            }
            while !self.channel.wire.is_eof() && left > 0 {
                let Ok(count) = ready!(scratch.lend(|buffer| self.channel.wire.poll_read(cx, buffer))) else {
                    break;
                };
                left = left.saturating_sub(count);
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Reads one head, in one piece or in many.
struct HeadReader<'c> {
    conn: &'c mut ServerConn,
    limits: &'c HeadLimits,
    head_timeout: Duration,
    /// Up to where the octets read ahead hold no end of a head; `None`: not looked at yet.
    searched: Option<usize>,
}

impl HeadReader<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        idle_until: Instant,
    ) -> Poll<Result<RequestHead, Ended>> {
        if self.searched.is_none() {
            if self.conn.channel.wire.ahead().is_empty() {
                self.conn.channel.wire.rest(scratch);
                self.conn.wait_idle(idle_until);
            } else if let Some(result) = self.parse_ahead(scratch) {
                return Poll::Ready(result);
            }
        }
        loop {
            if self.conn.alarm.poll(cx).is_ready() {
                if !self.conn.channel.wire.ahead().is_empty() {
                    return Poll::Ready(Err(Ended::Slow));
                }
                // What has come by now is a request like any other: who closes on it resets it.
                match scratch.lend(|buffer| self.poll_first(cx, buffer, scratch)) {
                    Poll::Ready(Some(result)) => return Poll::Ready(result),
                    Poll::Ready(None) => continue,
                    Poll::Pending if now() < idle_until => return Poll::Ready(Err(Ended::Roused)),
                    Poll::Pending => return Poll::Ready(Err(Ended::Quietly)),
                }
            }
            let result = if self.conn.channel.wire.ahead().is_empty() {
                ready!(scratch.lend(|buffer| self.poll_first(cx, buffer, scratch)))
            } else {
                match ready!(scratch.lend(|buffer| self.conn.channel.wire.poll_read_ahead(cx, buffer))) {
                    Ok(1..) => self.parse_ahead(scratch),
                    _ => Some(Err(Ended::Quietly)),
                }
            };
            if let Some(result) = result {
                return Poll::Ready(result);
            }
        }
    }

    /// The usual way: the whole head in the first read, parsed where it lies.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        scratch: &Scratch,
    ) -> Poll<Option<Result<RequestHead, Ended>>> {
        self.searched = Some(0);
        let Ok(count @ 1..) = ready!(self.conn.channel.wire.poll_read(cx, buffer)) else {
            return Poll::Ready(Some(Err(Ended::Quietly)));
        };
        Poll::Ready(match parse_request(&buffer[..count], self.limits, scratch) {
            Ok(Some((head, taken))) => {
                self.conn.channel.wire.unread(&buffer[taken..count]);
                Some(Ok(head))
            }
            // Empty lines before a request are none (RFC 9112 §2.2): some send one behind a POST's content.
            Ok(None) if buffer[..count].iter().all(|octet| b"\r\n".contains(octet)) => None,
            Ok(None) => {
                self.conn.channel.wire.unread(&buffer[..count]);
                self.begin(count);
                None
            }
            Err(HeadError::Version) if self.is_preface(&buffer[..count]) => {
                self.conn.channel.wire.unread(&buffer[..count]);
                self.begin(count);
                (count >= PREFACE.len()).then_some(Err(Ended::Http2))
            }
            Err(_) if self.conn.may_be_http2 && buffer[0] == HANDSHAKE => Some(Err(Ended::Tls)),
            Err(error) => Some(Err(Ended::Malformed(error))),
        })
    }

    /// To HTTP/1 the preface looks like a head of a version that nobody knows, before it is complete.
    fn is_preface(&self, octets: &[u8]) -> bool {
        self.conn.may_be_http2 && (octets.starts_with(PREFACE) || PREFACE.starts_with(octets))
    }

    /// The slow way. A head that trickles in is parsed once, when its empty line is there, not at every octet.
    fn parse_ahead(&mut self, scratch: &Scratch) -> Option<Result<RequestHead, Ended>> {
        let ahead = self.conn.channel.wire.ahead();
        if let Some(searched) = self.searched
            && !ends_head(ahead, searched)
            && ahead.len() < self.limits.bytes
        {
            self.searched = Some(ahead.len());
            return None;
        }
        match parse_request(ahead, self.limits, scratch) {
            Ok(Some((head, taken))) => {
                self.conn.channel.wire.consume(taken);
                Some(Ok(head))
            }
            Ok(None) => {
                let searched = self.conn.channel.wire.ahead().len();
                if self.searched.is_none() {
                    self.begin(searched);
                }
                self.searched = Some(searched);
                None
            }
            Err(HeadError::Version) if self.is_preface(self.conn.channel.wire.ahead()) => {
                Some(Err(Ended::Http2))
            }
            Err(error) => Some(Err(Ended::Malformed(error))),
        }
    }

    fn begin(&mut self, searched: usize) {
        self.searched = Some(searched);
        self.conn.alarm.set(now() + self.head_timeout);
    }
}
