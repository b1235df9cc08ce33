//! How does the application call? A client on one keep-alive connection, which it makes anew when it has ended.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::message::Message;

/// What an answer may take at all: longer is a hang, and fails the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client.
pub struct Caller {
    to: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    /// How many connections it has made.
    pub connections: usize,
}

impl Caller {
    /// One that calls there.
    pub fn of(to: SocketAddr) -> Self {
        Self { to, connection: None, connections: 0 }
    }

    /// Sends a request and reads its answer.
    pub fn send(&mut self, request: &Message) -> io::Result<Message> {
        self.begin(request)?;
        self.finish(request.method() == "HEAD")
    }

    /// Sends a request.
    pub fn begin(&mut self, request: &Message) -> io::Result<()> {
        if self.connection.is_none() {
            let stream = TcpStream::connect(self.to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            self.connection = Some(BufReader::new(stream));
            self.connections += 1;
        }
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        request.write(connection.get_mut())
    }

    /// Reads the answer to what was begun; interim ones are passed over.
    pub fn finish(&mut self, bodiless: bool) -> io::Result<Message> {
        let mut connection = self.connection.take().ok_or(io::ErrorKind::NotConnected)?;
        let mut answer = loop {
            let head = Message::read_head(&mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if head.status() >= 200 {
                break head;
            }
        };
        if !bodiless && !matches!(answer.status(), 204 | 304) {
            answer.read_body(&mut connection)?;
        }
        if !answer.closes() {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Leaves.
    pub fn leave(&mut self) {
        self.connection = None;
    }

    /// The socket of the connection in use.
    pub fn socket(&mut self) -> Option<&mut TcpStream> {
        self.connection.as_mut().map(BufReader::get_mut)
    }
}

/// A GET of `/` at an authority.
pub fn get(authority: &str) -> Message {
    Message::new("GET / HTTP/1.1").with("host", authority)
}

/// A POST of `/` at an authority.
pub fn post(authority: &str, body: impl Into<Vec<u8>>) -> Message {
    Message::new("POST / HTTP/1.1").with("host", authority).with_body(body)
}

/// What `act` returns, and how long it took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = act();
    (result, start.elapsed())
}
