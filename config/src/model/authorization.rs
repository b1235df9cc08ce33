//! Who may do what? Rules that let callers in and rules that keep them out.

use std::sync::Arc;

use http::Method;

use super::{Direction, HeaderMatch, Location, Mode, Name, Network, PathMatch, PeerIdentity};

/// A document of kind `AuthorizationPolicy`. Its `deny` rules come first; where it has an `allow` list, what none of that
/// list takes is denied. Of several policies each must let a request pass, so that one more never opens anything.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationPolicy {
    /// Unique over all policies of this kind.
    pub name: Name,
    /// Whether it acts.
    pub mode: Mode,
    /// Which way it looks.
    pub direction: Direction,
    /// Who is kept out.
    pub deny: Vec<AccessRule>,
    /// Who is let in, and nobody else; `None`: whoever is not kept out. Empty: nobody.
    pub allow: Option<Vec<AccessRule>>,
    /// Where the document starts.
    pub location: Location,
}

/// Which requests, by all that it names; at least one of these lists is not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessRule {
    /// Unique in its policy (`deny-0`, `allow-0` when not written).
    pub name: Name,
    /// Any of these proved by mTLS; empty: anybody, proved or not.
    pub identities: Vec<IdentityMatch>,
    /// Any of these; empty: any.
    pub methods: Vec<Method>,
    /// Any of these; empty: any.
    pub paths: Vec<PathMatch>,
    /// All of them.
    pub headers: Vec<HeaderMatch>,
    /// Any of these is where the connection comes from; empty: anywhere.
    pub sources: Vec<Network>,
}

/// Whose identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum IdentityMatch {
    /// This one.
    One(PeerIdentity),
    /// `spiffe://simplebank/*`: all that this trust domain vouches for.
    TrustDomain(Arc<str>),
}
