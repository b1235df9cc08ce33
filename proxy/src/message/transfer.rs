//! How does content get from one connection to another? As fast as the slower of them, and never all of it at once.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;

use super::framing::Malformation;
use super::scratch::Scratch;

/// Which side failed.
#[derive(Debug)]
pub enum TransferError {
    /// Reading.
    Source(io::Error),
    /// What was read is no content.
    Malformed(Malformation),
    /// Writing.
    Sink(io::Error),
}

/// Content in hand.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Lent for as long as it is passed on.
    Lent(&'a [u8]),
    /// Shared memory that may be kept.
    Shared(Bytes),
}

impl Piece<'_> {
    /// Its octets.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(data) => data,
            Self::Shared(data) => data,
        }
    }

    /// To keep.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Lent(data) => Bytes::copy_from_slice(data),
            Self::Shared(data) => data,
        }
    }
}

/// What passes by, for those who watch.
#[derive(Debug)]
pub enum Passing<'a> {
    /// Content; never empty.
    Data(&'a [u8]),
    /// Fields behind the content.
    Trailers(&'a HeaderMap),
}

/// A message whose content is read.
pub trait Source {
    /// All content was read.
    fn is_done(&self) -> bool;

    /// Reads once and passes on what there is; ready when something was. `tap` sees every octet once, in order.
    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>>;
}

/// A message whose content is written.
pub trait Sink {
    /// Ready when it takes more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Takes all of a piece; `last`: nothing follows, trailers neither.
    fn push(&mut self, cx: &mut Context<'_>, piece: Piece<'_>, last: bool) -> io::Result<()>;

    /// Ends the content, if nothing was the last piece.
    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()>;

    /// Ready when all that was pushed has left.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Moves content until its end, or until either side must wait.
pub fn poll_transfer(
    cx: &mut Context<'_>,
    scratch: &Scratch,
    from: &mut impl Source,
    to: &mut impl Sink,
    mut tap: impl FnMut(Passing<'_>),
) -> Poll<Result<(), TransferError>> {
    loop {
        if from.is_done() {
            return to.poll_flush(cx).map_err(TransferError::Sink);
        }
        ready!(to.poll_room(cx)).map_err(TransferError::Sink)?;
        if from.poll_pass(cx, scratch, to, &mut tap)?.is_pending() {
            // Nothing to read now: what is gathered must not wait for it.
            return match to.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(TransferError::Sink(error))),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            };
        }
    }
}
