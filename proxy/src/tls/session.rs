//! What do a TLS connection's octets mean? One end of it, without IO: records become content, and content records.
//!
//! Records are opened where they were read and content is sealed where it is sent from, both in the worker's memory, so
//! an idle connection holds its keys and nothing else.

use std::fmt;
use std::io::IoSlice;

use rustls::CommonState;
use rustls::Error;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Content of one record at most (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
/// What a record is longer than its content, at most, with room for a change of keys before it (RFC 8446 §5.2).
const OVERHEAD: usize = 512;
/// Content that leaves in one write at most.
pub const SEALED_AT_ONCE: usize = 4 * RECORD;

/// One end of a connection.
pub struct Session {
    side: Side,
    /// What came of a record of which the rest is missing.
    partial: Vec<u8>,
    /// Content that its reader had no room for.
    content: Vec<u8>,
    /// How much of it was read since.
    read: usize,
    /// Records that were not asked for by who writes: of the handshake, tickets, alerts.
    own: Vec<u8>,
    closed: bool,
    /// What came was wrong, and nothing more is to be done with it.
    broken: bool,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Side {
    fn state(&self) -> &CommonState {
        match self {
            Self::Client(conn) => conn,
            Self::Server(conn) => conn,
        }
    }
}

/// Runs the state machine one step on `$octets`, whichever side it is.
macro_rules! on {
    ($side:expr, $octets:expr, $step:ident($($with:expr),*)) => {
        match $side {
            Side::Client(conn) => $step(conn.process_tls_records($octets), $($with),*),
            Side::Server(conn) => $step(conn.process_tls_records($octets), $($with),*),
        }
    };
}

impl Session {
    /// The end that begins.
    pub fn client(conn: UnbufferedClientConnection) -> Self {
        Self::new(Side::Client(conn))
    }

    /// The end that answers.
    pub fn server(conn: UnbufferedServerConnection) -> Self {
        Self::new(Side::Server(conn))
    }

    fn new(side: Side) -> Self {
        let (partial, content, own) = (Vec::new(), Vec::new(), Vec::new());
        Self { side, partial, content, read: 0, own, closed: false, broken: false }
    }

    /// What both sides know.
    pub fn state(&self) -> &CommonState {
        self.side.state()
    }

    /// The peer has said that nothing more comes (RFC 8446 §6.1).
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Octets that must lie before those that come next.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Records that wait to be sent beside those of the content.
    pub fn take_own(&mut self, into: &mut Vec<u8>) {
        into.append(&mut self.own);
    }

    /// Content that was opened and not read; `None`: none.
    pub fn take_content(&mut self, into: &mut [u8]) -> Option<usize> {
        if self.content.is_empty() {
            return None;
        }
        let rest = &self.content[self.read..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.read += count;
        if self.read == self.content.len() {
            (self.content, self.read) = (Vec::new(), 0);
        }
        Some(count)
    }

    /// Begins a handshake: the client's first message.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.open(&mut [], &mut []).map(drop)
    }

    /// Opens what came, which begins with [`partial`](Self::partial); answers how much content is in `into`. After an
    /// error, [`take_own`](Self::take_own) has the alert that tells the peer.
    pub fn open(&mut self, came: &mut [u8], into: &mut [u8]) -> Result<usize, Error> {
        if self.broken {
            return Err(Error::HandshakeNotComplete);
        }
        let (mut done, mut count) = (0, 0);
        let Self { side, content, own, .. } = self;
        let mut take = |record: &[u8]| {
            let fits = record.len().min(into.len() - count);
            into[count..count + fits].copy_from_slice(&record[..fits]);
            count += fits;
            content.extend_from_slice(&record[fits..]);
        };
        loop {
            let (discard, next) = on!(side, &mut came[done..], step(own, &mut take));
            done += discard;
            match next {
                Ok(Next::Step) => {}
                Ok(Next::Closed) => self.closed = true,
                Ok(Next::Rest) => break,
                Err(error) => {
                    self.broken = true;
                    // What there was to say, with the alert; what came is not to be looked at again.
                    while side.state().wants_write() {
                        let _ = on!(side, &mut came[done..], step(own, &mut take));
                    }
                    return Err(error);
                }
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(&came[done..]);
        Ok(count)
    }

    /// Seals content, as much as leaves at once; answers how much.
    pub fn seal(
        &mut self,
        slices: &[IoSlice<'_>],
        gathered: &mut Vec<u8>,
        sealed: &mut Sealed,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        gathered.clear();
        for slice in slices {
            let slice = &slice[..slice.len().min(SEALED_AT_ONCE - taken)];
            taken += slice.len();
            // Small pieces share a record: that costs a copy, and saves a seal.
            if slices.len() > 1 && gathered.len() + slice.len() <= RECORD {
                gathered.extend_from_slice(slice);
                continue;
            }
            self.seal_piece(gathered, sealed)?;
            gathered.clear();
            self.seal_piece(slice, sealed)?;
        }
        self.seal_piece(gathered, sealed)?;
        Ok(taken)
    }

    fn seal_piece(&mut self, piece: &[u8], sealed: &mut Sealed) -> Result<(), Error> {
        if piece.is_empty() {
            return Ok(());
        }
        let records = piece.len().div_ceil(RECORD);
        self.write(&Write::Content(piece), piece.len() + records * OVERHEAD, sealed)
    }

    /// Says that nothing more comes from us (RFC 8446 §6.1).
    pub fn close(&mut self, sealed: &mut Sealed) -> Result<(), Error> {
        self.write(&Write::Close, OVERHEAD, sealed)
    }

    fn write(&mut self, what: &Write<'_>, mut room: usize, sealed: &mut Sealed) -> Result<(), Error> {
        while !self.broken {
            let Self { side, partial, content, own, .. } = self;
            let (discard, written) = on!(side, partial, write(what, sealed.room(room), own, content));
            self.partial.drain(..discard);
            match written {
                Ok(Some(written)) => {
                    sealed.len += written;
                    return Ok(());
                }
                // Something of its own goes before.
                Ok(None) => sealed.extend(&std::mem::take(&mut self.own)),
                Err(Unwritten::Room(needed)) if needed > room => room = needed,
                Err(Unwritten::Room(_)) => return Err(Error::EncryptError),
                Err(Unwritten::Broken(error)) => return Err(error),
            }
        }
        Err(Error::HandshakeNotComplete)
    }

    /// Gives back what an idle connection has no use for.
    pub fn rest(&mut self) {
        for buffer in [&mut self.partial, &mut self.own] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
    }
}

/// Records that are about to leave, in memory that is used again.
#[derive(Debug, Default)]
pub struct Sealed {
    octets: Vec<u8>,
    len: usize,
}

impl Sealed {
    /// What leaves.
    pub fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn extend(&mut self, records: &[u8]) {
        self.room(records.len()).copy_from_slice(records);
        self.len += records.len();
    }

    /// Grows once and never shrinks, so that no octet is zeroed for each record.
    fn room(&mut self, room: usize) -> &mut [u8] {
        let end = self.len + room;
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        &mut self.octets[self.len..end]
    }
}

/// What comes after a step.
enum Next {
    /// Another one.
    Step,
    /// Another one; the peer sends nothing more.
    Closed,
    /// More octets.
    Rest,
}

/// What is written.
enum Write<'c> {
    Content(&'c [u8]),
    Close,
}

/// Why nothing was.
enum Unwritten {
    /// It takes so much room.
    Room(usize),
    Broken(Error),
}

/// One step of the state machine; with how much of what came is done with.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    own: &mut Vec<u8>,
    take: &mut impl FnMut(&[u8]),
) -> (usize, Result<Next, Error>) {
    let mut discard = status.discard;
    let next = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        take(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Ok(Next::Step)
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let before = own.len();
            let mut room = OVERHEAD;
            loop {
                own.resize(before + room, 0);
                match data.encode(&mut own[before..]) {
                    Ok(written) => {
                        own.truncate(before + written);
                        break Ok(Next::Step);
                    }
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        room = required_size;
                    }
                    Err(EncodeError::AlreadyEncoded) => break Err(Error::EncryptError),
                }
            }
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Step)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::Closed),
        // Of early data there is none: the server's side allows none.
        Ok(_) => Ok(Next::Rest),
    };
    (discard, next)
}

/// Writes if it is time to; `None`: something else had to be done first.
fn write<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    what: &Write<'_>,
    into: &mut [u8],
    own: &mut Vec<u8>,
    content: &mut Vec<u8>,
) -> (usize, Result<Option<usize>, Unwritten>) {
    let discard = status.discard;
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
        let written = match what {
            Write::Content(content) => traffic.encrypt(content, into),
            Write::Close => traffic.queue_close_notify(into),
        };
        let written = written.map(Some).map_err(|error| match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Unwritten::Room(required_size)
            }
            EncryptError::EncryptExhausted => Unwritten::Broken(Error::EncryptError),
        });
        return (discard, written);
    }
    let (discard, next) = step(status, own, &mut |record: &[u8]| content.extend_from_slice(record));
    let next = match next {
        Ok(Next::Step | Next::Closed) => Ok(None),
        Ok(Next::Rest) => Err(Unwritten::Broken(Error::HandshakeNotComplete)),
        Err(error) => Err(Unwritten::Broken(error)),
    };
    (discard, next)
}

impl fmt::Debug for Session {
    /// Without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Client(_) => "client",
            Side::Server(_) => "server",
        };
        f.debug_struct("Session").field("side", &side).field("closed", &self.closed).finish_non_exhaustive()
    }
}
