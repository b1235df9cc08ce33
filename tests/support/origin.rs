//! What does the upstream do? A server that follows a script and remembers what it saw.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::message::Message;

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
    gone: Vec<Instant>,
    connections: usize,
}

/// What a server does whatever it is asked.
pub struct Habits {
    /// Connections that are idle for so long are closed.
    pub idle: Duration,
    /// An answer to a head alone, its content not read; the connection ends with it.
    pub early: fn(&Message) -> Option<Message>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), early: |_| None }
    }
}

/// How a request is treated.
pub enum Reply {
    /// Answered.
    Answer(Message),
    /// Answered after a while.
    Late(Duration, Message),
    /// Answered, and the connection is closed without a word about it.
    Last(Message),
    /// The connection is reset.
    Reset,
    /// Never answered; the connection lasts until the other side ends it.
    Hang,
    /// Whatever this writes, then the end of the connection.
    Act(Box<dyn FnOnce(&mut TcpStream) -> io::Result<()>>),
}

/// An answer without content.
pub fn answer(status: u16) -> Message {
    Message::new(format!("HTTP/1.1 {status} -")).with_body("")
}

impl Origin {
    /// Starts one that treats the n-th request (from 0) as `script` says.
    pub fn start(script: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Habits::default(), script)
    }

    /// The same, with habits.
    pub fn with(habits: Habits, script: impl Fn(usize, &Message) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let ledger = Arc::<Mutex<Ledger>>::default();
        let (shared, book) = (Arc::new((habits, script)), Arc::clone(&ledger));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, book, stream) = (Arc::clone(&shared), Arc::clone(&book), stream.unwrap());
                let connection = {
                    let mut book = book.lock().unwrap();
                    book.connections += 1;
                    book.connections - 1
                };
                thread::spawn(move || {
                    let _ = serve(&stream, connection, &book, &shared.0, &shared.1);
                    book.lock().unwrap().gone.push(Instant::now());
                });
            }
        });
        Self { addr, ledger }
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

    /// When connections ended, on whichever side.
    pub fn gone(&self) -> Vec<Instant> {
        self.ledger.lock().unwrap().gone.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.ledger.lock().unwrap().connections
    }
}

fn serve(
    mut stream: &TcpStream,
    connection: usize,
    ledger: &Mutex<Ledger>,
    habits: &Habits,
    script: &dyn Fn(usize, &Message) -> Reply,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        stream.set_read_timeout(Some(habits.idle))?;
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let Some(mut message) = Message::read_head(&mut reader)? else { return Ok(()) };
        if let Some(answer) = (habits.early)(&message) {
            answer.with("connection", "close").write(&mut stream)?;
            stream.shutdown(Shutdown::Write)?;
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
        message.read_body(&mut reader)?;
        let nth = {
            let mut ledger = ledger.lock().unwrap();
            ledger.seen.push(Seen { message: message.clone(), at: Instant::now(), connection });
            ledger.seen.len() - 1
        };
        let closes = message.closes();
        match script(nth, &message) {
            Reply::Answer(answer) => answer.write(&mut stream)?,
            Reply::Late(wait, answer) => {
                thread::sleep(wait);
                answer.write(&mut stream)?;
            }
            Reply::Last(answer) => return answer.write(&mut stream),
            Reply::Reset => return socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Reply::Hang => {
                while !reader.fill_buf()?.is_empty() {
                    let count = reader.buffer().len();
                    reader.consume(count);
                }
                return Ok(());
            }
            Reply::Act(act) => {
                let mut stream = stream.try_clone()?;
                act(&mut stream)?;
                return stream.flush();
            }
        }
        if closes {
            return Ok(());
        }
    }
}
