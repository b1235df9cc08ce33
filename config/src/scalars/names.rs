//! Which words name something? Addresses, hosts and the names of documents.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Malformed, Scalar, malformed};
use crate::model::{AdminAddress, ForwardTo, HostPattern, Name};

/// An IP address and a port above zero to connect to: `127.0.0.1:8081`, `"[::1]:8081"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination(SocketAddr);

/// An IP address and a port to listen on; port 0 lets the kernel choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddress(SocketAddr);

/// A DNS name without wildcard, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Scalar for Destination {
    const WHAT: &'static str = "an address such as `127.0.0.1:8081`";
    const PATTERN: &'static str = ADDRESS;

    fn parse(text: &str) -> Result<Self, Malformed> {
        let address = address(text)?;
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(Malformed::new(
                format!("nobody can connect to `{text}`"),
                "write an address and a port above 0",
            ));
        }
        Ok(Self(address))
    }
}

impl Scalar for ForwardTo {
    const WHAT: &'static str = "an address such as `127.0.0.1:8081`, or `original`";
    const PATTERN: &'static str = "^([0-9.]+:[0-9]{1,5}|[[][0-9A-Fa-f:.]+[]]:[0-9]{1,5}|original)$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        if text == "original" {
            return Ok(Self::Original);
        }
        Destination::parse(text).map(|address| Self::Address(address.into()))
    }
}

impl Scalar for ListenAddress {
    const WHAT: &'static str = "an address such as `127.0.0.1:15001`";
    const PATTERN: &'static str = ADDRESS;

    fn parse(text: &str) -> Result<Self, Malformed> {
        address(text).map(Self)
    }
}

impl Scalar for AdminAddress {
    const WHAT: &'static str = "an address such as `127.0.0.1:15000` or `unix:/run/outrigger.sock`";
    const PATTERN: &'static str = "^([0-9.]+:[0-9]{1,5}|[[][0-9A-Fa-f:.]+[]]:[0-9]{1,5}|unix:/.+)$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let Some(path) = text.strip_prefix("unix:") else { return address(text).map(Self::Port) };
        if !path.starts_with('/') || path.ends_with('/') || path.len() > SOCKET_PATH {
            let help = format!("the absolute path of a file, of at most {SOCKET_PATH} bytes");
            return Err(Malformed::new(format!("`{text}` is not a socket"), help));
        }
        Ok(Self::File(PathBuf::from(path)))
    }
}

impl Scalar for Name {
    const WHAT: &'static str = "a name such as `market-data`";
    const PATTERN: &'static str = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: u8| edge(c) || c == b'.' || c == b'-';
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(|&c| edge(c)) && bytes.last().is_some_and(|&c| edge(c));
        if bytes.len() > 63 || !ends || !bytes.iter().all(|&c| inner(c)) {
            let help = "lower-case letters, digits, `-` and `.`, at most 63, a letter or digit at both ends";
            return Err(malformed::<Self>(text, help));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl Host {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scalar for Host {
    const WHAT: &'static str = "a host such as `market-data.internal`";
    const PATTERN: &'static str = "^[A-Za-z0-9_.-]{1,253}$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        host(text).map(Self).map_err(|help| malformed::<Self>(text, help))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scalar for HostPattern {
    const WHAT: &'static str = "a host such as `market-data.internal`, `*.internal` or `*`";
    const PATTERN: &'static str = "^([*]|([*][.])?[A-Za-z0-9_.-]{1,253})$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = |help| malformed::<Self>(text, help);
        match text.strip_prefix("*.") {
            Some(suffix) => Ok(Self::Suffix(format!(".{}", host(suffix).map_err(wrong)?))),
            None => host(text).map(Self::Exact).map_err(wrong),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl From<Destination> for SocketAddr {
    fn from(address: Destination) -> Self {
        address.0
    }
}

impl From<ListenAddress> for SocketAddr {
    fn from(address: ListenAddress) -> Self {
        address.0
    }
}

/// What the kernel takes (unix(7), `sun_path` with its NUL).
const SOCKET_PATH: usize = 107;

const ADDRESS: &str = "^([0-9.]+|[[][0-9A-Fa-f:.]+[]]):[0-9]{1,5}$";

fn address(text: &str) -> Result<SocketAddr, Malformed> {
    text.parse().map_err(|_| {
        let help = match text.rsplit_once(':') {
            _ if text.parse::<IpAddr>().is_ok() => "the port is missing",
            None => "the port is missing",
            Some((_, port)) if port.parse::<u16>().is_err() => "ports are 0 to 65535",
            Some(_) => {
                "an IP address; IPv6 in brackets and quotes, `\"[::1]:8081\"`; names go to `discovery.dns`"
            }
        };
        Malformed::new(format!("`{text}` is not an address"), help)
    })
}

/// An authority's host in lower case, without the root's dot. RFC 3986 lets `_` pass, and so do Docker's networks.
fn host(text: &str) -> Result<String, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.contains(':') {
        return Err("without a port: it is not part of the match");
    }
    if name.contains('*') {
        return Err("a wildcard is only possible as the whole first label of a route's host");
    }
    let label = |label: &str| {
        let inner = label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("labels of letters, digits and `-`, with dots between them");
    }
    Ok(name.to_ascii_lowercase())
}
