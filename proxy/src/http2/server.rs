//! How does one request of a shared downstream connection go? A stream, from its head to its end.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Response, StatusCode};
use outrigger_config::model::Http2Limits;

use super::channel::Channel;
use super::guard::Watch;
use crate::clock::Alarm;
use crate::message::{Ends, TrailerLimits};
use crate::tls::Proof;

/// Octets of a frame's payload: the least that everybody takes (RFC 9113 §4.2), so that streams take turns.
const FRAME: u32 = 16 * 1024;
/// Streams that were reset before we saw them, waiting to be seen.
const UNSEEN_RESETS: usize = 20;
/// Streams that we answered or broke off in the last second although their content had not ended: what of it was on its
/// way would be taken for an offence without this memory.
const CUT_SHORT: usize = 1024;

/// What a connection from a downstream is told, and held to.
pub fn builder(limits: &Http2Limits, header_list: u32) -> Builder {
    let mut builder = Builder::new();
    // The codec's own bound on resets of our making counts over the whole life of a connection; the guard's is a rate.
    builder
        .max_concurrent_streams(limits.max_streams)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .data_frame_budget(super::small_frames(limits.connection_window))
        .max_frame_size(FRAME)
        .max_header_list_size(header_list)
        .max_send_buffer_size(super::SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_concurrent_reset_streams(CUT_SHORT)
        .max_local_error_reset_streams(None)
        .enable_connect_protocol();
    builder
}

/// A stream from a downstream.
#[derive(Debug)]
pub struct ServerStream {
    /// The request's content and the response's.
    pub channel: Channel,
    /// Rings for whatever this stream waits for.
    pub alarm: Alarm,
    /// Who calls, and whom.
    pub ends: Ends,
    /// What its connection's handshake proved; `None`: it came in plaintext.
    pub proof: Option<Arc<Proof>>,
    respond: SendResponse<Bytes>,
    watch: Rc<Watch>,
    answered: bool,
}

impl ServerStream {
    /// Of a request whose head has come.
    pub fn new(
        recv: RecvStream,
        respond: SendResponse<Bytes>,
        trailers: TrailerLimits,
        (alarm, ends, proof): (Alarm, Ends, Option<Arc<Proof>>),
        watch: Rc<Watch>,
    ) -> Self {
        let mut channel = Channel::new(trailers);
        channel.receive(recv);
        Self { channel, alarm, ends, proof, respond, watch, answered: false }
    }

    /// Answers; `ended`: without content.
    pub fn answer(&mut self, status: StatusCode, headers: HeaderMap, ended: bool) -> io::Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let send = self.respond.send_response(response, ended).map_err(io::Error::other)?;
        self.answered = true;
        self.channel.transmit(send, ended);
        Ok(())
    }

    /// Answers with all that there is to say.
    pub fn answer_whole(&mut self, status: StatusCode, headers: HeaderMap, content: Option<Bytes>) {
        let answered = self.answer(status, headers, content.is_none());
        // A stream that is gone shows elsewhere.
        if let (Ok(()), Some(content), Some(send)) = (answered, content, self.channel.sender()) {
            let _ = send.send_data(content, true);
        }
    }

    /// Sends an interim response (RFC 9110 §15.2).
    pub fn inform(&mut self, status: StatusCode, headers: HeaderMap) {
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        // A stream that is gone shows elsewhere.
        let _ = self.respond.send_informational(response);
    }

    /// Ready when the downstream has reset the stream, or is gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.channel.sender() {
            Some(send) => send.poll_reset(cx).map(|_| ()),
            None => self.respond.poll_reset(cx).map(|_| ()),
        }
    }

    /// Breaks off: who reads an answer must not take its break for its end.
    pub fn abort(&mut self) {
        match self.channel.sender() {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Drop for ServerStream {
    fn drop(&mut self) {
        if !self.answered {
            self.watch.on_reset();
        }
    }
}
