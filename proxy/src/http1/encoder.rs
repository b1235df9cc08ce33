//! How is content written so that its end is seen?

use std::io::{self, Write};
use std::task::Context;

use http::HeaderMap;

use super::wire::Wire;
use crate::message::Framing;

/// Writes one message's content.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    framing: Framing,
}

impl Encoder {
    /// For a message whose head announced this framing.
    pub fn new(framing: Framing) -> Self {
        Self { framing }
    }

    /// All announced content was written.
    pub fn is_done(&self) -> bool {
        matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Takes content. More than was announced is an error of the source, and never sent.
    pub fn push(&mut self, cx: &mut Context<'_>, wire: &mut Wire, data: &[u8]) -> io::Result<()> {
        match &mut self.framing {
            Framing::None => Err(io::ErrorKind::InvalidData.into()),
            Framing::UntilClose => wire.push(cx, data),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                wire.push(cx, data)
            }
            // RFC 9112 §7.1. The chunk's own CR LF leaves with what follows it.
            Framing::Chunked => {
                write!(wire.out(), "{:x}\r\n", data.len())?;
                wire.push(cx, data)?;
                wire.out().extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    /// Ends the content. Less than was announced is an error, and the peer must see it as one.
    pub fn finish(&mut self, wire: &mut Wire, trailers: Option<&HeaderMap>) -> io::Result<()> {
        match self.framing {
            Framing::Length(1..) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Framing::Chunked => {
                let out = wire.out();
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    push_field(out, name.as_str(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
            Framing::None | Framing::Length(0) | Framing::UntilClose => {}
        }
        self.framing = Framing::None;
        Ok(())
    }
}

/// One field line (RFC 9112 §5).
pub fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
