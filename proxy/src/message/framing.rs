//! Where does content end, and what may follow it?

use http::HeaderName;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::known::Known;

/// How the end of the content is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// Exactly so many octets.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// It ends with the connection (responses only).
    UntilClose,
}

/// Bounds on trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailerLimits {
    /// Octets of the trailer section.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
}

/// Why content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformation {
    /// Not the chunked coding by grammar.
    Chunk,
    /// More chunk extensions than anyone needs.
    Extensions,
    /// More or larger trailers than allowed.
    TrailersTooLarge,
    /// Trailers that are no fields, or that would change framing, routing or authentication (RFC 9110 §6.5.1).
    Trailers,
    /// The connection ended before the content did.
    Truncated,
}

impl Malformation {
    /// For metrics and the reason header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::Extensions => "chunk-extensions",
            Self::TrailersTooLarge => "trailers-too-large",
            Self::Trailers => "trailers",
            Self::Truncated => "truncated",
        }
    }
}

/// Whether a field must not come after the content. There are applications that take trailers for further fields of the
/// head, so that goes for who called too: what a caller says of that himself is kept from them in the head.
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    FORBIDDEN_TRAILERS.contains(name) || Known::of(name.as_str()).has(Known::CLIENT_CERT)
}

/// Framing, routing, modifiers, authentication (RFC 9110 §6.5.1).
pub const FORBIDDEN_TRAILERS: [HeaderName; 19] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
