//! Who waits for the answer? A downstream connection of HTTP/1, or one stream of HTTP/2.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};

use super::headers::{http1::write_interim, http2};
use crate::clock::Alarm;
use crate::http1::ServerConn;
use crate::http2::ServerStream;
use crate::message::transfer::Passing;
use crate::message::{Ends, Piece, ResponseHead, Scratch, Sink, Source, TransferError, Version};
use crate::tls::Proof;

/// The downstream's end of an exchange.
#[derive(Debug)]
pub enum Down<'c> {
    /// Has its connection to itself.
    Http1(&'c mut ServerConn),
    /// Shares it.
    Http2(&'c mut ServerStream),
}

impl Down<'_> {
    /// Rings for whatever the exchange waits for.
    pub fn alarm(&self) -> &Alarm {
        match self {
            Self::Http1(conn) => &conn.alarm,
            Self::Http2(stream) => &stream.alarm,
        }
    }

    /// Who calls, and whom.
    pub fn ends(&self) -> Ends {
        match self {
            Self::Http1(conn) => conn.ends,
            Self::Http2(stream) => stream.ends,
        }
    }

    /// By what it proved who it is; `None`: it came in plaintext.
    pub fn proof(&self) -> Option<&Arc<Proof>> {
        match self {
            Self::Http1(conn) => conn.channel.wire.stream().proof(),
            Self::Http2(stream) => stream.proof.as_ref(),
        }
    }

    /// Content has come that nobody asked for yet.
    pub fn is_ahead(&self) -> bool {
        match self {
            Self::Http1(conn) => !conn.channel.wire.ahead().is_empty(),
            Self::Http2(_) => false,
        }
    }

    /// Ready when it has left. On a connection of its own that shows only after all of its content was read; one that
    /// announced its last request may end its direction and still listen.
    pub fn poll_left(&mut self, cx: &mut Context<'_>, scratch: &Scratch, may_half_close: bool) -> Poll<()> {
        match self {
            Self::Http1(conn) if !conn.channel.is_done() => Poll::Pending,
            Self::Http1(conn) => conn.poll_gone(cx, scratch, may_half_close),
            Self::Http2(stream) => stream.poll_gone(cx),
        }
    }

    /// Ready when it has broken off, whatever it has still to read. A connection of its own shows that when it is used.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(stream) => stream.poll_gone(cx),
        }
    }

    /// Passes an interim response on (RFC 9110 §15.2), except to who cannot read it, or doesn't take what we have.
    pub fn inform(&mut self, cx: &mut Context<'_>, head: &ResponseHead, version: Version) {
        match self {
            Self::Http1(conn) => {
                let wire = &mut conn.channel.wire;
                if version == Version::Http11 && wire.is_flushed() {
                    write_interim(wire.out(), head);
                    let _ = wire.poll_flush(cx);
                }
            }
            Self::Http2(stream) => stream.inform(head.status, http2::interim(head)),
        }
    }

    /// Lets its content come.
    pub fn invite(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(conn) => {
                conn.channel.wire.out().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                let _ = conn.channel.wire.poll_flush(cx);
            }
            Self::Http2(stream) => stream.inform(StatusCode::CONTINUE, HeaderMap::new()),
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

impl Source for Down<'_> {
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

impl Sink for Down<'_> {
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
