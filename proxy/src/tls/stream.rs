//! How do octets move on a connection, in plaintext or within TLS?
//!
//! Plaintext costs one branch that always goes the same way.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::proof::Proof;
use super::secure::Tls;

/// A connection's octets.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<Tls>),
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Self::Plain(tcp)
    }
}

impl From<Tls> for Stream {
    fn from(tls: Tls) -> Self {
        Self::Tls(Box::new(tls))
    }
}

impl Stream {
    /// Reads; 0: the peer has ended its direction. Within TLS that is what it says (RFC 8446 §6.1), and an end that it
    /// doesn't announce is an error: what was sent may have been cut short (RFC 9112 §9.8).
    #[inline]
    pub fn poll_octets(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => poll_tcp(tcp, cx, into),
            Self::Tls(tls) => tls.poll_content(cx, into),
        }
    }

    /// All that was written has left.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_flushed(),
        }
    }

    /// Lets the socket be reset, not ended, when it is dropped.
    pub fn reset(&mut self) {
        if let Self::Tls(tls) = self {
            tls.hush();
        }
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Nothing is under way from now on: it holds no buffers, and ends in order if it is dropped.
    #[inline]
    pub fn rest(&mut self) {
        if let Self::Tls(tls) = self {
            tls.rest();
        }
    }

    /// Something is under way from now on.
    #[inline]
    pub fn rise(&mut self) {
        if let Self::Tls(tls) = self {
            tls.rise();
        }
    }

    /// What its handshake proved; `None`: nothing, in plaintext.
    #[inline]
    pub fn proof(&self) -> Option<&Arc<Proof>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.proof(),
        }
    }

    /// Whether it was made with the identity in use.
    #[inline]
    pub fn is_current(&self) -> bool {
        self.proof().is_none_or(|proof| proof.is_current())
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }
}

#[inline]
pub(super) fn poll_tcp(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(into);
    ready!(Pin::new(tcp).poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => {
                let count = ready!(tls.poll_content(cx, buf.initialize_unfilled()))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, octets),
            Self::Tls(tls) => tls.poll_seal(cx, &[IoSlice::new(octets)]),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => tls.poll_seal(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_sent(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_end(cx),
        }
    }
}
