//! How does one exchange with an upstream go? A connection that a worker keeps, drives inside the request's task, and
//! gives back when the response has ended.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::coop::unconstrained;

use super::body::Decoder;
use super::channel::Channel;
use super::head::{ends_head, parse_response};
use crate::message::{HeadLimits, ReceiveError, ResponseHead, Scratch, TrailerLimits};
use crate::tls::{Stream, is_alert};

/// A connection to an endpoint.
#[derive(Debug)]
pub struct ClientConn {
    /// Its octets, the response's content and the request's.
    pub channel: Channel,
    /// Exchanges that it has carried before this one.
    pub exchanges: u32,
    /// When it was last given back.
    pub idle_since: Instant,
    /// For how long the endpoint says it keeps an idle connection (`Keep-Alive: timeout=`), less a second.
    pub kept_for: Option<Duration>,
    /// What was read of a head holds no end of one.
    partial: bool,
}

impl ClientConn {
    /// Over a socket connected at `now`.
    pub fn new(stream: impl Into<Stream>, now: Instant) -> Self {
        Self { channel: Channel::new(stream), exchanges: 0, idle_since: now, kept_for: None, partial: false }
    }

    /// Nothing came while it was idle: neither an end nor octets that nobody asked for.
    pub fn is_quiet(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> bool {
        // Outside of the runtime's budget for one poll, which would pass for silence when it is used up.
        let look = poll_fn(|cx| {
            Poll::Ready(scratch.lend(|buffer| self.channel.wire.poll_read_ahead(cx, buffer)).is_pending())
        });
        pin!(unconstrained(look)).poll(cx) == Poll::Ready(true)
    }

    /// The next response head, interim ones (1xx) included.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        (limits, trailers): (&HeadLimits, TrailerLimits),
        to: &Method,
    ) -> Poll<Result<ResponseHead, ReceiveError>> {
        loop {
            if self.partial {
                ready!(self.poll_more(cx, scratch, limits))?;
                self.partial = false;
            }
            let parsed = if self.channel.wire.ahead().is_empty() {
                // The usual way: the whole head in the first read, parsed where it lies.
                ready!(scratch.lend(|buffer| self.poll_first(cx, buffer, scratch, limits, to)))?
            } else {
                let parsed = parse_response(self.channel.wire.ahead(), limits, scratch, to)
                    .map_err(ReceiveError::Head)?;
                parsed.map(|(head, taken)| {
                    self.channel.wire.consume(taken);
                    head
                })
            };
            if let Some(head) = parsed {
                self.channel.decoder = Decoder::new(head.framing, trailers);
                return Poll::Ready(Ok(head));
            }
            self.partial = true;
        }
    }

    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        scratch: &Scratch,
        limits: &HeadLimits,
        to: &Method,
    ) -> Poll<Result<Option<ResponseHead>, ReceiveError>> {
        let count = match ready!(self.channel.wire.poll_read(cx, buffer)) {
            Ok(count @ 1..) => count,
            Err(error) if self.exchanges == 0 && is_alert(&error) => {
                return Poll::Ready(Err(ReceiveError::Unwelcome));
            }
            _ => return Poll::Ready(Err(ReceiveError::Closed { silent: true })),
        };
        let parsed = parse_response(&buffer[..count], limits, scratch, to).map_err(ReceiveError::Head)?;
        let (head, taken) = parsed.map_or((None, 0), |(head, taken)| (Some(head), taken));
        self.channel.wire.unread(&buffer[taken..count]);
        Poll::Ready(Ok(head))
    }

    /// Reads on, to the end of the head: one that trickles in is not parsed at every octet.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        limits: &HeadLimits,
    ) -> Poll<Result<(), ReceiveError>> {
        loop {
            let before = self.channel.wire.ahead().len();
            let Ok(1..) = ready!(scratch.lend(|buffer| self.channel.wire.poll_read_ahead(cx, buffer))) else {
                return Poll::Ready(Err(ReceiveError::Closed { silent: false }));
            };
            let ahead = self.channel.wire.ahead();
            if ends_head(ahead, before) || ahead.len() >= limits.bytes {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
