//! How does a message's content pass through an HTTP/1 connection? Both directions of one exchange.

use std::io;
use std::task::{Context, Poll, ready};

use http::HeaderMap;

use super::body::{Chunk, Decoder};
use super::encoder::Encoder;
use super::wire::Wire;
use crate::message::transfer::Passing;
use crate::message::{Framing, Piece, Scratch, Sink, Source, TrailerLimits, TransferError};
use crate::tls::Stream;

/// A connection with the message that comes and the message that goes.
#[derive(Debug)]
pub struct Channel {
    /// Its octets.
    pub wire: Wire,
    /// The end of the content that comes.
    pub decoder: Decoder,
    /// The end of the content that goes.
    pub encoder: Encoder,
}

impl Channel {
    /// Without any content yet.
    pub fn new(stream: impl Into<Stream>) -> Self {
        let nothing = TrailerLimits { bytes: 0, fields: 0 };
        Self {
            wire: Wire::new(stream),
            decoder: Decoder::new(Framing::None, nothing),
            encoder: Encoder::new(Framing::None),
        }
    }

    /// Makes it a tunnel: octets in both directions, each until its end.
    pub fn open_tunnel(&mut self) {
        let nothing = TrailerLimits { bytes: 0, fields: 0 };
        self.decoder = Decoder::new(Framing::UntilClose, nothing);
        self.encoder = Encoder::new(Framing::UntilClose);
    }

    /// Passes on what content there is in `input`, which it takes from its front.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut &[u8],
        to: &mut impl Sink,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Result<(), TransferError> {
        loop {
            match self.decoder.decode(input).map_err(TransferError::Malformed)? {
                Chunk::Data(data) => {
                    tap(Passing::Data(data));
                    let last = self.decoder.is_done();
                    to.push(cx, Piece::Lent(data), last).map_err(TransferError::Sink)?;
                    if last {
                        return Ok(());
                    }
                }
                Chunk::More => return Ok(()),
                Chunk::End(trailers) => {
                    if let Some(trailers) = &trailers {
                        tap(Passing::Trailers(trailers));
                    }
                    return to.finish(trailers.as_deref()).map_err(TransferError::Sink);
                }
            }
        }
    }
}

impl Source for Channel {
    fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>> {
        scratch.lend(|buffer| {
            let count = ready!(self.wire.poll_read(cx, buffer)).map_err(TransferError::Source)?;
            if count == 0 {
                self.decoder.finish().map_err(TransferError::Malformed)?;
                return Poll::Ready(to.finish(None).map_err(TransferError::Sink));
            }
            let mut input = &buffer[..count];
            let passed = self.pass(cx, &mut input, to, tap);
            // After an error too: the next attempt goes on where this one ended.
            self.wire.unread(input);
            Poll::Ready(passed)
        })
    }
}

impl Sink for Channel {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_blocked() { self.wire.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn push(&mut self, cx: &mut Context<'_>, piece: Piece<'_>, last: bool) -> io::Result<()> {
        self.encoder.push(cx, &mut self.wire, piece.as_slice())?;
        if last { self.encoder.finish(&mut self.wire, None) } else { Ok(()) }
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.encoder.finish(&mut self.wire, trailers)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::message::poll_transfer;

    async fn pair() -> (TcpStream, Channel) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, Channel::new(ours))
    }

    fn chunked() -> Decoder {
        Decoder::new(Framing::Chunked, TrailerLimits { bytes: 100, fields: 10 })
    }

    #[tokio::test]
    async fn small_pieces_leave_together() {
        let scratch = Scratch::default();
        let ((mut source, mut from), (sink, mut to)) = (pair().await, pair().await);
        (from.decoder, to.encoder) = (chunked(), Encoder::new(Framing::Chunked));
        let content = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(50));
        source.write_all(content.as_bytes()).await.unwrap();
        poll_fn(|cx| {
            let piece = |_: Passing<'_>| {
                let arrived = sink.try_read(&mut [0; 1]).ok();
                assert_eq!(arrived, None, "the first left before the last was there");
            };
            poll_transfer(cx, &scratch, &mut from, &mut to, piece)
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
        from.decoder = chunked();
        source.write_all(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\nGET / next").await.unwrap();
        drop(source);
        let mut seen = Vec::new();
        for (framing, fails) in [(Framing::None, true), (Framing::Chunked, false)] {
            let (_peer, mut to) = pair().await;
            // An encoder that takes no content breaks at the first piece.
            to.encoder = Encoder::new(framing);
            let moved = poll_fn(|cx| {
                let tap = |passing: Passing<'_>| {
                    if let Passing::Data(data) = passing {
                        seen.extend_from_slice(data);
                    }
                };
                poll_transfer(cx, &scratch, &mut from, &mut to, tap)
            });
            assert_eq!(moved.await.is_err(), fails);
        }
        assert_eq!((&*seen, from.wire.ahead()), (&b"onetwo"[..], &b"GET / next"[..]));
    }
}
