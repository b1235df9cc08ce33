//! Which words name a peer? `spiffe://simplebank/market-data`, `dns:market-data.internal`.

use std::fmt;

use super::{Host, Malformed, Scalar, malformed};
use crate::model::{PeerIdentity, SpiffeId};

impl SpiffeId {
    pub(crate) const SCHEME: &'static str = "spiffe://";
    /// SPIFFE-ID §2.3: what an implementation must take, and so all that anybody may rely on.
    const LONGEST: usize = 2048;
    /// SPIFFE-ID §2.1 with RFC 3986 §3.2.2.
    const LONGEST_DOMAIN: usize = 255;
}

impl Scalar for SpiffeId {
    const WHAT: &'static str = "a SPIFFE ID such as `spiffe://simplebank/market-data`";
    const PATTERN: &'static str = "^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$";

    /// By the letter of SPIFFE-ID §2: one spelling an id, so that equal text is equal identity. Query, fragment, port,
    /// user and percent-encoding fall with the characters that they need.
    fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |help| malformed::<Self>(text, help);
        let rest = text.strip_prefix(Self::SCHEME).ok_or_else(|| wrong("it begins with `spiffe://`"))?;
        if text.len() > Self::LONGEST {
            return Err(wrong("it has at most 2048 bytes"));
        }
        let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
        // SPIFFE-ID §2.1.
        let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
        if domain.is_empty() || domain.len() > Self::LONGEST_DOMAIN || !domain.bytes().all(letter) {
            return Err(wrong(
                "a trust domain has lower-case letters, digits, `.`, `-` and `_`, at most 255",
            ));
        }
        // X509-SVID §3.1: the id of a workload has a path; without one it is the trust domain's own.
        if !rest.contains('/') {
            return Err(wrong("behind the trust domain comes the workload's path"));
        }
        // SPIFFE-ID §2.2.
        let inner = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
        let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(inner);
        if !path.split('/').all(segment) {
            let help = "a path has segments of letters, digits, `.`, `-` and `_`, none empty, `.` or `..`";
            return Err(wrong(help));
        }
        Ok(Self { text: text.into(), domain_end: Self::SCHEME.len() + domain.len() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Scalar for PeerIdentity {
    const WHAT: &'static str =
        "an identity such as `spiffe://simplebank/market-data` or `dns:market-data.internal`";
    const PATTERN: &'static str =
        "^(spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+|dns:[A-Za-z0-9_.-]{1,253})$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        match text.strip_prefix("dns:") {
            Some(name) => Host::parse(name).map(|host| Self::Dns(host.as_str().into())),
            None if text.starts_with("spiffe:") => SpiffeId::parse(text).map(Self::Spiffe),
            None => Err(malformed::<Self>(text, "it begins with `spiffe://` or `dns:`")),
        }
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => id.fmt(f),
            Self::Dns(name) => write!(f, "dns:{name}"),
        }
    }
}
