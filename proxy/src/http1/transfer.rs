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
            let passed = pass(cx, (&mut input, decoder), (to, encoder), &mut tap);
            // After an error too: the next attempt goes on where this one ended.
            from.unread(input);
            passed.map(|()| true)
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

/// Passes on what content there is in `input`, which it takes from its front.
fn pass(
    cx: &mut Context<'_>,
    (input, decoder): (&mut &[u8], &mut Decoder),
    (to, encoder): (&mut Wire, &mut Encoder),
    tap: &mut impl FnMut(&[u8]),
) -> Result<(), TransferError> {
    loop {
        match decoder.decode(input).map_err(TransferError::Malformed)? {
            Chunk::Data(data) => {
                tap(data);
                encoder.push(cx, to, data).map_err(TransferError::Sink)?;
                if decoder.is_done() {
                    encoder.finish(to, None).map_err(TransferError::Sink)?;
                }
            }
            Chunk::More => return Ok(()),
            Chunk::End(trailers) => {
                return encoder.finish(to, trailers.as_deref()).map_err(TransferError::Sink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::body::{Framing, TrailerLimits};
    use super::*;

    async fn pair() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, Wire::new(ours))
    }

    #[tokio::test]
    async fn small_pieces_leave_together() {
        let scratch = Scratch::default();
        let ((mut source, mut from), (sink, mut to)) = (pair().await, pair().await);
        let limits = TrailerLimits { bytes: 100, fields: 10 };
        let (mut decoder, mut encoder) =
            (Decoder::new(Framing::Chunked, limits), Encoder::new(Framing::Chunked));
        let content = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(50));
        source.write_all(content.as_bytes()).await.unwrap();
        poll_fn(|cx| {
            let (from, to) = ((&mut from, &mut decoder), (&mut to, &mut encoder));
            let piece = |_: &[u8]| {
                let arrived = sink.try_read(&mut [0; 1]).ok();
                assert_eq!(arrived, None, "the first left before the last was there");
            };
            poll_transfer(cx, &scratch, from, to, piece)
        })
        .await
        .unwrap();
        let mut got = vec![0; 1000];
        sink.readable().await.unwrap();
        let count = sink.try_read(&mut got).unwrap();
        assert_eq!(std::str::from_utf8(&got[..count]).unwrap(), content);
    }

    #[tokio::test]
    async fn what_a_broken_sink_did_not_take_is_there_for_the_next() {
        let scratch = Scratch::default();
        let (mut source, mut from) = pair().await;
        let limits = TrailerLimits { bytes: 100, fields: 10 };
        let mut decoder = Decoder::new(Framing::Chunked, limits);
        source.write_all(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nGET / next").await.unwrap();
        drop(source);
        let mut seen = Vec::new();
        for (framing, fails) in [(Framing::None, true), (Framing::Chunked, false)] {
            let (_peer, mut to) = pair().await;
            // An encoder that takes no content breaks at the first piece.
            let mut encoder = Encoder::new(framing);
            let moved = poll_fn(|cx| {
                let (from, to) = ((&mut from, &mut decoder), (&mut to, &mut encoder));
                poll_transfer(cx, &scratch, from, to, |data| seen.extend_from_slice(data))
            });
            assert_eq!(moved.await.is_err(), fails);
        }
        assert_eq!((&*seen, from.ahead()), (&b"onetwo"[..], &b"GET / next"[..]));
    }
}
