//! Where does a message's content end? Decoders and encoders of RFC 9112 §6–7; pure, over slices, without buffers.

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue};

use crate::message::framing::is_forbidden_trailer;
use crate::message::{Framing, Malformation, TrailerLimits};

/// Octets of chunk extensions that one body may carry.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Hexadecimal digits of a chunk size: enough for 2^60.
const MAX_SIZE_DIGITS: u8 = 15;

/// What a decoder found next.
#[derive(Debug)]
pub enum Chunk<'a> {
    /// Content; never empty.
    Data(&'a [u8]),
    /// All of the input is used up; read on.
    More,
    /// The content is complete.
    End(Option<Box<HeaderMap>>),
}

/// Finds the content in what is read.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: TrailerLimits,
    extensions: usize,
    had_trailers: bool,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    Size {
        value: u64,
        digits: u8,
    },
    /// Blanks after a size; an extension may follow, but no further digit.
    Blank {
        value: u64,
    },
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    Trailers(Vec<u8>),
    Done,
}

impl Decoder {
    /// Of a message framed so.
    pub fn new(framing: Framing, limits: TrailerLimits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { value: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits, extensions: 0, had_trailers: false }
    }

    /// All content was seen.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The content was followed by trailers.
    pub fn had_trailers(&self) -> bool {
        self.had_trailers
    }

    /// The connection ended here: is that an end of the content?
    pub fn finish(&mut self) -> Result<(), Malformation> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Malformation::Truncated),
        }
    }

    /// The next piece of `input`, which it takes from its front.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Chunk<'a>, Malformation> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Chunk::End(None)),
                _ if input.is_empty() => return Ok(Chunk::More),
                State::UntilClose => return Ok(Chunk::Data(std::mem::take(input))),
                State::Length(left) | State::Data(left) => {
                    let take = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    let (data, rest) = input.split_at(take);
                    *input = rest;
                    *left -= take as u64;
                    if *left == 0 {
                        let was_chunk = matches!(self.state, State::Data(_));
                        self.state = if was_chunk { State::DataCr } else { State::Done };
                    }
                    return Ok(Chunk::Data(data));
                }
                State::Trailers(_) => return self.trailers(input),
                _ => {
                    let octet = input[0];
                    *input = &input[1..];
                    self.between(octet)?;
                }
            }
        }
    }

    /// One octet of chunked coding outside of chunk data (RFC 9112 §7.1). Line ends are CR LF and nothing else.
    fn between(&mut self, octet: u8) -> Result<(), Malformation> {
        self.state = match (&self.state, octet) {
            (&State::Size { value, digits }, octet) if octet.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Malformation::Chunk);
                }
                let digit = char::from(octet).to_digit(16).map_or(0, u64::from);
                State::Size { value: value * 16 + digit, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Malformation::Chunk),
            (&(State::Size { value, .. } | State::Blank { value } | State::Extension { value }), b'\r') => {
                State::SizeLf { value }
            }
            (&(State::Size { value, .. } | State::Blank { value }), b' ' | b'\t') => {
                self.extension()?;
                State::Blank { value }
            }
            (&(State::Size { value, .. } | State::Blank { value }), b';') => {
                self.extension()?;
                State::Extension { value }
            }
            (&State::Extension { value }, octet)
                if octet == b'\t' || (b' '..=b'~').contains(&octet) || octet >= 0x80 =>
            {
                self.extension()?;
                State::Extension { value }
            }
            (State::SizeLf { value: 0 }, b'\n') => State::Trailers(Vec::new()),
            (&State::SizeLf { value }, b'\n') => State::Data(value),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(Malformation::Chunk),
        };
        Ok(())
    }

    fn extension(&mut self) -> Result<(), Malformation> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Malformation::Extensions) } else { Ok(()) }
    }

    /// The trailer section, kept until its empty line is there (RFC 9112 §7.1.2).
    fn trailers<'a>(&mut self, input: &mut &'a [u8]) -> Result<Chunk<'a>, Malformation> {
        let State::Trailers(seen) = &mut self.state else { return Ok(Chunk::More) };
        while let Some((&octet, rest)) = input.split_first() {
            *input = rest;
            // For another reader a bare LF may end the section, and begin the next request.
            if octet == b'\n' && seen.last() != Some(&b'\r') {
                return Err(Malformation::Trailers);
            }
            seen.push(octet);
            if seen.len() > self.limits.bytes + 2 {
                return Err(Malformation::TrailersTooLarge);
            }
            if seen == b"\r\n" {
                self.state = State::Done;
                return Ok(Chunk::End(None));
            }
            if seen.ends_with(b"\r\n\r\n") {
                let trailers = parse_trailers(seen, self.limits.fields)?;
                self.state = State::Done;
                self.had_trailers = true;
                return Ok(Chunk::End(Some(Box::new(trailers))));
            }
        }
        Ok(Chunk::More)
    }
}

fn parse_trailers(section: &[u8], max: usize) -> Result<HeaderMap, Malformation> {
    let mut slots = vec![httparse::EMPTY_HEADER; max];
    let parsed = match httparse::parse_headers(section, &mut slots) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformation::TrailersTooLarge),
        _ => return Err(Malformation::Trailers),
    };
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformation::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformation::Trailers)?;
        if is_forbidden_trailer(&name) {
            return Err(Malformation::Trailers);
        }
        trailers.append(name, value);
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests;
