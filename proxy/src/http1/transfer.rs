//! How does content get from one connection to another? As fast as the slower of them, and never all of it at once.

use std::io;
use std::task::{Context, Poll, ready};

use super::body::{Chunk, Decoder, Malformation};
use super::encoder::Encoder;
use super::wire::{Scratch, Wire};

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

/// Moves content until its end, or until either side must wait. `tap` sees every octet of content once, in order.
pub fn poll_transfer(
    cx: &mut Context<'_>,
    scratch: &Scratch,
    (from, decoder): (&mut Wire, &mut Decoder),
    (to, encoder): (&mut Wire, &mut Encoder),
    mut tap: impl FnMut(&[u8]),
) -> Poll<Result<(), TransferError>> {
    loop {
        if decoder.is_done() {
            return to.poll_flush(cx).map_err(TransferError::Sink);
        }
        if to.is_blocked() {
            ready!(to.poll_flush(cx)).map_err(TransferError::Sink)?;
        }
        let step = scratch.lend(|buffer| {
            let count = match from.poll_read(cx, buffer) {
                Poll::Ready(count) => count.map_err(TransferError::Source)?,
                Poll::Pending => return Ok(false),
            };
            if count == 0 {
                decoder.finish().map_err(TransferError::Malformed)?;
                encoder.finish(to, None).map_err(TransferError::Sink)?;
                return Ok(true);
            }
            let mut input = &buffer[..count];
            loop {
                match decoder.decode(&mut input).map_err(TransferError::Malformed)? {
                    Chunk::Data(data) => {
                        tap(data);
                        encoder.push(cx, to, data).map_err(TransferError::Sink)?;
                        if decoder.is_done() {
                            encoder.finish(to, None).map_err(TransferError::Sink)?;
                        }
                    }
                    Chunk::More => break,
                    Chunk::End(trailers) => {
                        encoder.finish(to, trailers.as_deref()).map_err(TransferError::Sink)?;
                        break;
                    }
                }
            }
            from.unread(input);
            Ok(true)
        })?;
        if !step {
            // Nothing to read now: what is gathered must not wait for it.
            return match to.poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(TransferError::Sink(error))),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            };
        }
    }
}
