//! How does a message's content pass through an HTTP/2 stream? Both directions of one exchange.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use crate::message::framing::is_forbidden_trailer;
use crate::message::transfer::Passing;
use crate::message::{Malformation, Piece, Scratch, Sink, Source, TrailerLimits, TransferError};

/// Octets of content that are handed over without asking for room first: most messages have no more, and the question
/// costs as much as the answer.
const UNASKED: usize = 16 * 1024;

/// A stream with the message that comes and the message that goes.
#[derive(Debug)]
pub struct Channel {
    recv: Option<RecvStream>,
    state: State,
    /// Content that was read before its turn.
    ahead: Option<Bytes>,
    trailers: Option<HeaderMap>,
    limits: TrailerLimits,
    send: Option<SendStream<Bytes>>,
    ended: bool,
    unasked: usize,
    blocked: bool,
}

/// What is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Done,
}

impl Channel {
    /// Of a stream on which nothing has come or gone.
    pub fn new(limits: TrailerLimits) -> Self {
        Self {
            recv: None,
            state: State::Done,
            ahead: None,
            trailers: None,
            limits,
            send: None,
            ended: false,
            unasked: UNASKED,
            blocked: false,
        }
    }

    /// Content comes through `recv`.
    pub fn receive(&mut self, recv: RecvStream) {
        self.state = if recv.is_end_stream() { State::Done } else { State::Data };
        self.recv = Some(recv);
    }

    /// Content goes through `send`; `ended`: there is none.
    pub fn transmit(&mut self, send: SendStream<Bytes>, ended: bool) {
        (self.send, self.ended) = (Some(send), ended);
    }

    /// All content has gone.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The peer takes no more for now.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What content goes through, once it may.
    pub fn sender(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.send.as_mut()
    }

    /// Trailers that come before any content, without taking them; `None`: content comes, or nothing more.
    pub fn poll_bare_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Option<&HeaderMap>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(None) };
        if self.state == State::Data && self.ahead.is_none() {
            match ready!(recv.poll_data(cx)) {
                Some(Ok(data)) => self.ahead = Some(data),
                None => self.state = State::Trailers,
                // It shows again when the content is read.
                Some(Err(_)) => return Poll::Ready(None),
            }
        }
        if self.state == State::Trailers && self.trailers.is_none() {
            self.trailers = ready!(recv.poll_trailers(cx)).unwrap_or_default();
        }
        Poll::Ready(self.trailers.as_ref())
    }

    /// The next octets; `None`: there are no more.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, TransferError>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Ok(None)) };
        let data = match self.ahead.take() {
            Some(data) => data,
            None => match ready!(recv.poll_data(cx)) {
                Some(data) => data.map_err(broken)?,
                None => return Poll::Ready(Ok(None)),
            },
        };
        // Passed on at once, so the peer may send as much again.
        recv.flow_control().release_capacity(data.len()).map_err(broken)?;
        if recv.is_end_stream() {
            self.state = State::Done;
        }
        Poll::Ready(Ok(Some(data)))
    }

    fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, TransferError>> {
        let trailers = match (self.trailers.take(), &mut self.recv) {
            (None, Some(recv)) => ready!(recv.poll_trailers(cx)).map_err(broken)?,
            (trailers, _) => trailers,
        };
        if let Some(trailers) = &trailers {
            check(trailers, self.limits).map_err(TransferError::Malformed)?;
        }
        self.state = State::Done;
        Poll::Ready(Ok(trailers))
    }
}

impl Source for Channel {
    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn poll_pass<K: Sink>(
        &mut self,
        cx: &mut Context<'_>,
        _: &Scratch,
        to: &mut K,
        tap: &mut impl FnMut(Passing<'_>),
    ) -> Poll<Result<(), TransferError>> {
        if self.state == State::Data {
            let Some(data) = ready!(self.poll_data(cx))? else {
                self.state = State::Trailers;
                return Poll::Ready(Ok(()));
            };
            let last = self.state == State::Done;
            if data.is_empty() {
                return Poll::Ready(if last { to.finish(None).map_err(TransferError::Sink) } else { Ok(()) });
            }
            tap(Passing::Data(&data));
            return Poll::Ready(to.push(cx, Piece::Shared(data), last).map_err(TransferError::Sink));
        }
        let trailers = ready!(self.poll_trailers(cx))?;
        if let Some(trailers) = &trailers {
            tap(Passing::Trailers(trailers));
        }
        Poll::Ready(to.finish(trailers.as_ref()).map_err(TransferError::Sink))
    }
}

impl Sink for Channel {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unasked > 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(send) = &mut self.send else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        if send.capacity() == 0 {
            self.blocked = true;
            // Any room will do: what exceeds it waits in the stream, and no more than one piece does.
            send.reserve_capacity(1);
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        self.blocked = false;
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, _: &mut Context<'_>, piece: Piece<'_>, last: bool) -> io::Result<()> {
        let Some(send) = &mut self.send else { return Err(io::ErrorKind::NotConnected.into()) };
        self.unasked = self.unasked.saturating_sub(piece.as_slice().len());
        self.ended = last;
        send.send_data(piece.into_bytes(), last).map_err(into_io)
    }

    /// An answer to HEAD ends with its head, whatever follows upstream's.
    fn finish(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(send) = &mut self.send else { return Err(io::ErrorKind::NotConnected.into()) };
        self.ended = true;
        match trailers {
            Some(trailers) => send.send_trailers(trailers.clone()),
            None => send.send_data(Bytes::new(), true),
        }
        .map_err(into_io)
    }

    /// What was pushed is the connection's to send.
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Trailers that no hop may take for a head (RFC 9110 §6.5.1).
fn check(trailers: &HeaderMap, limits: TrailerLimits) -> Result<(), Malformation> {
    let octets: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if trailers.len() > limits.fields || octets > limits.bytes {
        return Err(Malformation::TrailersTooLarge);
    }
    if trailers.keys().any(is_forbidden_trailer) {
        return Err(Malformation::Trailers);
    }
    Ok(())
}

fn broken(error: h2::Error) -> TransferError {
    TransferError::Source(into_io(error))
}

fn into_io(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[tokio::test]
    async fn an_end_is_said_once() {
        let (stream, _peer) = tokio::io::duplex(1024);
        let (mut connection, _driver) = h2::client::handshake(stream).await.unwrap();
        let mut channel = Channel::new(TrailerLimits { bytes: 0, fields: 0 });
        for ended in [true, false] {
            let request = Request::get("http://origin/").body(()).unwrap();
            let (_response, content) = connection.send_request(request, ended).unwrap();
            channel.transmit(content, ended);
            channel.finish(None).unwrap();
            channel.finish(None).unwrap();
        }
    }
}
