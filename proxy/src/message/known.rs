//! Which fields do we act on? Noted while a head is read, so that what is not there is never looked for.

use http::HeaderMap;

/// A set of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known(u32);

impl Known {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// `connection`
    pub const CONNECTION: Self = Self(1);
    /// `keep-alive`
    pub const KEEP_ALIVE: Self = Self(1 << 1);
    /// `te`
    pub const TE: Self = Self(1 << 2);
    /// `transfer-encoding`
    pub const TRANSFER_ENCODING: Self = Self(1 << 3);
    /// `content-length`
    pub const CONTENT_LENGTH: Self = Self(1 << 4);
    /// `proxy-connection`, `proxy-authorization`: of this hop, and nothing that we act on.
    pub const OTHER_HOP: Self = Self(1 << 5);
    /// `host`
    pub const HOST: Self = Self(1 << 6);
    /// `expect`
    pub const EXPECT: Self = Self(1 << 7);
    /// `via`
    pub const VIA: Self = Self(1 << 8);
    /// `x-request-attempt`
    pub const ATTEMPT: Self = Self(1 << 9);
    /// `x-deadline`, `grpc-timeout`, `x-envoy-expected-rq-timeout-ms`
    pub const DEADLINE: Self = Self(1 << 10);
    /// `x-forwarded-for`
    pub const FORWARDED_FOR: Self = Self(1 << 11);
    /// `x-request-id`
    pub const REQUEST_ID: Self = Self(1 << 12);
    /// `traceparent`
    pub const TRACEPARENT: Self = Self(1 << 13);

    /// `upgrade`
    pub const UPGRADE: Self = Self(1 << 14);
    /// `content-type`
    pub const CONTENT_TYPE: Self = Self(1 << 15);
    /// `cookie`
    pub const COOKIE: Self = Self(1 << 16);
    /// `x-forwarded-client-cert`, also with `_` for `-`: to many applications that is the same field.
    pub const CLIENT_CERT: Self = Self(1 << 17);

    /// Fields of one connection, never passed on (RFC 9110 §7.6.1), and the framing, which each hop writes anew.
    pub const HOP: Self = Self::CONNECTION
        .and(Self::KEEP_ALIVE)
        .and(Self::TE)
        .and(Self::TRANSFER_ENCODING)
        .and(Self::CONTENT_LENGTH)
        .and(Self::UPGRADE)
        .and(Self::OTHER_HOP);
    /// Fields of a request that we write anew beside those.
    pub const REWRITTEN: Self = Self::HOP
        .and(Self::HOST)
        .and(Self::COOKIE)
        .and(Self::VIA)
        .and(Self::ATTEMPT)
        .and(Self::DEADLINE)
        .and(Self::FORWARDED_FOR);

    /// Those of a whole map.
    pub fn all(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::NONE, |known, name| known.and(Self::of(name.as_str())))
    }

    /// The field of this lower-case name.
    pub fn of(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "keep-alive" => Self::KEEP_ALIVE,
            "te" => Self::TE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "content-length" => Self::CONTENT_LENGTH,
            "upgrade" => Self::UPGRADE,
            "content-type" => Self::CONTENT_TYPE,
            "cookie" => Self::COOKIE,
            "proxy-connection" | "proxy-authorization" => Self::OTHER_HOP,
            "host" => Self::HOST,
            "expect" => Self::EXPECT,
            "via" => Self::VIA,
            "x-request-attempt" => Self::ATTEMPT,
            "x-deadline" | "grpc-timeout" | "x-envoy-expected-rq-timeout-ms" => Self::DEADLINE,
            "x-forwarded-for" => Self::FORWARDED_FOR,
            "x-request-id" => Self::REQUEST_ID,
            "traceparent" => Self::TRACEPARENT,
            _ if is_client_cert(name) => Self::CLIENT_CERT,
            _ => Self::NONE,
        }
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of `other` is in it.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

fn is_client_cert(name: &str) -> bool {
    let wanted = "x-forwarded-client-cert";
    let same = |(said, wanted): (u8, u8)| said == wanted || (said, wanted) == (b'_', b'-');
    name.len() == wanted.len() && name.bytes().zip(wanted.bytes()).all(same)
}
