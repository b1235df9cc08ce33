//! What does an upstream do? Whatever its script says, connection by connection, as badly as it likes.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::peer::{Message, Peer};

/// A server on a port of its own. It lives as long as the test process.
#[derive(Clone)]
pub struct Upstream {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
}

/// One connection that the upstream accepted.
pub struct Call {
    /// Its octets.
    pub peer: Peer,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Runs `script` for each connection; the connection ends with it.
    pub fn new(script: impl Fn(&mut Call) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        // A crowd of callers must not meet a queue that is full.
        socket2::SockRef::from(&listener).listen(1024).expect("a bound socket listens");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let upstream = Self { addr, seen: Arc::default(), connections: Arc::default() };
        let (running, script) = (upstream.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, script) = (Arc::clone(&running.seen), Arc::clone(&script));
                thread::spawn(move || script(&mut Call { peer: Peer::new(stream), seen }));
            }
        });
        upstream
    }

    /// Reads whole requests and answers each with these octets.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |call| {
            while call.request().is_some() {
                call.peer.send(&answer);
            }
        })
    }

    /// Answers each request with its own content, and with its target in `x-target`.
    pub fn echoing() -> Self {
        Self::new(|call| {
            while let Some(request) = call.request() {
                let target = request.start().split(' ').nth(1).unwrap_or_default().to_owned();
                let length = request.body.len();
                call.peer.send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-target: {target}\r\n\r\n"
                ));
                call.peer.send(&request.body);
            }
        })
    }

    /// All requests so far, with content where the script has read it.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().expect("no script panics while it writes").clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Call {
    /// The next request with its content; `None`: the connection has ended.
    pub fn request(&mut self) -> Option<Message> {
        let request = self.peer.try_message().ok()?;
        self.record(&request);
        Some(request)
    }

    /// The next request's head; its content is the script's to read.
    pub fn head(&mut self) -> Option<Message> {
        let head = self.peer.try_head().ok()?;
        self.record(&head);
        Some(head)
    }

    fn record(&self, request: &Message) {
        self.seen.lock().expect("no script panics while it writes").push(request.clone());
    }
}
