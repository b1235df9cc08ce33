//! How does a connection within TLS move its octets? Its session, its socket, and what is on its way between them.
//!
//! Records are read into and sent from one buffer of the thread; what waits for the socket, and only that, is the
//! connection's own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::proof::Proof;
use super::provider::{Alpn, TCP};
use super::session::{Sealed, Session};
use super::stream::poll_tcp;

/// Octets of one read.
const READ: usize = 32 * 1024;
/// A whole message of a handshake may be held (64 KiB, RFC 8446 §4), and a read behind it.
const CAME: usize = 128 * 1024;

/// An alert that refuses us came. Told by a kind that no socket knows, since the codec of HTTP/2 keeps nothing else of an
/// error.
pub(super) const ALERT: io::ErrorKind = io::ErrorKind::PermissionDenied;

/// A connection within TLS.
#[derive(Debug)]
pub struct Tls {
    tcp: TcpStream,
    /// Its keys, and what both sides have proved.
    pub(super) session: Session,
    /// Records that the socket didn't take.
    out: Vec<u8>,
    sent: usize,
    stage: Stage,
    /// What the handshake proved.
    proof: Option<Arc<Proof>>,
}

/// What our side of it is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A message may be under way: an end now would be none of its own.
    Busy,
    /// Nothing is: it may end at any time.
    Idle,
    /// We have said that nothing more comes, or it is broken.
    Over,
}

thread_local! {
    static RECORDS: RefCell<Records> = RefCell::default();
}

/// A thread's memory for records, which its connections use in turn within one poll.
#[derive(Default)]
struct Records {
    came: Vec<u8>,
    gathered: Vec<u8>,
    sealed: Sealed,
}

impl Tls {
    /// Over a connected socket, before its handshake.
    pub(super) fn new(tcp: TcpStream, session: Session) -> Self {
        Self { tcp, session, out: Vec::new(), sent: 0, stage: Stage::Busy, proof: None }
    }

    /// After its handshake, which proved this.
    pub(super) fn proved(mut self, proof: Arc<Proof>) -> Self {
        self.proof = Some(proof);
        self
    }

    /// Ends our direction without a word of TLS, and reads on until the peer ends its own, or so many octets have come.
    pub(super) async fn part(&mut self, mut octets: usize) {
        self.stage = Stage::Over;
        let _ = self.tcp.shutdown().await;
        let mut read = [0; 1024];
        while let Ok(count @ 1..) = self.tcp.read(&mut read).await
            && octets > 0
        {
            octets = octets.saturating_sub(count);
        }
    }

    /// What the handshake proved.
    pub(super) fn proof(&self) -> Option<&Arc<Proof>> {
        self.proof.as_ref()
    }

    /// Its socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Nothing more is to be said, not even that it ends.
    pub(super) fn hush(&mut self) {
        self.stage = Stage::Over;
    }

    /// Something is under way from now on.
    pub(super) fn rise(&mut self) {
        if self.stage == Stage::Idle {
            self.stage = Stage::Busy;
        }
    }

    /// What both agreed to speak inside (RFC 7301); `None`: nothing was said.
    pub fn alpn(&self) -> Option<Alpn> {
        match self.session.state().alpn_protocol()? {
            b"h2" => Some(Alpn::Http2),
            TCP => Some(Alpn::Tcp),
            _ => Some(Alpn::Http1),
        }
    }

    /// The handshake took up an earlier session (RFC 8446 §2.2).
    pub fn is_resumed(&self) -> bool {
        self.session.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes the handshake to its end; `ahead` was read of the socket already. The peer is told why, where it fails.
    pub(super) async fn shake_hands(&mut self, ahead: &[u8]) -> io::Result<()> {
        let shaken = self.exchange_hellos(ahead).await;
        if shaken.is_err() {
            self.stage = Stage::Over;
            self.queue_own();
            // As far as it still reads.
            poll_fn(|cx| {
                let _ = self.poll_sent(cx);
                Poll::Ready(())
            })
            .await;
        }
        shaken
    }

    async fn exchange_hellos(&mut self, ahead: &[u8]) -> io::Result<()> {
        self.session.begin().map_err(broken)?;
        if !ahead.is_empty() {
            self.with_records(|tls, records| {
                records.came[..ahead.len()].copy_from_slice(ahead);
                tls.open(&mut records.came[..ahead.len()], &mut [])
            })?;
        }
        poll_fn(|cx| {
            loop {
                self.queue_own();
                ready!(self.poll_sent(cx))?;
                if !self.session.state().is_handshaking() {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_records(cx, &mut []))?;
            }
        })
        .await
    }

    pub(super) fn poll_content(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.session.take_content(into) {
                return Poll::Ready(Ok(count));
            }
            if self.session.is_closed() {
                return Poll::Ready(Ok(0));
            }
            let opened = ready!(self.poll_records(cx, into));
            self.queue_own();
            if !self.is_flushed() {
                // That it cannot be sent is for who writes to see.
                let _ = self.poll_sent(cx);
            }
            match opened? {
                0 => {}
                count => return Poll::Ready(Ok(count)),
            }
        }
    }

    /// Reads records, and opens those that are whole; answers how much content is in `into`.
    fn poll_records(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.with_records(|tls, records| {
            let held = tls.session.partial().len();
            if held + READ > records.came.len() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let count = match ready!(poll_tcp(&mut tls.tcp, cx, &mut records.came[held..held + READ])) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            let opened = count.and_then(|count| {
                records.came[..held].copy_from_slice(tls.session.partial());
                tls.open(&mut records.came[..held + count], into)
            });
            if opened.is_err() {
                tls.stage = Stage::Over;
            }
            Poll::Ready(opened)
        })
    }

    fn open(&mut self, came: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        self.session.open(came, into).map_err(broken)
    }

    pub(super) fn poll_seal(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Those who wait are sent first, so that what waits stays bounded.
        ready!(self.poll_sent(cx))?;
        let taken = self.with_records(|tls, records| {
            let Records { gathered, sealed, .. } = records;
            sealed.clear();
            let taken = tls.session.seal(slices, gathered, sealed).map_err(broken)?;
            tls.send(cx, sealed.as_slice())?;
            io::Result::Ok(taken)
        })?;
        Poll::Ready(Ok(taken))
    }

    /// Sends records; what the socket doesn't take waits.
    fn send(&mut self, cx: &mut Context<'_>, records: &[u8]) -> io::Result<()> {
        let written = match Pin::new(&mut self.tcp).poll_write(cx, records) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        if written < records.len() {
            self.out.extend_from_slice(&records[written..]);
            // For the wake-up; that it is not ready is known.
            let _ = self.poll_sent(cx)?;
        }
        Ok(())
    }

    /// Ready once nothing waits.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.out[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Tickets, changes of keys, alerts.
    fn queue_own(&mut self) {
        self.session.take_own(&mut self.out);
    }

    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_end()?;
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Once, that nothing more comes (RFC 8446 §6.1).
    fn say_end(&mut self) -> io::Result<()> {
        if self.stage == Stage::Over {
            return Ok(());
        }
        self.stage = Stage::Over;
        self.with_records(|tls, records| {
            records.sealed.clear();
            tls.session.close(&mut records.sealed).map_err(broken)?;
            tls.out.extend_from_slice(records.sealed.as_slice());
            Ok(())
        })
    }

    pub(super) fn rest(&mut self) {
        if self.stage == Stage::Busy {
            self.stage = Stage::Idle;
        }
        self.session.rest();
        if self.is_flushed() {
            (self.out, self.sent) = (Vec::new(), 0);
        }
    }

    fn with_records<R>(&mut self, with: impl FnOnce(&mut Self, &mut Records) -> R) -> R {
        RECORDS.with_borrow_mut(|records| {
            if records.came.is_empty() {
                records.came = vec![0; CAME];
            }
            with(self, records)
        })
    }
}

impl Drop for Tls {
    /// An idle connection takes its leave; one in the middle of a message must not, since that would pass for its end.
    fn drop(&mut self) {
        if self.stage == Stage::Idle && self.is_flushed() && self.say_end().is_ok() {
            let _ = self.tcp.try_write(&self.out[self.sent..]);
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    let kind = match error {
        rustls::Error::AlertReceived(why) if refuses(why) => ALERT,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

/// Whether an alert answers our certificate (RFC 8446 §6.2). Others may come while a request is being worked at: a record
/// that was damaged on the way, or a fault of the peer's own.
fn refuses(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn se_1_only_what_answers_our_certificate_is_a_refusal() {
        let is_refusal = |alert| broken(rustls::Error::AlertReceived(alert)).kind() == ALERT;
        for alert in [AlertDescription::UnknownCA, AlertDescription::CertificateRequired] {
            assert!(is_refusal(alert), "{alert:?}");
        }
        // Of a request that was begun with, nobody may say that it was not looked at.
        let others = [
            AlertDescription::BadRecordMac,
            AlertDescription::RecordOverflow,
            AlertDescription::UnexpectedMessage,
            AlertDescription::InternalError,
        ];
        for alert in others {
            assert!(!is_refusal(alert), "{alert:?}");
        }
    }
}
