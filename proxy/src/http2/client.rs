//! How do requests share a connection to an endpoint? A connection of one worker, and a place on it for each exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{Method, Request};
use outrigger_config::model::UpstreamLimits;
use outrigger_config::model::priority::Class;

use super::channel::Channel;
use super::fields;
use super::guard::{Guarded, Watch};
use crate::clock::now;
use crate::message::{HeadLimits, ReceiveError, ResponseHead, TrailerLimits};
use crate::tls::{Proof, Stream, is_alert};

/// Streams that we gave up in the last second, whose answers may still be on their way: those of more would be taken
/// for faults of the endpoint.
const GIVEN_UP: usize = 1024;

/// How long before the end of a connection's time its successor is made, at most.
const LEAD: Duration = Duration::from_secs(1);
/// How long a connection of an identity that was replaced serves, at most, while there is no other.
const GRACE: Duration = Duration::from_secs(10);

/// A connection that many exchanges share.
#[derive(Debug)]
pub struct Connection {
    send: SendRequest<Bytes>,
    watch: Rc<Watch>,
    max_streams: usize,
    streams: Cell<usize>,
    carried: Cell<u64>,
    closed: Cell<bool>,
    retired: Cell<bool>,
    idle_since: Cell<Instant>,
    /// Who waits for a place on it: the worthiest first, then the oldest.
    wakers: RefCell<Vec<(Class, Waker)>>,
    /// From then on it takes no more requests.
    until: Instant,
    /// What its handshake proved; `None`: it is in plaintext.
    proof: Option<Arc<Proof>>,
    /// From then on its successor is made, where that takes a handshake.
    late: Instant,
    /// Its identity was known to be replaced.
    replaced: Cell<Option<Instant>>,
}

/// The codec's half of a connection, which its driver polls to its end.
pub type Driver = h2::client::Connection<Guarded<Stream>>;

impl Connection {
    /// Over a connected socket; ready when the peer has said that it speaks HTTP/2. The caller bounds the wait, polls the
    /// driver from then on, and says by [`close`](Self::close) when it has ended. It lives for `age`.
    pub async fn open(
        stream: impl Into<Stream>,
        limits: &UpstreamLimits,
        age: Duration,
    ) -> Result<(Rc<Self>, Driver), NotOpened> {
        let mut stream: Stream = stream.into();
        // Its frames say where everything ends, so it may say of itself at any time that it does.
        stream.rest();
        let proof = stream.proof().cloned();
        let http2 = &limits.http2;
        let watch = Watch::new(*http2);
        // To a peer that says something else the codec sends a GOAWAY, and if that fails too, says no more than that.
        let failed = |error: h2::Error| match error.get_io() {
            Some(error) if is_alert(error) => NotOpened::Unwelcome,
            _ if is_broken(&error) && !watch.is_foreign() => NotOpened::Ended,
            _ => NotOpened::Foreign,
        };
        let (send, mut driver) = Builder::new()
            .initial_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .data_frame_budget(super::small_frames(http2.connection_window))
            .max_header_list_size(u32::try_from(limits.response_head).unwrap_or(u32::MAX))
            .max_send_buffer_size(super::SEND_BUFFER)
            .max_concurrent_reset_streams(GIVEN_UP)
            .max_local_error_reset_streams(None)
            .enable_push(false)
            .handshake(Guarded::client(stream, Rc::clone(&watch)))
            .await
            .map_err(failed)?;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ended) = std::pin::Pin::new(&mut driver).poll(cx) {
                return Poll::Ready(ended.and(Err(Reason::NO_ERROR.into())));
            }
            if watch.is_settled() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
        .map_err(failed)?;
        let now = now();
        let connection = Self {
            send,
            watch,
            max_streams: http2.max_streams as usize,
            streams: Cell::new(0),
            carried: Cell::new(0),
            closed: Cell::new(false),
            retired: Cell::new(false),
            idle_since: Cell::new(now),
            wakers: RefCell::default(),
            until: now + age,
            proof,
            late: now + age.saturating_sub(LEAD.min(age / 10)),
            replaced: Cell::new(None),
        };
        Ok((Rc::new(connection), driver))
    }

    /// What is known of it without asking the codec.
    pub fn watch(&self) -> Rc<Watch> {
        Rc::clone(&self.watch)
    }

    /// The driver has ended.
    pub fn close(&self) {
        self.closed.set(true);
    }

    /// It takes no new requests any more.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    /// It serves, but another one that needs a handshake should be made to take its place: it was made with an identity
    /// that is no longer ours, or is almost too old.
    pub fn is_outdated(&self, now: Instant) -> bool {
        self.proof.as_ref().is_some_and(|proof| !proof.is_current() || now >= self.late)
    }

    /// It was made with an identity that was replaced a while ago, or its peer is believed no more.
    fn is_disowned(&self, now: Instant) -> bool {
        let Some(proof) = self.proof.as_ref().filter(|proof| !proof.is_current()) else { return false };
        let since = self.replaced.get().unwrap_or(now);
        self.replaced.set(Some(since));
        proof.holds().is_err() || now.saturating_duration_since(since) >= GRACE
    }

    /// It takes no new requests any more: it has ended, is being closed by its peer, is too old, is given up, or was made
    /// with an identity that is no longer ours.
    pub fn is_leaving(&self, now: Instant) -> bool {
        self.closed.get()
            || self.retired.get()
            || self.watch.last_stream().is_some()
            || now >= self.until
            || self.is_disowned(now)
    }

    /// Requests that it carries.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Exchanges that it has carried so far.
    pub fn carried(&self) -> u64 {
        self.carried.get()
    }

    /// For how long it has carried none.
    pub fn idle(&self, now: Instant) -> Option<Duration> {
        (self.streams.get() == 0).then(|| now.saturating_duration_since(self.idle_since.get()))
    }

    /// Its peer takes upgrades (RFC 8441 §3).
    pub fn takes_upgrades(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Wakes up who polls when an exchange has ended. All who wait are woken, in the order in which they are served.
    pub fn wake_at_room(&self, cx: &mut Context<'_>, class: Class) {
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|(known, waker)| *known == class && waker.will_wake(cx.waker())) {
            let place = wakers.partition_point(|(other, _)| *other <= class);
            wakers.insert(place, (class, cx.waker().clone()));
        }
    }

    /// It may carry one request more.
    pub fn has_room(&self) -> bool {
        self.streams.get() < self.max_streams.min(self.send.current_max_send_streams())
    }

    /// A place for one more exchange, if the peer and the policy allow one (RFC 9113 §5.1.2).
    pub fn place(self: &Rc<Self>, trailers: TrailerLimits) -> Option<ClientStream> {
        if !self.has_room() {
            return None;
        }
        let lonely = self.streams.get() == 0 && self.carried.get() > 0;
        self.streams.set(self.streams.get() + 1);
        Some(ClientStream {
            channel: Channel::new(trailers),
            connection: Rc::clone(self),
            response: None,
            stream: 0,
            lonely,
            heard: self.watch.moved()[0],
        })
    }
}

/// One exchange's place on a connection.
#[derive(Debug)]
pub struct ClientStream {
    /// The response's content and the request's.
    pub channel: Channel,
    connection: Rc<Connection>,
    response: Option<ResponseFuture>,
    stream: u32,
    /// Before it the connection was idle, and had been used: its end may cross our request on the way.
    lonely: bool,
    heard: u64,
}

impl ClientStream {
    /// Sends a request; `ended`: without content. An error: the connection takes no more, and nothing was sent.
    pub fn send(&mut self, request: Request<()>, ended: bool) -> Result<(), ReceiveError> {
        let mut send = self.connection.send.clone();
        let (response, content) = send.send_request(request, ended).map_err(|error| self.classify(&error))?;
        self.stream = response.stream_id().as_u32();
        self.response = Some(response);
        self.channel.transmit(content, ended);
        Ok(())
    }

    /// What its connection's handshake proved; `None`: it is in plaintext.
    pub fn proof(&self) -> Option<&Arc<Proof>> {
        self.connection.proof.as_ref()
    }

    /// Another connection should be made, to take the place of its own.
    pub fn is_outdated(&self, now: Instant) -> bool {
        self.connection.is_outdated(now)
    }

    /// Its connection takes upgrades (RFC 8441 §3).
    pub fn takes_upgrades(&self) -> bool {
        self.connection.takes_upgrades()
    }

    /// The next response head, interim ones (1xx) included.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        to: &Method,
    ) -> Poll<Result<ResponseHead, ReceiveError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(ReceiveError::Closed { silent: false }));
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            let head = fields::response_head(interim.into_parts().0, limits, true, to);
            return Poll::Ready(head.map_err(ReceiveError::Head));
        }
        let response = match ready!(std::pin::Pin::new(response).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(self.classify(&error))),
        };
        let (parts, content) = response.into_parts();
        let head = fields::response_head(parts, limits, content.is_end_stream(), to);
        self.channel.receive(content);
        self.connection.carried.set(self.connection.carried.get() + 1);
        Poll::Ready(head.map_err(ReceiveError::Head))
    }

    /// It met an idle connection that its endpoint was just closing.
    pub fn is_lonely(&self) -> bool {
        self.lonely
    }

    /// Nothing came of it in time. If nothing came over the whole connection meanwhile, the connection is to blame, and
    /// nobody else shall wait for it.
    pub fn give_up(&self) {
        if self.connection.watch.moved()[0] == self.heard {
            self.connection.retired.set(true);
        }
    }

    /// What became of the stream, and so whether the peer has begun with it.
    fn classify(&self, error: &h2::Error) -> ReceiveError {
        let begun = |last: u32| self.stream != 0 && self.stream <= last;
        match (error.reason(), self.connection.watch.last_stream()) {
            _ if self.response.is_none() => {
                self.connection.retired.set(true);
                ReceiveError::GoneAway { progressed: self.connection.carried.get() > 0 }
            }
            (_, Some(last)) if !begun(last) => ReceiveError::GoneAway { progressed: last > 0 },
            (Some(Reason::REFUSED_STREAM), _) if error.is_reset() && error.is_remote() => {
                ReceiveError::Refused
            }
            _ if error.is_library() && error.is_reset() => {
                ReceiveError::Head(crate::message::HeadError::Syntax)
            }
            _ => ReceiveError::Closed { silent: error.is_io() || error.is_go_away() },
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.wakers.take().into_iter().for_each(|(_, waker)| waker.wake());
        if connection.streams.get() == 0 {
            connection.idle_since.set(now());
        }
    }
}

/// Why a connected peer is no connection of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// It has ended the connection, in whatever way.
    Ended,
    /// It has ended it with an alert: it doesn't take us for one whom it serves.
    Unwelcome,
    /// It doesn't speak HTTP/2.
    Foreign,
}

fn is_broken(error: &h2::Error) -> bool {
    error.is_io() || error.reason() == Some(Reason::NO_ERROR)
}
