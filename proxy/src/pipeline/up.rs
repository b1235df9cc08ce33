//! Who is asked? An upstream connection of HTTP/1, or a place on a shared one of HTTP/2.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Method};

use crate::http1::Encoder;
use crate::http2::ClientStream;
use crate::message::transfer::Passing;
use crate::message::{
    Framing, HeadLimits, Piece, ReceiveError, ResponseHead, Scratch, Sink, Source, TrailerLimits,
    TransferError,
};
use crate::tls::Proof;
use crate::upstream::pool::Client;

/// The upstream's end of an attempt.
#[derive(Debug)]
pub enum Up {
    /// Has its connection to itself, and gives it back.
    Http1(Box<Client>),
    /// Shares it.
    Http2(Box<ClientStream>),
}

impl Up {
    /// What the endpoint proved; `None`: it is spoken with in plaintext.
    pub fn proof(&self) -> Option<&Arc<Proof>> {
        match self {
            Self::Http1(conn) => conn.channel.wire.stream().proof(),
            Self::Http2(stream) => stream.proof(),
        }
    }

    /// The request's content begins.
    pub fn begin(&mut self, framing: Framing) {
        if let Self::Http1(conn) = self {
            conn.channel.encoder = Encoder::new(framing);
        }
    }

    /// It takes no more for now.
    pub fn is_blocked(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.channel.wire.is_blocked(),
            Self::Http2(stream) => stream.channel.is_blocked(),
        }
    }

    /// All announced content was written.
    pub fn has_all(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.channel.encoder.is_done(),
            Self::Http2(stream) => stream.channel.has_ended(),
        }
    }

    /// The next response head, interim ones (1xx) included.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        limits: (&HeadLimits, TrailerLimits),
        to: &Method,
    ) -> Poll<Result<ResponseHead, ReceiveError>> {
        match self {
            Self::Http1(conn) => conn.poll_head(cx, scratch, limits, to),
            Self::Http2(stream) => stream.poll_head(cx, limits.0, to),
        }
    }

    /// Trailers that come before any content; `None`: content comes, or nothing more. HTTP/1 is not asked: there, who
    /// answers without content says so in the head.
    pub fn poll_bare_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Option<&HeaderMap>> {
        match self {
            Self::Http1(_) => Poll::Ready(None),
            Self::Http2(stream) => stream.channel.poll_bare_trailers(cx),
        }
    }

    /// It was closing as we used it: nothing came, over a connection that had been idle.
    pub fn was_closing(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.exchanges > 0,
            Self::Http2(stream) => stream.is_lonely(),
        }
    }

    /// Nothing more goes to it; what it still sends may come.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(conn) => conn.channel.wire.poll_shutdown(cx),
            Self::Http2(stream) => Poll::Ready(stream.channel.finish(None)),
        }
    }
}

impl Source for Up {
    fn is_done(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.channel.is_done(),
            Self::Http2(stream) => stream.channel.is_done(),
        }
    }

    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>> {
        match self {
            Self::Http1(conn) => conn.channel.poll_pass(cx, scratch, to, tap),
            Self::Http2(stream) => stream.channel.poll_pass(cx, scratch, to, tap),
        }
    }
}

impl Sink for Up {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(conn) => conn.channel.poll_room(cx),
            Self::Http2(stream) => stream.channel.poll_room(cx),
        }
    }

    fn push(&mut self, cx: &mut Context<'_>, piece: Piece<'_>, last: bool) -> io::Result<()> {
        match self {
            Self::Http1(conn) => conn.channel.push(cx, piece, last),
            Self::Http2(stream) => stream.channel.push(cx, piece, last),
        }
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        match self {
            Self::Http1(conn) => conn.channel.finish(trailers),
            Self::Http2(stream) => stream.channel.finish(trailers),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(conn) => conn.channel.poll_flush(cx),
            Self::Http2(stream) => stream.channel.poll_flush(cx),
        }
    }
}
