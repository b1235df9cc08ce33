//! What does a gRPC answer say? Its status, whose doing that is, and whether the endpoint wants to be asked again.
//!
//! Source: gRPC over HTTP/2 (grpc/grpc, `PROTOCOL-HTTP2.md`), gRPC's HTTP status mapping, and gRFC A6 for pushback.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::deadline::number;
use super::outcome::Class;

/// The field that carries a [`Status`], in trailers or in the head of an answer without content.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The field beside it that says why, percent-encoded: [`encode_message`].
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The field that carries a [`Pushback`].
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// How a gRPC call ended, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "gRPC's own words, defined in its `statuscodes.md`")]
pub enum Status {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Status {
    /// Every status, by its number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// What a head or trailers say; `None`: nothing. A number that gRPC does not know is UNKNOWN, and so is what is no
    /// number.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        let said = fields.get(STATUS)?.as_bytes();
        let code = number(said, 3).and_then(|code| usize::try_from(code).ok());
        Some(code.and_then(|code| Self::ALL.get(code).copied()).unwrap_or(Self::Unknown))
    }

    /// The HTTP status that says the same (google.rpc.Code; its 501 of UNIMPLEMENTED is ours of a missing route): by it
    /// gRPC calls are counted beside all others.
    pub fn as_http(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound | Self::Unimplemented => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// What a gRPC client makes of an HTTP status that comes without a `grpc-status`: gRPC's "HTTP to gRPC Status Code
    /// Mapping". 200 is UNKNOWN as well: a call that went well says so.
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 | 431 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// Its number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word for policies, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid-argument",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::PermissionDenied => "permission-denied",
            Self::ResourceExhausted => "resource-exhausted",
            Self::FailedPrecondition => "failed-precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out-of-range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data-loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }

    /// Whose doing it is. Unlike with Linkerd, `PERMISSION_DENIED` is the caller's: a breaker must not open for it.
    pub fn class(self) -> Class {
        match self {
            Self::Ok => Class::Success,
            Self::Unknown | Self::DeadlineExceeded | Self::Internal | Self::Unavailable | Self::DataLoss => {
                Class::System
            }
            Self::ResourceExhausted => Class::Throttled,
            Self::Cancelled => Class::Neutral,
            Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::PermissionDenied
            | Self::FailedPrecondition
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Unauthenticated => Class::Customer,
        }
    }
}

impl From<Status> for HeaderValue {
    fn from(status: Status) -> Self {
        u16::from(status.code()).into()
    }
}

/// What an endpoint says about retries of the call that it failed (gRFC A6, "Pushback").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// Not before so long.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    /// What a head or trailers say; `None`: nothing. What is negative or no 32-bit number of milliseconds forbids.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        let said = number(fields.get(PUSHBACK)?.as_bytes(), 10);
        let millis = said.filter(|millis| i32::try_from(*millis).is_ok());
        Some(millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis))))
    }
}

/// A `grpc-message`: printable ASCII but `%` as it is, each other octet of UTF-8 as `%XX` (gRPC over HTTP/2,
/// "Responses").
pub fn encode_message(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b' '..=b'~' if octet != b'%' => encoded.push(char::from(octet)),
            _ => write!(encoded, "%{octet:02X}").expect("a string takes all that memory holds"),
        }
    }
    HeaderValue::try_from(encoded).expect("printable ASCII is a field value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(name: HeaderName, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())])
    }

    fn decode(value: &HeaderValue) -> String {
        let mut rest = value.as_bytes();
        let mut octets = Vec::new();
        while let [first, tail @ ..] = rest {
            let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).unwrap_or_default();
            rest = if *first == b'%' { &tail[2..] } else { tail };
            octets.push(if *first == b'%' { u8::from_str_radix(hex, 16).unwrap() } else { *first });
        }
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn ec_4_a_status_is_its_number_and_what_is_none_is_unknown() {
        assert_eq!(Status::read(&HeaderMap::new()), None);
        for code in 0..=999u16 {
            let known = Status::ALL.get(usize::from(code)).copied();
            let read = Status::read(&fields(STATUS, code.to_string().as_bytes()));
            assert_eq!(read, Some(known.unwrap_or(Status::Unknown)), "{code}");
            if let Some(status) = known {
                assert_eq!((u16::from(status.code()), HeaderValue::from(status)), (code, code.into()));
            }
        }
        for nonsense in ["", "-1", "+0", " 0", "0x0", "unavailable", "4294967296", "0, 0"] {
            assert_eq!(
                Status::read(&fields(STATUS, nonsense.as_bytes())),
                Some(Status::Unknown),
                "{nonsense}"
            );
        }
    }

    /// REQUIREMENTS, "Failures counted".
    #[test]
    fn ec_4_each_status_is_somebodys_doing() {
        let of =
            |class| Status::ALL.into_iter().filter(move |status| status.class() == class).map(Status::code);
        assert!(of(Class::Success).eq([0]));
        assert!(of(Class::Neutral).eq([1]));
        assert!(of(Class::System).eq([2, 4, 13, 14, 15]));
        assert!(of(Class::Throttled).eq([8]));
        assert!(of(Class::Customer).eq([3, 5, 6, 7, 9, 10, 11, 12, 16]));
    }

    /// The table of gRPC's `http-grpc-status-mapping.md`.
    #[test]
    fn ec_4_an_http_status_means_what_a_grpc_client_makes_of_it() {
        let table = [
            (Status::Internal, &[400, 431][..]),
            (Status::Unauthenticated, &[401]),
            (Status::PermissionDenied, &[403]),
            (Status::Unimplemented, &[404]),
            (Status::Unavailable, &[429, 502, 503, 504]),
        ];
        for code in 100..=999 {
            let row = table.iter().find(|(_, codes)| codes.contains(&code));
            let expected = row.map_or(Status::Unknown, |(status, _)| *status);
            assert_eq!(Status::of_http(StatusCode::from_u16(code).unwrap()), expected, "{code}");
        }
    }

    #[test]
    fn rt_13_pushback_waits_or_forbids() {
        let said = |value: &str| Pushback::read(&fields(PUSHBACK, value.as_bytes()));
        let wait = |millis| Some(Pushback::After(Duration::from_millis(millis)));
        assert_eq!(Pushback::read(&HeaderMap::new()), None);
        assert_eq!((said("0"), said("1500"), said("2147483647")), (wait(0), wait(1500), wait(2_147_483_647)));
        for forbids in ["-1", "", "soon", "1.5", "+1", "2147483648", "99999999999"] {
            assert_eq!(said(forbids), Some(Pushback::Never), "{forbids}");
        }
    }

    proptest! {
        #[test]
        fn a_message_survives_its_encoding(text in any::<String>()) {
            let encoded = encode_message(&text);
            prop_assert!(encoded.as_bytes().iter().all(|octet| (b' '..=b'~').contains(octet)));
            prop_assert_eq!(decode(&encoded), text);
        }
    }

    #[test]
    fn a_message_reads_well() {
        assert_eq!(encode_message("no route; 100% sure"), "no route; 100%25 sure");
        assert_eq!(encode_message("Grüße\r\n"), "Gr%C3%BC%C3%9Fe%0D%0A");
    }
}
