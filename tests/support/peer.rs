//! How does a test speak HTTP/1 octet by octet? One end of a connection, for callers and upstreams alike.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// One end of a connection.
pub struct Peer {
    /// The connection, for what is not told below.
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

/// A head with its content.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// From the start line to the empty line, as sent.
    pub head: String,
    /// Content without its coding.
    pub body: Vec<u8>,
    /// Field lines after the content.
    pub trailers: String,
}

/// How the other end stopped sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// The connection was reset.
    Reset,
    /// Not at all, for as long as we had patience.
    Open,
}

impl Peer {
    /// Connects.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&to, PATIENCE).expect("the sidecar listens"))
    }

    /// Over a connection that is there already.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("patience is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("patience is not zero");
        stream.set_nodelay(true).expect("an open socket takes options");
        Self { stream, ahead: Vec::new() }
    }

    /// Sends all of it; that the other end has gone shows in what comes back.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(octets.as_ref());
        self
    }

    /// Ends our direction.
    pub fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Leaves by a reset instead of an orderly end.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("an open socket takes options");
    }

    /// A head, without content.
    pub fn try_head(&mut self) -> Result<Message, End> {
        let end = loop {
            match self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read_more()?,
            }
        };
        let head = String::from_utf8_lossy(&self.take(end)).into_owned();
        Ok(Message { head, ..Message::default() })
    }

    /// As [`try_head`](Self::try_head), of a peer that is sure to send one.
    #[track_caller]
    pub fn head(&mut self) -> Message {
        self.try_head().unwrap_or_else(|end| panic!("{end:?} instead of a head; came: {:?}", self.seen()))
    }

    /// A head and all its content; as the message that brings it, it has content if it says so.
    pub fn try_message(&mut self) -> Result<Message, End> {
        let mut message = self.try_head()?;
        self.try_body(&mut message)?;
        Ok(message)
    }

    /// The content of a message whose head has come.
    pub fn try_body(&mut self, message: &mut Message) -> Result<(), End> {
        if message.is_bodiless() {
            return Ok(());
        }
        if message.field("transfer-encoding").is_some() {
            self.chunks(message)?;
        } else if let Some(length) = message.field("content-length") {
            let length = length.parse().expect("a length is a number");
            message.body = self.exactly(length)?;
        } else if message.head.starts_with("HTTP/") {
            let (rest, end) = self.rest();
            message.body = rest;
            if end != End::Closed {
                return Err(end);
            }
        }
        Ok(())
    }

    /// As [`try_message`](Self::try_message), of a peer that is sure to send one.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        self.try_message()
            .unwrap_or_else(|end| panic!("{end:?} instead of a message; came: {:?}", self.seen()))
    }

    /// Everything until the other end stops, and how it does.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.read_more() {
                return (std::mem::take(&mut self.ahead), end);
            }
        }
    }

    /// How the other end stops, if nothing more comes before that.
    #[track_caller]
    pub fn end(&mut self) -> End {
        let (rest, end) = self.rest();
        assert!(rest.is_empty(), "nobody asked for {:?}", String::from_utf8_lossy(&rest));
        end
    }

    /// Nothing comes, not even an end, for so long.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        let _ = self.stream.set_read_timeout(Some(time));
        let silent = self.ahead.is_empty() && self.read_more() == Err(End::Open);
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        silent
    }

    /// Exactly so many octets.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.ahead.len() < count {
            self.read_more()?;
        }
        Ok(self.take(count))
    }

    /// Whatever has come, an octet at least.
    pub fn some(&mut self) -> Result<Vec<u8>, End> {
        if self.ahead.is_empty() {
            self.read_more()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), End> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size)?);
            assert_eq!(self.line()?, "", "a chunk ends with its line");
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            message.trailers.push_str(&line);
            message.trailers.push_str("\r\n");
        }
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            self.read_more()?;
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.ahead.drain(..count).collect()
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.ahead).into_owned()
    }

    fn read_more(&mut self) -> Result<(), End> {
        let mut buffer = [0; 16 * 1024];
        let until = Instant::now() + PATIENCE;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.ahead.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted && Instant::now() < until => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(End::Open);
                }
                Err(_) => return Err(End::Reset),
            }
        }
    }
}

impl Message {
    /// The first line.
    pub fn start(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        let code = self.start().split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.start()))
    }

    /// The field's values, in order.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(said, _)| said.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The field's first value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).first().copied()
    }

    /// Why the sidecar answered itself, without route and policy.
    pub fn reason(&self) -> &str {
        self.field("x-outrigger-reason").and_then(|reason| reason.split(';').next()).unwrap_or_default()
    }

    /// Content, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_bodiless(&self) -> bool {
        let code = self.head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        code.is_some_and(|code| code.starts_with('1') || code == "204" || code == "304")
    }
}
