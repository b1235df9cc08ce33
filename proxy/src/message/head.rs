//! What does a head say? The same of every version of HTTP, once it has been read.

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap};
use http::{Method, StatusCode, Uri};

use super::framing::Framing;
use super::known::Known;

/// The most fields that a head may have on any side; limits in policy are at most this.
pub const MAX_FIELDS: usize = 200;

/// Version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, closes unless asked to keep.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2: streams of one connection.
    Http2,
}

/// Bounds on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Octets up to and including the empty line.
    pub bytes: usize,
    /// Field lines.
    pub fields: usize,
    /// Octets of the request target.
    pub target: usize,
}

/// What a downstream asked for.
#[derive(Debug)]
pub struct RequestHead {
    /// Any token.
    pub method: Method,
    /// In origin, absolute, authority or asterisk form (RFC 9112 §3.2).
    pub target: Uri,
    /// What rules see instead of the target's path, where that is another writing of it.
    pub seen_path: Option<Box<str>>,
    /// As the peer speaks.
    pub version: Version,
    /// All fields, names in lower case, in order for equal names.
    pub headers: HeaderMap,
    /// Which of those that we act on are among them.
    pub known: Known,
    /// How its content ends.
    pub framing: Framing,
    /// The peer wants the connection kept (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// The peer waits for 100 (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The peer wants another protocol, which `upgrade` among the fields names (RFC 9110 §7.8, RFC 8441 §4).
    pub upgrade: bool,
}

impl RequestHead {
    /// Whom the request is for: the target's authority, else `Host` (RFC 9112 §3.3).
    pub fn authority(&self) -> &str {
        match self.target.authority() {
            Some(authority) => authority.as_str(),
            None => self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        }
    }

    /// Its authority without port, which may be an IPv6 literal (RFC 3986 §3.2.2).
    pub fn host(&self) -> &str {
        let authority = self.authority();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host.rfind(':') {
            Some(colon) if !host[colon..].contains(']') => &host[..colon],
            _ => host,
        };
        // The root's dot names the same host (RFC 1034 §3.1).
        host.strip_suffix('.').unwrap_or(host)
    }

    /// The path as rules see it. CONNECT has none (RFC 9110 §9.3.6): rules that say none take it.
    pub fn path(&self) -> &str {
        match &self.seen_path {
            _ if self.method == Method::CONNECT => "/",
            Some(seen) => seen,
            None => self.target.path(),
        }
    }
}

/// What an upstream answered.
#[derive(Debug)]
pub struct ResponseHead {
    /// 100..=999 as sent.
    pub status: StatusCode,
    /// As the peer speaks.
    pub version: Version,
    /// All fields.
    pub headers: HeaderMap,
    /// Which of those that we act on are among them.
    pub known: Known,
    /// How its content ends.
    pub framing: Framing,
    /// The connection may serve another request.
    pub keep_alive: bool,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1 by grammar.
    Syntax,
    /// Neither 1.0 nor 1.1.
    Version,
    /// Content-Length and Transfer-Encoding contradict each other or themselves (RFC 9112 §6.3).
    Framing,
    /// A transfer coding other than a final, single `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// No Host, several, or one that is no authority (RFC 9112 §3.2).
    Host,
    /// More octets than allowed.
    TooLarge,
    /// More fields than allowed.
    TooManyFields,
    /// A target longer than allowed.
    TargetTooLong,
}

impl HeadError {
    /// For metrics and the reason header.
    pub fn label(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Version => "version",
            Self::Framing => "framing",
            Self::TransferCoding => "transfer-coding",
            Self::Host => "host",
            Self::TooLarge => "head-too-large",
            Self::TooManyFields => "too-many-fields",
            Self::TargetTooLong => "target-too-long",
        }
    }

    /// What the downstream that sent it is told.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Syntax | Self::Framing | Self::Host => StatusCode::BAD_REQUEST,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
        }
    }
}

/// The authority form is CONNECT's alone, and its only one (RFC 9112 §3.2.3): else a relative path would overrule `Host`. It
/// names a port (RFC 9110 §9.3.6), also where it is a field of HTTP/2 (RFC 9113 §8.5). `*` is OPTIONS' alone (§3.2.4).
pub fn is_form_of(method: &Method, target: &Uri) -> bool {
    let bare = target.scheme().is_none();
    match target.authority() {
        Some(place) if *method == Method::CONNECT => {
            bare && place.port_u16().is_some() && !place.host().is_empty()
        }
        Some(_) => !bare,
        None => *method != Method::CONNECT && (target.path() != "*" || *method == Method::OPTIONS),
    }
}

/// Content may follow an answer like that, to a request of this method (RFC 9110 §6.4.1).
pub fn may_have_content(status: StatusCode, to: &Method) -> bool {
    *to != Method::HEAD
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// The sender of these fields waits for 100 before its content (RFC 9110 §10.1.1).
pub fn expects_continue(headers: &HeaderMap, known: Known) -> bool {
    known.has(Known::EXPECT)
        && headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The options of all `Connection` fields (RFC 9110 §7.6.1).
pub fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&octet| octet == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Why no response head came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveError {
    /// The connection or stream broke or ended; `silent`: before any octet of an answer.
    Closed {
        /// Nothing of an answer was seen.
        silent: bool,
    },
    /// The stream was refused: nothing was done for it (RFC 9113 §8.7).
    Refused,
    /// The connection is being closed, and nothing was done for this stream (RFC 9113 §6.8).
    GoneAway {
        /// Something was done for others.
        progressed: bool,
    },
    /// The peer ended the connection with an alert of TLS that refuses us: it has looked at nothing.
    Unwelcome,
    /// What came is no response head.
    Head(HeadError),
}
