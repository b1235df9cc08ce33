//! Which path is judged, and which goes on? One rule for routes, limits and authorization.
//!
//! **Question.** An application may read `/public/%2e%2e/admin`, `//admin` or `/admin;x` as `/admin`. A rule for `/admin`
//! must not be got around by a spelling, and no application that needs such spellings should break for a rule that has
//! nothing to do with them.
//!
//! **The rule.** Where a rule looks at paths, a path is brought into one form, and refused with 400 where two readers may
//! differ on it. What rules see and what the application gets are two writings of that one form:
//!
//! 1. Percent-encoded octets of `unreserved` are decoded, digits of others are upper-case (RFC 3986 §6.2.2.1, §6.2.2.2).
//! 2. Segments `.` and `..` are removed (§6.2.2.3, by §5.2.4: above the root there is the root).
//! 3. That is **sent**. Rules **see** it with all other octets decoded too, since applications decode before they look: a
//!    rule for `/a:b` takes `/a%3Ab`.
//! 4. Refused: `%2F`, `//` and `;` in any spelling, unless the listener's `paths` keeps them; always `\` in any spelling,
//!    a dot segment that comes about by decoding, by a parameter or beside something kept, `%` without two digits, an
//!    encoding of an encoding (`%252e`), controls, octets beyond ASCII, and what decodes to no UTF-8 (`%C0%AE`).
//! 5. What is kept is sent as it came, and seen as the most lenient reader would: `%2F` and `//` as one slash,
//!    parameters not at all. So a `deny` still holds; an `allow` should then name no path that is a prefix of another's.
//!
//! The query is no part of it. Paths are compared with regard to case (RFC 9110 §4.2.3).
//!
//! **Why so.** Only what is judged may go on: to judge one form and send another would leave the application a reading of
//! its own. To merge `//` or decode `%2F` silently would give the application another resource than was asked for, and
//! to refuse them everywhere would break package registries, object stores and matrix parameters for nothing. So it is
//! refused where it could matter, the operator may say that the application means it, and a path that no rule looks at
//! passes octet by octet.
//!
//! **Time.** [`is_plain`] knows almost every path in one pass; nothing is allocated for those.
//!
//! **Source.** RFC 3986 §6.2.2; what is refused is what Spring's `StrictHttpFirewall` refuses, for the reasons given there.

use outrigger_config::model::{Oddity, Paths};

/// Why two readers may differ on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ambiguity {
    /// A slash that is encoded: part of a segment, or the end of one?
    EscapedSlash,
    /// A segment without anything in it.
    EmptySegment,
    /// `;`: part of a segment, or a parameter of it?
    Parameter,
    /// `\`, a slash to some.
    Backslash,
    /// A dot segment for those only who decode first, or who leave out parameters.
    DotSegment,
    /// Not what is encoded once: a stray `%`, an encoded encoding, or octets that are no UTF-8.
    Encoding,
    /// An octet that no path has (RFC 3986 §3.3), as it is or encoded: a control, or one beyond ASCII.
    Octet,
}

impl Ambiguity {
    /// The cause in `x-outrigger-reason`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::EscapedSlash => "path-escaped-slash",
            Self::EmptySegment => "path-empty-segment",
            Self::Parameter => "path-parameter",
            Self::Backslash => "path-backslash",
            Self::DotSegment => "path-dot-segment",
            Self::Encoding => "path-encoding",
            Self::Octet => "path-octet",
        }
    }
}

/// A path in its one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What goes on.
    pub sent: String,
    /// What rules see.
    pub seen: String,
}

/// Whether it is in its one form already, and rules see it as it is. Also `*`, which is no path (RFC 9112 §3.2.4).
pub fn is_plain(path: &str) -> bool {
    let mut before = 0;
    for &octet in path.as_bytes() {
        match octet {
            b'/' | b'.' if before == b'/' => return false,
            b'%' | b'\\' | b';' => return false,
            b'!'..=b'~' => before = octet,
            _ => return false,
        }
    }
    path.starts_with('/') || path == "*"
}

/// The one form of a path that is not [plain](is_plain), or why there is none.
pub fn settle(path: &str, keep: &Paths) -> Result<Settled, Ambiguity> {
    if !path.starts_with('/') {
        return Err(Ambiguity::Octet);
    }
    let mut reader =
        Reader { keep, sent: String::new(), seen: Vec::new(), segment: Segment::default(), odd: false };
    let mut rest = path.as_bytes();
    while let [octet, tail @ ..] = rest {
        rest = match (octet, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let (high, low) = hex(*high).zip(hex(*low)).ok_or(Ambiguity::Encoding)?;
                reader.encoded(high << 4 | low)?;
                tail
            }
            (b'%', _) => return Err(Ambiguity::Encoding),
            _ => {
                reader.plain(*octet)?;
                tail
            }
        };
    }
    reader.finish()
}

/// What has been read so far.
struct Reader<'k> {
    keep: &'k Paths,
    sent: String,
    seen: Vec<u8>,
    segment: Segment,
    /// Something was kept on which readers differ.
    odd: bool,
}

/// The segment in hand.
#[derive(Default)]
struct Segment {
    /// Where it begins in what rules see.
    start: usize,
    /// A dot of it was encoded.
    encoded_dot: bool,
    /// A parameter of it has begun, which rules do not see.
    parameter: bool,
    /// There were dot segments before it.
    dots: bool,
}

impl Reader<'_> {
    /// An octet as it came.
    fn plain(&mut self, octet: u8) -> Result<(), Ambiguity> {
        match octet {
            b'/' => {
                self.slash()?;
                self.sent.push('/');
            }
            b'\\' => return Err(Ambiguity::Backslash),
            b';' => {
                self.parameter()?;
                self.sent.push(';');
            }
            b'!'..=b'~' => {
                self.see(octet);
                self.sent.push(char::from(octet));
            }
            _ => return Err(Ambiguity::Octet),
        }
        Ok(())
    }

    /// An octet that came encoded.
    fn encoded(&mut self, octet: u8) -> Result<(), Ambiguity> {
        match octet {
            b'/' => {
                self.odd(self.keep.escaped_slashes, Ambiguity::EscapedSlash)?;
                self.slash()?;
            }
            b'\\' => return Err(Ambiguity::Backslash),
            b';' => self.parameter()?,
            0..=0x1f | 0x7f => return Err(Ambiguity::Octet),
            _ => self.see(octet),
        }
        self.segment.encoded_dot |= octet == b'.';
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            self.sent.push(char::from(octet));
        } else {
            let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
            self.sent.extend(['%', digit(octet >> 4), digit(octet & 15)]);
        }
        Ok(())
    }

    fn see(&mut self, octet: u8) {
        if !self.segment.parameter {
            self.seen.push(octet);
        }
    }

    fn parameter(&mut self) -> Result<(), Ambiguity> {
        self.segment.parameter = true;
        self.odd(self.keep.parameters, Ambiguity::Parameter)
    }

    /// What rules see of the segment in hand.
    fn segment(&self) -> &[u8] {
        &self.seen[self.segment.start..]
    }

    /// The segment in hand ends, and another begins.
    fn slash(&mut self) -> Result<(), Ambiguity> {
        self.end_segment()?;
        if self.seen.is_empty() {
            self.seen.push(b'/');
        } else if self.segment().is_empty() {
            self.odd(self.keep.empty_segments, Ambiguity::EmptySegment)?;
        } else {
            self.seen.push(b'/');
        }
        self.segment = Segment { start: self.seen.len(), dots: self.segment.dots, ..Segment::default() };
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), Ambiguity> {
        if matches!(self.segment(), b"." | b"..") {
            if self.segment.encoded_dot || self.segment.parameter {
                return Err(Ambiguity::DotSegment);
            }
            self.segment.dots = true;
        }
        Ok(())
    }

    /// Something on which readers differ.
    fn odd(&mut self, wanted: Oddity, ambiguity: Ambiguity) -> Result<(), Ambiguity> {
        self.odd = true;
        if wanted == Oddity::Keep { Ok(()) } else { Err(ambiguity) }
    }

    fn finish(mut self) -> Result<Settled, Ambiguity> {
        self.end_segment()?;
        if is_encoded_twice(&self.sent) {
            return Err(Ambiguity::Encoding);
        }
        let seen = String::from_utf8(self.seen).map_err(|_| Ambiguity::Encoding)?;
        match (self.segment.dots, self.odd) {
            (false, _) => Ok(Settled { sent: self.sent, seen }),
            (true, true) => Err(Ambiguity::DotSegment),
            (true, false) => Ok(Settled { sent: without_dots(&self.sent), seen: without_dots(&seen) }),
        }
    }
}

/// Who decodes it twice would read something that nobody judged.
fn is_encoded_twice(sent: &str) -> bool {
    let octets = sent.as_bytes();
    octets.windows(5).any(|five| five.starts_with(b"%25") && hex(five[3]).is_some() && hex(five[4]).is_some())
}

/// RFC 3986 §5.2.4, for paths without empty segments but the last.
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut is_folder = false;
    for segment in path.split('/').skip(1) {
        is_folder = matches!(segment, "." | ".." | "");
        match segment {
            "." | "" => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut path: String = kept.iter().flat_map(|segment| ["/", segment]).collect();
    if is_folder || path.is_empty() {
        path.push('/');
    }
    path
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
