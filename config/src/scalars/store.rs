//! Which words name a store that replicas share? `redis://redis.internal:6379/0`.

use std::fmt;
use std::net::Ipv6Addr;

use super::{Host, Malformed, Scalar, malformed};
use crate::model::Store;

/// Assigned to Redis by IANA.
const PORT: u16 = 6379;

impl Scalar for Store {
    const WHAT: &'static str = "a store such as `redis://redis.internal:6379/0`";
    const PATTERN: &'static str = "^redis://[^/@\\s]+(/[0-9]{0,5})?$";

    fn parse(text: &str) -> Result<Self, Malformed> {
        let wrong = |help| malformed::<Self>(text, help);
        let rest = text.strip_prefix("redis://").ok_or_else(|| wrong("it begins with `redis://`"))?;
        if rest.contains('@') {
            let help = "policy files hold no secrets; let the store trust the network that it is on";
            return Err(Malformed::new("a store cannot have credentials", help));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
        let database = if database.is_empty() { Some(0) } else { number(database) };
        let database = database.ok_or_else(|| wrong("after `/` comes the number of a database"))?;
        let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = if let Some((host, port)) = bracketed {
            host.parse::<Ipv6Addr>().map_err(|_| wrong("an IPv6 address in brackets"))?;
            (host.to_owned(), port)
        } else {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (Host::parse(host).map_err(|_| wrong("a name or an IP address"))?.as_str().to_owned(), port)
        };
        let port = if port.is_empty() { Some(PORT) } else { port.strip_prefix(':').and_then(number) };
        let port = port.filter(|&port| port > 0).ok_or_else(|| wrong("ports are 1 to 65535"))?;
        Ok(Self { host, port, database })
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, database } = self;
        if host.contains(':') {
            write!(f, "redis://[{host}]:{port}/{database}")
        } else {
            write!(f, "redis://{host}:{port}/{database}")
        }
    }
}
