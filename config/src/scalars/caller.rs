//! Which words say whose identity? One, or all of a trust domain.

use std::fmt;

use super::{Malformed, Scalar};
use crate::model::{IdentityMatch, PeerIdentity, SpiffeId};

impl Scalar for IdentityMatch {
    const WHAT: &'static str =
        "an identity such as `spiffe://simplebank/ui`, or a trust domain, `spiffe://simplebank/*`";
    const PATTERN: &'static str =
        "^(spiffe://[a-z0-9._-]{1,255}(/[*]|(/[A-Za-z0-9._-]+)+)|dns:[A-Za-z0-9_.-]{1,253})$";

    /// Never a prefix: `spiffe://bank` would also be `spiffe://bank.evil`. `*` is no letter of an id (SPIFFE-ID §2.2), so it
    /// stands for the whole path or for nothing.
    fn parse(text: &str) -> Result<Self, Malformed> {
        let Some(domain) = text.strip_suffix("/*") else {
            if text.contains('*') {
                let help = "`*` stands for all of a trust domain, as in `spiffe://simplebank/*`, and for nothing less";
                return Err(Malformed::new(format!("`{text}` names a part of a trust domain"), help));
            }
            return PeerIdentity::parse(text).map(Self::One);
        };
        let someone = SpiffeId::parse(&format!("{domain}/someone"))?;
        if someone.path() != "/someone" {
            let help = format!("write each identity, or `spiffe://{}/*`", someone.trust_domain());
            return Err(Malformed::new(format!("`{text}` names a part of a trust domain"), help));
        }
        Ok(Self::TrustDomain(someone.trust_domain().into()))
    }
}

impl fmt::Display for IdentityMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(identity) => identity.fmt(f),
            Self::TrustDomain(domain) => write!(f, "spiffe://{domain}/*"),
        }
    }
}
