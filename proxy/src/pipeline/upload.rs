//! How does the request's content get to the upstream, perhaps more than once?
//!
//! It flows while the response is awaited and even while it is relayed. What has flowed is kept for a retry, up to the
//! policy's `replayBody`, only where a retry could use it.

use std::task::{Context, Poll, ready};

use outrigger_config::model::{Protocol, RetryCondition};

use super::down::Down;
use super::exchange::Exchange;
use super::up::Up;
use crate::message::transfer::Passing;
use crate::message::{
    Framing, Malformation, Piece, Scratch, Sink, Source, TransferError, Version, poll_transfer,
};
use crate::policy::retry::Body;
use crate::snapshot::{Backend, Rule};

/// The request's content on its way.
#[derive(Debug)]
pub struct Upload {
    framing: Framing,
    kept: Option<Vec<u8>>,
    keep: usize,
    /// What of the kept content the current attempt has been given.
    replayed: usize,
    /// The upstream must say `100 Continue` first.
    gated: bool,
    /// The current attempt has all of it.
    complete: bool,
    /// Some attempt has sent the request, or a part of it.
    pub sent: bool,
    /// Octets taken from the downstream.
    pub taken: u64,
}

/// Why the content doesn't get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadError {
    /// The downstream left.
    Left,
    /// What the downstream sent is no content.
    Malformed(Malformation),
    /// The upstream doesn't take it; it may still have answered.
    Refused,
}

impl Upload {
    /// Of this request; kept for replay as far as its policy says and a retry could use it.
    pub fn of(exchange: &Exchange<'_>, rule: &Rule, backend: &Backend) -> Self {
        let (framing, gated) = (exchange.head.framing, exchange.head.expects_continue);
        let keep = if rule.has_spare() || is_repeatable(exchange, backend) {
            *backend.policy.retry.replay_body
        } else {
            0
        };
        let kept = (keep > 0 && framing != Framing::None).then(Vec::new);
        Self {
            framing,
            kept,
            keep,
            replayed: 0,
            gated,
            complete: framing == Framing::None,
            sent: false,
            taken: 0,
        }
    }

    /// Whether another attempt can send it all.
    pub fn body(&self) -> Body {
        if self.taken == 0 || self.kept.is_some() { Body::Replayable } else { Body::Gone }
    }

    /// The current attempt has all of it.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// It waits for the upstream's `100 Continue`.
    pub fn is_gated(&self) -> bool {
        self.gated && self.taken == 0
    }

    /// The upstream, or our patience, lets it go.
    pub fn open(&mut self) {
        self.gated = false;
    }

    /// Another attempt begins: all of it anew.
    pub fn rewind(&mut self, up: &mut Up) {
        up.begin(self.framing);
        self.replayed = 0;
        self.complete = self.framing == Framing::None;
    }

    /// Nothing of what comes will be needed again.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// Moves what can be moved.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        down: &mut Down<'_>,
        up: &mut Up,
    ) -> Poll<Result<(), UploadError>> {
        if self.complete {
            return up.poll_flush(cx).map_err(|_| UploadError::Refused);
        }
        if self.is_gated() && !down.is_ahead() {
            ready!(up.poll_flush(cx)).map_err(|_| UploadError::Refused)?;
            return Poll::Pending;
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| self.replayed < kept.len()) {
            let last = down.is_done();
            let again = Piece::Lent(&kept[self.replayed..]);
            up.push(cx, again, last).map_err(|_| UploadError::Refused)?;
            self.replayed = kept.len();
        }
        if down.is_done() {
            if !up.has_all() {
                up.finish(None).map_err(|_| UploadError::Refused)?;
            }
        } else {
            ready!(self.poll_rest(cx, scratch, down, up))?;
        }
        self.complete = true;
        up.poll_flush(cx).map_err(|_| UploadError::Refused)
    }

    /// Moves what no attempt has had yet.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &Scratch,
        down: &mut Down<'_>,
        up: &mut Up,
    ) -> Poll<Result<(), UploadError>> {
        let (kept, taken, replayed, keep) = (&mut self.kept, &mut self.taken, &mut self.replayed, self.keep);
        let tap = |passing: Passing<'_>| match passing {
            Passing::Data(data) => {
                *taken += data.len() as u64;
                *replayed += data.len();
                if kept.as_ref().is_some_and(|kept| kept.len() + data.len() > keep) {
                    *kept = None;
                }
                if let Some(kept) = kept {
                    kept.extend_from_slice(data);
                }
            }
            // They come once.
            Passing::Trailers(_) => *kept = None,
        };
        poll_transfer(cx, scratch, down, up, tap).map_err(|error| match error {
            TransferError::Source(_) | TransferError::Malformed(Malformation::Truncated) => UploadError::Left,
            TransferError::Malformed(error) => UploadError::Malformed(error),
            TransferError::Sink(_) => UploadError::Refused,
        })
    }
}

/// Whether a further attempt could need the content: the policy may ask for one, or the connection may end before the
/// upstream has begun with it, as connections of HTTP/2 do (RFC 9113 §6.8).
fn is_repeatable(exchange: &Exchange<'_>, backend: &Backend) -> bool {
    let (retry, head) = (&backend.policy.retry, &exchange.head);
    let undone = match backend.upstream.config.protocol {
        Protocol::Http1 | Protocol::Tcp => false,
        Protocol::Http2 => true,
        Protocol::Auto => head.version == Version::Http2,
    };
    // Who lists a gRPC status means calls, whatever `methods` say.
    let listed = || retry.on.iter().any(|condition| matches!(condition, RetryCondition::Grpc(_)));
    undone
        || *retry.attempts > 0
            && (retry.methods.contains(&head.method)
                || head.headers.contains_key("idempotency-key")
                || exchange.grpc && listed())
}
