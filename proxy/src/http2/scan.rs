//! Which frames pass by? Reads frame heads (RFC 9113 §4.1) out of a stream of octets, in whatever pieces they come.

/// Octets of a frame's head.
const HEAD: usize = 9;
/// Octets of payload that are kept of frames that say something in them.
const LEAD: usize = 8;
/// And of what a GOAWAY says to people.
const TEXT: usize = 16;

/// A frame whose head, and what is kept of its payload, has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Octets of payload.
    pub length: u32,
    /// The first two words of the payload of `RST_STREAM` and GOAWAY; else zero.
    pub lead: [u32; 2],
    /// The text that a GOAWAY adds, or how it begins; else zero.
    pub text: [u8; TEXT],
}

impl Frame {
    /// Of SETTINGS and PING: it answers ours.
    pub fn is_ack(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Types of frames (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// DATA
    Data,
    /// HEADERS
    Headers,
    /// PRIORITY
    Priority,
    /// `RST_STREAM`
    Reset,
    /// SETTINGS
    Settings,
    /// PING
    Ping,
    /// GOAWAY
    GoAway,
    /// `WINDOW_UPDATE`
    WindowUpdate,
    /// CONTINUATION
    Continuation,
    /// `PUSH_PROMISE`, or one that nobody knows.
    Other,
}

impl Kind {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }

    fn speaks(self) -> bool {
        matches!(self, Self::Reset | Self::GoAway)
    }
}

/// Where in the stream of frames the octets stand.
#[derive(Debug)]
pub struct Scanner {
    seen: [u8; HEAD + LEAD + TEXT],
    have: usize,
    /// Octets of payload still to pass.
    skip: usize,
}

impl Scanner {
    /// At the start of a stream that begins with `preface` octets of no frame.
    pub fn new(preface: usize) -> Self {
        Self { seen: [0; HEAD + LEAD + TEXT], have: 0, skip: preface }
    }

    /// Some of a frame has passed, and not all of it.
    pub fn is_inside(&self) -> bool {
        self.have > 0 || self.skip > 0
    }

    /// Octets that pass; each frame is shown once.
    pub fn feed(&mut self, mut octets: &[u8], mut show: impl FnMut(Frame)) {
        while !octets.is_empty() {
            let skipped = self.skip.min(octets.len());
            octets = &octets[skipped..];
            self.skip -= skipped;
            if self.skip > 0 {
                return;
            }
            let taken = (self.wanted() - self.have).min(octets.len());
            self.seen[self.have..self.have + taken].copy_from_slice(&octets[..taken]);
            self.have += taken;
            octets = &octets[taken..];
            // With its head, a frame that speaks turns out to want more.
            if self.have >= HEAD && self.have == self.wanted() {
                show(self.frame());
                self.skip = self.length() + HEAD - self.have;
                self.have = 0;
            }
        }
    }

    fn wanted(&self) -> usize {
        let speaks = self.have >= HEAD && Kind::of(self.seen[3]).speaks();
        if speaks { HEAD + (LEAD + TEXT).min(self.length()) } else { HEAD }
    }

    fn length(&self) -> usize {
        u32::from_be_bytes([0, self.seen[0], self.seen[1], self.seen[2]]) as usize
    }

    fn frame(&self) -> Frame {
        let octet = |at: usize| if at < self.have { self.seen[at] } else { 0 };
        let word = |at: usize| u32::from_be_bytes([octet(at), octet(at + 1), octet(at + 2), octet(at + 3)]);
        Frame {
            kind: Kind::of(self.seen[3]),
            flags: self.seen[4],
            length: u32::from_be_bytes([0, self.seen[0], self.seen[1], self.seen[2]]),
            lead: [word(HEAD), word(HEAD + 4)],
            text: std::array::from_fn(|nth| octet(HEAD + LEAD + nth)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets(frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut octets = Vec::new();
        for (kind, flags, payload) in frames {
            octets.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
            octets.extend_from_slice(&[*kind, *flags, 0, 0, 0, 1]);
            octets.extend_from_slice(payload);
        }
        octets
    }

    proptest! {
        #[test]
        fn frames_are_seen_in_whatever_pieces_they_come(
            frames in prop::collection::vec((0u8..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            piece in 1usize..50,
        ) {
            let mut scanner = Scanner::new(3);
            let mut seen = Vec::new();
            scanner.feed(b"PRI", |frame| seen.push(frame));
            for piece in octets(&frames).chunks(piece) {
                scanner.feed(piece, |frame| seen.push(frame));
            }
            prop_assert!(!scanner.is_inside());
            prop_assert_eq!(seen.len(), frames.len());
            for (seen, (kind, flags, payload)) in seen.iter().zip(&frames) {
                prop_assert_eq!((seen.kind, seen.flags), (Kind::of(*kind), *flags));
                prop_assert_eq!(seen.length as usize, payload.len());
                if seen.kind.speaks() && payload.len() >= 8 {
                    prop_assert_eq!(&seen.lead[0].to_be_bytes(), &payload[..4]);
                    prop_assert_eq!(&seen.lead[1].to_be_bytes(), &payload[4..8]);
                    let text = &payload[8..payload.len().min(8 + TEXT)];
                    prop_assert_eq!(&seen.text[..text.len()], text);
                }
            }
        }
    }
}
