//! What does a well-behaved upstream do? It reads requests whole, treats them as its script says, and keeps a ledger.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::draft::{Draft, answer};
use super::peer::Message;
use super::scripted::{Call, Upstream};

/// A server of one test.
pub struct Origin {
    /// Where it listens.
    pub addr: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What was said.
    pub message: Message,
    /// When all of it had come.
    pub at: Instant,
    /// On which connection, counted from 0.
    pub connection: usize,
}

#[derive(Default)]
struct Ledger {
    seen: Vec<Seen>,
    connections: usize,
    gone: usize,
}

impl Ledger {
    /// Enters a connection; its number.
    fn connect(&mut self) -> usize {
        self.connections += 1;
        self.connections - 1
    }
}

/// What a server does whatever it is asked.
pub struct Habits {
    /// Connections that are idle for so long are closed.
    pub idle: Duration,
    /// An answer to a head alone, its content not read; the connection ends with it.
    pub early: fn(&Message) -> Option<Draft>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { idle: Duration::from_mins(1), early: |_| None }
    }
}

/// Writes an answer octet by octet.
pub type Act = dyn FnOnce(&mut TcpStream) -> io::Result<()>;

/// How a request is treated.
pub enum Reply {
    /// Answered.
    Answer(Draft),
    /// Answered after a while.
    Late(Duration, Draft),
    /// The connection is reset.
    Reset,
    /// Never answered; the connection lasts until the other side ends it.
    Hang,
    /// Whatever this writes, then the end of the connection.
    Act(Box<Act>),
}

impl Origin {
    /// Starts one that treats the n-th request (from 0) as `script` says.
    pub fn start(script: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Habits::default(), script)
    }

    /// The same, with habits.
    pub fn with(habits: Habits, script: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static) -> Self {
        let ledger = Arc::<Mutex<Ledger>>::default();
        let book = Arc::clone(&ledger);
        let server = Upstream::new(move |call| {
            let connection = book.lock().unwrap().connect();
            while serve((connection, call), &habits, &book, &script).is_some() {}
            book.lock().unwrap().gone += 1;
        });
        Self { addr: server.addr, ledger }
    }

    /// Starts one that gives every request the same answer.
    pub fn always(status: u16) -> Self {
        Self::start(move |_, _| Reply::Answer(answer(status)))
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.ledger.lock().unwrap().seen.len()
    }

    /// The requests that came.
    pub fn seen(&self) -> Vec<Seen> {
        self.ledger.lock().unwrap().seen.clone()
    }

    /// How many connections ended, on whichever side.
    pub fn gone(&self) -> usize {
        self.ledger.lock().unwrap().gone
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.ledger.lock().unwrap().connections
    }
}

impl Message {
    /// A request's method.
    pub fn method(&self) -> &str {
        self.start().split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.start().split(' ').nth(1).unwrap_or_default()
    }
}

/// One request; `None`: it was the last of its connection.
fn serve(
    (connection, call): (usize, &mut Call),
    habits: &Habits,
    ledger: &Mutex<Ledger>,
    script: &dyn Fn(usize, &Message) -> Reply,
) -> Option<()> {
    let peer = &mut call.peer;
    peer.stream.set_read_timeout(Some(habits.idle)).ok()?;
    let mut message = peer.try_head().ok()?;
    peer.stream.set_read_timeout(Some(PATIENCE)).ok()?;
    if let Some(answer) = (habits.early)(&message) {
        peer.send(answer.with("connection", "close").octets()).finish();
        peer.rest();
        return None;
    }
    peer.try_body(&mut message).ok()?;
    let nth = {
        let mut ledger = ledger.lock().unwrap();
        ledger.seen.push(Seen { message: message.clone(), at: Instant::now(), connection });
        ledger.seen.len() - 1
    };
    match script(nth, &message) {
        Reply::Answer(answer) => drop(peer.send(answer.octets())),
        Reply::Late(wait, answer) => {
            thread::sleep(wait);
            peer.send(answer.octets());
        }
        Reply::Reset => {
            let _ = socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO));
            return None;
        }
        Reply::Hang => {
            let _ = peer.stream.set_read_timeout(None);
            let _ = peer.stream.read(&mut [0]);
            return None;
        }
        Reply::Act(act) => {
            let _ = act(&mut peer.stream);
            let _ = peer.stream.shutdown(Shutdown::Write);
            return None;
        }
    }
    (!message.closes()).then_some(())
}
