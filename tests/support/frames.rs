//! What does HTTP/2 look like on the wire? Frames octet by octet (RFC 9113 §4, §6), as right or as wrong as a test wants.

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload that needs no agreement (RFC 9113 §4.2).
pub const LARGEST: usize = 16 << 10;
/// The window that every stream and connection has at first (RFC 9113 §6.9.2).
pub const WINDOW: u32 = 65_535;

/// Frame types (RFC 9113 §6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames (RFC 9113 §6).
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes (RFC 9113 §7).
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const STREAM_CLOSED: u32 = 5;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// Settings (RFC 9113 §6.5.2).
pub mod setting {
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of any kind.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// A head that is whole: request, response, or trailers.
    pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Self {
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        Self::new(kind::HEADERS, flags, stream, block(fields))
    }

    pub fn data(stream: u32, octets: impl Into<Vec<u8>>, end: bool) -> Self {
        Self::new(kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, octets)
    }

    pub fn settings(list: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> = list
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    pub fn window(stream: u32, by: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, by.to_be_bytes())
    }

    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    pub fn ping() -> Self {
        Self::new(kind::PING, 0, 0, *b"a sonar.")
    }

    /// An exclusive dependency on nothing (RFC 7540 §6.3; deprecated by RFC 9113 §5.3.2).
    pub fn priority(stream: u32) -> Self {
        Self::new(kind::PRIORITY, 0, stream, [0x80, 0, 0, 0, 16])
    }

    pub fn goaway(last: u32, code: u32) -> Self {
        Self::new(kind::GOAWAY, 0, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
    }

    /// A part of a head after the first.
    pub fn continuation(stream: u32, part: impl Into<Vec<u8>>, last: bool) -> Self {
        Self::new(kind::CONTINUATION, if last { flag::END_HEADERS } else { 0 }, stream, part)
    }

    /// That these were received (settings or a ping).
    pub fn acknowledged(self) -> Self {
        let payload = if self.kind == kind::SETTINGS { Vec::new() } else { self.payload };
        Self::new(self.kind, flag::ACK, 0, payload)
    }

    /// On the wire.
    pub fn octets(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("no frame is that long").to_be_bytes();
        let head = [length[1], length[2], length[3], self.kind, self.flags];
        [&head[..], &self.stream.to_be_bytes(), &self.payload].concat()
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number that begins at this octet of the payload.
    pub fn number(&self, at: usize) -> u32 {
        let octets = self.payload.get(at..at + 4).expect("the frame is long enough");
        u32::from_be_bytes(octets.try_into().expect("these are four"))
    }

    /// What a SETTINGS frame says.
    pub fn list(&self) -> Vec<(u16, u32)> {
        let pair = |six: &[u8]| {
            (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes([six[2], six[3], six[4], six[5]]))
        };
        self.payload.chunks_exact(6).map(pair).collect()
    }

    /// The payload of HEADERS or DATA without padding and priority.
    pub fn content(&self) -> &[u8] {
        let mut content = &self.payload[..];
        if self.has(flag::PADDED) {
            let padding = usize::from(content[0]);
            content = &content[1..content.len() - padding];
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = &content[5..];
        }
        content
    }
}

/// Several frames, on the wire.
pub fn octets(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    frames.into_iter().flat_map(|frame| frame.octets()).collect()
}

/// A head in as many frames as it takes.
pub fn head(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<Frame> {
    let block = block(fields);
    let (first, rest) = block.split_at(block.len().min(LARGEST));
    let end = if end { flag::END_STREAM } else { 0 };
    let mut frames = vec![Frame::new(kind::HEADERS, end, stream, first)];
    frames.extend(rest.chunks(LARGEST).map(|part| Frame::continuation(stream, part, false)));
    frames.last_mut().expect("there is the first").flags |= flag::END_HEADERS;
    frames
}

/// A list of fields, each literally and in full (RFC 7541 §6.2.2): names and values may be anything.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// The same field, to be remembered by the other end (RFC 7541 §6.2.1); the youngest of them is [`REMEMBERED`].
pub fn remember(name: &str, value: &str) -> Vec<u8> {
    literal(0x40, name, value)
}

/// Refers to the youngest remembered field (RFC 7541 §6.1): 62, behind the 61 static ones.
pub const REMEMBERED: u8 = 0x80 + 62;

fn literal(how: u8, name: &str, value: &str) -> Vec<u8> {
    [&[how][..], &text(name), &text(value)].concat()
}

/// A string as it is (RFC 7541 §5.2), its length a number with a prefix of seven bits (§5.1).
fn text(said: &str) -> Vec<u8> {
    let septet = |of: usize| u8::try_from(of & 0x7f).expect("seven bits");
    let mut octets = Vec::with_capacity(said.len() + 4);
    if said.len() < 127 {
        octets.push(septet(said.len()));
    } else {
        octets.push(127);
        let mut rest = said.len() - 127;
        while rest >= 128 {
            octets.push(septet(rest) | 0x80);
            rest >>= 7;
        }
        octets.push(septet(rest));
    }
    octets.extend_from_slice(said.as_bytes());
    octets
}
