//! What does a connection speak? A decision from its first octets: TLS with the name that it asks for, HTTP in whichever
//! version, or something else.
//!
//! It is HTTP once `HTTP/` stands where a request line has it, so what merely begins with a word in capitals (inline
//! commands of Redis, say) is not. Who sends half of a request line and then nothing is taken for HTTP all the same: it gets
//! HTTP's answers and policies, not a way around them.

use super::hello;

/// What the first octets show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speaks {
    /// A handshake of TLS, perhaps with the name of who is wanted.
    Tls {
        /// That name, in lower case.
        sni: Option<String>,
    },
    /// HTTP, in a version that shows when it is read.
    Http,
    /// Anything else.
    Opaque,
}

/// More octets are needed; if none come, it is to be taken for this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct More(pub Speaks);

/// RFC 9110 §9.3, RFC 5789, and the first word of HTTP/2's preface (RFC 9113 §3.4).
const METHODS: [&[u8]; 10] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH", b"PRI"];
/// No method is longer.
const LONGEST_METHOD: usize = 32;
/// What a request line ends with, in HTTP/2's preface too.
const VERSION: &[u8] = b"HTTP/";

impl Speaks {
    /// For metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Tls { .. } => "tls",
            Self::Http => "http",
            Self::Opaque => "opaque",
        }
    }
}

/// Decides.
pub fn look(octets: &[u8]) -> Result<Speaks, More> {
    match hello::read(octets) {
        Ok(sni) => return Ok(Speaks::Tls { sni }),
        Err(hello::Unread::More) if !octets.is_empty() => return Err(More(Speaks::Tls { sni: None })),
        Err(hello::Unread::More | hello::Unread::No) => {}
    }
    request_line(octets)
}

/// RFC 9112 §3, after empty lines that are none (§2.2).
fn request_line(octets: &[u8]) -> Result<Speaks, More> {
    let begin = octets.iter().position(|octet| !b"\r\n".contains(octet)).unwrap_or(octets.len());
    let line = octets[begin..].split(|octet| b"\r\n".contains(octet)).next().unwrap_or_default();
    let ended = begin + line.len() < octets.len();
    let mut words = line.splitn(3, |octet| *octet == b' ');
    let method = words.next().unwrap_or_default();
    if method.len() > LONGEST_METHOD || !method.iter().copied().all(is_token) {
        return Ok(Speaks::Opaque);
    }
    let (target, version) = (words.next(), words.next().unwrap_or_default());
    if target.is_some_and(|target| target.iter().any(u8::is_ascii_control)) {
        return Ok(Speaks::Opaque);
    }
    if version.starts_with(VERSION) {
        return Ok(Speaks::Http);
    }
    if ended || !VERSION.starts_with(version) || method.is_empty() && target.is_some() {
        return Ok(Speaks::Opaque);
    }
    let known = !method.is_empty()
        && METHODS.iter().any(|known| match target {
            Some(_) => *known == method,
            None => known.starts_with(method),
        });
    Err(More(if known { Speaks::Http } else { Speaks::Opaque }))
}

/// RFC 9110 §5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

#[cfg(test)]
mod tests;
