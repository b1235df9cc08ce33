//! How does the application call? On one keep-alive connection, made anew when it has ended.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::draft::Draft;
use super::peer::{End, Message, Peer};

/// A client.
pub struct Caller {
    to: SocketAddr,
    peer: Option<Peer>,
    /// How many connections it has made.
    pub connections: usize,
}

impl Caller {
    /// One that calls there.
    pub fn of(to: SocketAddr) -> Self {
        Self { to, peer: None, connections: 0 }
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Draft) -> Result<Message, End> {
        self.begin(request)?;
        self.finish()
    }

    /// Sends a request.
    pub fn begin(&mut self, request: &Draft) -> Result<(), End> {
        if self.peer.is_none() {
            self.peer = Some(Peer::new(TcpStream::connect(self.to).map_err(|_| End::Reset)?));
            self.connections += 1;
        }
        if let Some(peer) = &mut self.peer {
            peer.send(request.octets());
        }
        Ok(())
    }

    /// Reads the answer to what was begun; interim ones are passed over.
    pub fn finish(&mut self) -> Result<Message, End> {
        let mut peer = self.peer.take().ok_or(End::Closed)?;
        let mut answer = peer.try_message()?;
        while answer.status() < 200 {
            answer = peer.try_message()?;
        }
        if !answer.closes() {
            self.peer = Some(peer);
        }
        Ok(answer)
    }

    /// Leaves.
    pub fn leave(&mut self) {
        self.peer = None;
    }

    /// The connection in use.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.peer.as_mut().expect("a request was begun").stream
    }
}

impl Message {
    /// The connection ends with it.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|said| said.eq_ignore_ascii_case("close"))
    }
}

/// What `act` returns, and how long it took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = act();
    (result, start.elapsed())
}
