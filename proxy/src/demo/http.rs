//! What HTTP do the demo's services speak? As little as they need: GET, and content of a known length.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http1::head::{parse_request, parse_response};
use crate::message::{Framing, HeadLimits, RequestHead, Scratch};
use crate::tls::Stream;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 << 10, fields: 50, target: 1 << 10 };
/// Content above this is none of ours.
const MAX_CONTENT: u64 = 64 << 10;
/// Well below the 60 s after which a sidecar closes an idle connection: what is older might just be closing.
const MAX_IDLE: Duration = Duration::from_secs(20);

/// One end of a connection.
#[derive(Debug)]
pub struct Conn {
    stream: Stream,
    ahead: Vec<u8>,
    scratch: Scratch,
}

impl Conn {
    /// Over a connected socket.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::over(stream.into()))
    }

    /// Over what may be within TLS.
    pub fn over(stream: Stream) -> Self {
        Self { stream, ahead: Vec::new(), scratch: Scratch::default() }
    }

    /// The server's part: the next request; `None`: there will be no more.
    pub async fn request(&mut self) -> io::Result<Option<RequestHead>> {
        loop {
            let parsed = parse_request(&self.ahead, &LIMITS, &self.scratch);
            if let Some((head, taken)) = parsed.map_err(|_| io::ErrorKind::InvalidData)? {
                self.ahead.drain(..taken);
                let understood = head.framing == Framing::None;
                return if understood { Ok(Some(head)) } else { Err(io::ErrorKind::Unsupported.into()) };
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The server's part: the answer.
    pub async fn respond(&mut self, status: StatusCode, content: &str) -> io::Result<()> {
        let length = content.len() + 1;
        let head = "content-type: application/json\r\ncontent-length";
        let answer = format!("HTTP/1.1 {status}\r\n{head}: {length}\r\n\r\n{content}\n");
        self.stream.write_all(answer.as_bytes()).await
    }

    /// The client's part: one GET. Says whether the connection may be used again.
    pub async fn exchange(
        &mut self,
        caller: &str,
        authority: &str,
        path: &str,
    ) -> io::Result<(StatusCode, bool)> {
        // With the authority in the target, as one talks to an HTTP_PROXY; every server takes it (RFC 9112 §3.2.2).
        let fields = format!("host: {authority}\r\nx-caller: {caller}");
        let request = format!("GET http://{authority}{path} HTTP/1.1\r\n{fields}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let head = loop {
            let parsed = parse_response(&self.ahead, &LIMITS, &self.scratch, &Method::GET);
            if let Some((head, taken)) = parsed.map_err(|_| io::ErrorKind::InvalidData)? {
                self.ahead.drain(..taken);
                break head;
            }
            self.fill().await?;
        };
        let length = match head.framing {
            Framing::None => 0,
            Framing::Length(length @ ..=MAX_CONTENT) => usize::try_from(length).unwrap_or(usize::MAX),
            Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        while self.ahead.len() < length {
            self.fill().await?;
        }
        self.ahead.drain(..length);
        Ok((head.status, head.keep_alive))
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.ahead).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A plain client of one address: keeps connections, and neither retries nor chooses.
#[derive(Debug)]
pub struct Client {
    addr: SocketAddr,
    name: &'static str,
    idle: Mutex<Vec<(Instant, Conn)>>,
}

impl Client {
    /// Connects when it is first used, and says this name.
    pub fn new(addr: SocketAddr, name: &'static str) -> Self {
        Self { addr, name, idle: Mutex::default() }
    }

    /// One GET; the status of its answer.
    pub async fn get(&self, authority: &str, path: &str) -> io::Result<StatusCode> {
        let mut conn = match self.take() {
            Some(conn) => conn,
            None => Conn::new(TcpStream::connect(self.addr).await?)?,
        };
        let (status, keep) = conn.exchange(self.name, authority, path).await?;
        if keep {
            self.idle().push((Instant::now(), conn));
        }
        Ok(status)
    }

    fn take(&self) -> Option<Conn> {
        let mut idle = self.idle();
        idle.retain(|(since, _)| since.elapsed() < MAX_IDLE);
        idle.pop().map(|(_, conn)| conn)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Conn)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
