//! How does a test speak HTTP/2? One end of a connection, for callers and upstreams alike. It answers SETTINGS and PING
//! and gives back windows as it should; whatever else it sends is the test's to say, frame by frame.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use loona_hpack::Decoder;

use super::frames::{Frame, LARGEST, PREFACE, WINDOW, code, flag, head, kind, octets, setting};
use super::peer::{End, Peer};

/// One end of a connection.
pub struct Link {
    /// Below the frames.
    pub peer: Peer,
    /// What is read is given back to the windows at once.
    pub generous: bool,
    /// What the other end has announced.
    pub settings: BTreeMap<u16, u32>,
    /// So much content was sent.
    pub poured: usize,
    /// What the other end said of its leaving: the last stream that it treats, and why.
    pub goaway: Option<(u32, u32)>,
    decoder: Decoder<'static>,
    next: u32,
    exchanges: BTreeMap<u32, Exchange>,
    /// Streams whose message is whole, in that order.
    whole: VecDeque<u32>,
    /// Streams that were reset, with the code.
    pub resets: BTreeMap<u32, u32>,
    room: i64,
    rooms: BTreeMap<u32, i64>,
}

/// Fields, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

/// What came on one stream.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// Heads before the final one (1xx).
    pub interim: Vec<Fields>,
    /// The head.
    pub head: Fields,
    /// Content.
    pub body: Vec<u8>,
    /// Fields after the content.
    pub trailers: Fields,
    /// The other end has said all.
    pub ended: bool,
}

/// Why a message did not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The stream was reset with this code.
    Reset(u32),
    /// The other end leaves, with this code: it does not treat the stream, or nothing any more.
    Goaway(u32),
    /// The connection is over.
    End(End),
}

/// What a frame meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A head, interim head or trailers; `true`: nothing follows.
    Head(u32, Fields, bool),
    /// So much content; `true`: nothing follows.
    Data(u32, Vec<u8>, bool),
    /// A stream is reset.
    Reset(u32, u32),
    /// Something of the connection.
    Other(Frame),
}

impl Link {
    /// As a client.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::connect_with(to, &[])
    }

    /// As a client with these settings.
    #[track_caller]
    pub fn connect_with(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut link = Self::over(Peer::connect(to));
        link.peer.send([PREFACE, &Frame::settings(settings).octets()].concat());
        link
    }

    /// As a server with these settings; the connection is over if the client does not begin as it must.
    pub fn accept(peer: Peer, settings: &[(u16, u32)]) -> Result<Self, End> {
        let mut link = Self::over(peer);
        let preface = link.peer.exactly(PREFACE.len())?;
        assert_eq!(preface, PREFACE, "{}", String::from_utf8_lossy(&preface));
        link.send(&Frame::settings(settings));
        Ok(link)
    }

    fn over(peer: Peer) -> Self {
        Self {
            peer,
            generous: true,
            settings: BTreeMap::new(),
            poured: 0,
            goaway: None,
            decoder: Decoder::new(),
            next: 1,
            exchanges: BTreeMap::new(),
            whole: VecDeque::new(),
            resets: BTreeMap::new(),
            room: i64::from(WINDOW),
            rooms: BTreeMap::new(),
        }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &Frame) -> &mut Self {
        self.peer.send(frame.octets());
        self
    }

    /// Opens a stream with this head.
    pub fn open(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.peer.send(octets(head(stream, fields, end)));
        stream
    }

    /// A request without content, and its answer.
    pub fn ask(&mut self, fields: &[(&str, &str)]) -> Result<Exchange, Broken> {
        let stream = self.open(fields, true);
        self.message(stream)
    }

    /// A request with content, and its answer.
    pub fn post(&mut self, fields: &[(&str, &str)], body: &[u8]) -> Result<Exchange, Broken> {
        let stream = self.open(fields, false);
        self.pour(stream, body, true)?;
        self.message(stream)
    }

    /// Answers with head and content.
    pub fn answer(&mut self, stream: u32, fields: &[(&str, &str)], body: &[u8]) {
        self.send(&Frame::headers(stream, fields, body.is_empty()));
        if !body.is_empty() {
            let _ = self.pour(stream, body, true);
        }
    }

    /// Sends content as fast as the windows allow.
    pub fn pour(&mut self, stream: u32, mut body: &[u8], end: bool) -> Result<(), Broken> {
        loop {
            let room = self.room_of(stream).min(self.room);
            let piece = body.len().min(LARGEST).min(usize::try_from(room).unwrap_or(0));
            if piece == 0 && !body.is_empty() {
                let event = self.event()?;
                self.absorb(event);
                if let Some(code) = self.resets.get(&stream) {
                    return Err(Broken::Reset(*code));
                }
                continue;
            }
            let (now, rest) = body.split_at(piece);
            body = rest;
            let spent = i64::try_from(piece).expect("a frame's length");
            self.poured += piece;
            self.room -= spent;
            self.rooms.entry(stream).and_modify(|room| *room -= spent);
            self.send(&Frame::data(stream, now, end && rest.is_empty()));
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// All of the message of this stream; those of other streams are kept for later.
    pub fn message(&mut self, stream: u32) -> Result<Exchange, Broken> {
        self.until(stream, |exchange| exchange.ended)?;
        self.whole.retain(|whole| *whole != stream);
        Ok(self.exchanges.remove(&stream).unwrap_or_default())
    }

    /// The message of this stream, once it is so.
    pub fn until(&mut self, stream: u32, is: impl Fn(&Exchange) -> bool) -> Result<Exchange, Broken> {
        loop {
            if let Some(exchange) = self.exchanges.get(&stream).filter(|exchange| is(exchange)) {
                return Ok(exchange.clone());
            }
            if let Some(code) = self.resets.get(&stream) {
                return Err(Broken::Reset(*code));
            }
            if let Some((_, code)) = self.goaway.filter(|(last, _)| *last < stream) {
                return Err(Broken::Goaway(code));
            }
            match (self.event(), self.goaway) {
                (Ok(event), _) => self.absorb(event),
                // It said why it would end.
                (Err(_), Some((_, code))) if code != code::NO_ERROR => return Err(Broken::Goaway(code)),
                (Err(broken), _) => return Err(broken),
            }
        }
    }

    /// The next message that is whole, with its stream.
    pub fn any(&mut self) -> Result<(u32, Exchange), Broken> {
        loop {
            if let Some(stream) = self.whole.pop_front() {
                return Ok((stream, self.exchanges.remove(&stream).unwrap_or_default()));
            }
            let event = self.event()?;
            self.absorb(event);
        }
    }

    /// Waits until the other end has read all that was sent before.
    pub fn sync(&mut self) -> Result<(), Broken> {
        self.send(&Frame::ping());
        loop {
            match self.event()? {
                Event::Other(frame) if frame == Frame::ping().acknowledged() => return Ok(()),
                event => self.absorb(event),
            }
        }
    }

    /// How the connection ends: the code of a GOAWAY, if one comes, and the end.
    pub fn end(&mut self) -> (Option<u32>, End) {
        loop {
            match self.event() {
                Ok(_) => {}
                Err(Broken::End(end)) => return (self.goaway.map(|(_, code)| code), end),
                Err(_) => unreachable!("it only ends"),
            }
        }
    }

    /// What comes next, and the answers to it that every end owes.
    pub fn event(&mut self) -> Result<Event, Broken> {
        let frame = self.frame().map_err(Broken::End)?;
        let (stream, end) = (frame.stream, frame.has(flag::END_STREAM));
        match frame.kind {
            kind::HEADERS => {
                let fields = self.fields(&frame).map_err(Broken::End)?;
                return Ok(Event::Head(stream, fields, end));
            }
            kind::DATA => {
                let length = u32::try_from(frame.payload.len()).expect("a frame's length");
                if self.generous && length > 0 {
                    self.grant(0, length);
                    if !end {
                        self.grant(stream, length);
                    }
                }
                return Ok(Event::Data(stream, frame.content().to_vec(), end));
            }
            kind::RST_STREAM => return Ok(Event::Reset(stream, frame.number(0))),
            kind::SETTINGS if !frame.has(flag::ACK) => self.settle(&frame),
            kind::PING if !frame.has(flag::ACK) => drop(self.send(&frame.clone().acknowledged())),
            kind::GOAWAY => self.goaway = Some((frame.number(0), frame.number(4))),
            kind::WINDOW_UPDATE if stream == 0 => self.room += i64::from(frame.number(0)),
            kind::WINDOW_UPDATE => {
                let room = self.room_of(stream) + i64::from(frame.number(0));
                self.rooms.insert(stream, room);
            }
            _ => {}
        }
        Ok(Event::Other(frame))
    }

    /// Opens a window of ours.
    pub fn grant(&mut self, stream: u32, by: u32) {
        self.send(&Frame::window(stream, by));
    }

    /// The next frame, as it is.
    pub fn frame(&mut self) -> Result<Frame, End> {
        let head = self.peer.exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.peer.exactly(length as usize)?;
        Ok(Frame::new(head[3], head[4], stream, payload))
    }

    /// The list of fields that a HEADERS frame and its continuations carry.
    fn fields(&mut self, first: &Frame) -> Result<Fields, End> {
        let mut block = first.content().to_vec();
        let mut last = first.has(flag::END_HEADERS);
        while !last {
            let part = self.frame()?;
            assert_eq!((part.kind, part.stream), (kind::CONTINUATION, first.stream), "RFC 9113 §6.10");
            block.extend_from_slice(&part.payload);
            last = part.has(flag::END_HEADERS);
        }
        let fields = self.decoder.decode(&block).expect("the other end compresses by RFC 7541");
        let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
        Ok(Fields(fields.into_iter().map(|(name, value)| (text(name), text(value))).collect()))
    }

    fn settle(&mut self, said: &Frame) {
        for (id, value) in said.list() {
            if id == setting::INITIAL_WINDOW_SIZE {
                // RFC 9113 §6.9.2: streams that are open change by the difference.
                let change = i64::from(value) - i64::from(self.initial_window());
                self.rooms.values_mut().for_each(|room| *room += change);
            }
            self.settings.insert(id, value);
        }
        self.send(&said.clone().acknowledged());
    }

    fn initial_window(&self) -> u32 {
        self.settings.get(&setting::INITIAL_WINDOW_SIZE).copied().unwrap_or(WINDOW)
    }

    fn room_of(&mut self, stream: u32) -> i64 {
        let initial = i64::from(self.initial_window());
        *self.rooms.entry(stream).or_insert(initial)
    }

    /// Keeps what a message is made of.
    fn absorb(&mut self, event: Event) {
        let (stream, ended) = match event {
            Event::Head(stream, fields, end) => {
                let exchange = self.exchanges.entry(stream).or_default();
                if fields.status().is_some_and(|status| status < 200) {
                    exchange.interim.push(fields);
                } else if exchange.head.0.is_empty() {
                    exchange.head = fields;
                } else {
                    exchange.trailers = fields;
                }
                (stream, end)
            }
            Event::Data(stream, octets, end) => {
                self.exchanges.entry(stream).or_default().body.extend(octets);
                (stream, end)
            }
            Event::Reset(stream, code) => {
                self.resets.insert(stream, code);
                return;
            }
            Event::Other(_) => return,
        };
        if ended {
            self.exchanges.entry(stream).or_default().ended = true;
            self.whole.push_back(stream);
        }
    }
}

impl Fields {
    /// The field's values, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(said, _)| said == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The field's first value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Of a response.
    pub fn status(&self) -> Option<u16> {
        self.get(":status")?.parse().ok()
    }
}

impl Exchange {
    /// Of a response.
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.head.status().unwrap_or_else(|| panic!("no status: {:?}", self.head))
    }

    /// Why the sidecar answered itself, without route and policy.
    pub fn reason(&self) -> &str {
        self.head.get("x-outrigger-reason").and_then(|reason| reason.split(';').next()).unwrap_or_default()
    }

    /// Content, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
