//! What does DNS, or the hosts file, say of a name at this moment?
//!
//! A fresh resolver for each question: it follows edits of `/etc/resolv.conf` and `/etc/hosts` while the
//! process lives, and it has no cache, so nothing but our own schedule decides how long an answer holds. The
//! price is reading two small files every few seconds.

use std::env;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, MAX_TTL, TokioResolver};

/// `ip:port` of a name server to ask in place of those of `/etc/resolv.conf`, which cannot name a port.
const NAMESERVER_VARIABLE: &str = "OUTRIGGER_DNS";

/// The longest a question may take with all its retries and search domains.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries after the first, at most; `/etc/resolv.conf` may ask for fewer.
const RETRIES: u8 = 2;

/// Asks the system's name servers, or a given one.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// `None` for those of `/etc/resolv.conf`.
    nameserver: Option<SocketAddr>,
    patience: Duration,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// IPv4 and IPv6, in the order of the reply; at least one.
    pub addresses: Vec<IpAddr>,
    /// The shortest of the answer's records.
    pub ttl: Duration,
}

/// Why there is no address.
#[derive(Debug)]
pub enum LookupError {
    /// NXDOMAIN: no such name.
    NoSuchName,
    /// The name exists, without A and AAAA records.
    NoAddress,
    /// The name server answered with an error: SERVFAIL, REFUSED and their like.
    Refused(ResponseCode),
    /// No answer in time.
    TimedOut,
    /// Not a name that DNS can carry.
    BadName(ProtoError),
    /// `/etc/resolv.conf` is missing or makes no sense.
    Setup(NetError),
    /// No name server could be reached, or none spoke DNS.
    Transport(NetError),
}

/// `OUTRIGGER_DNS` is not `ip:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadNameserver(String);

impl Resolver {
    /// Asks the name servers of `/etc/resolv.conf`, with its search domains and options.
    pub const fn system() -> Self {
        Self { nameserver: None, patience: PATIENCE }
    }

    /// Asks this name server only, over UDP and for long answers TCP, without search domains.
    pub const fn at(nameserver: SocketAddr) -> Self {
        Self { nameserver: Some(nameserver), patience: PATIENCE }
    }

    /// [`Resolver::at`] the address in the environment variable `OUTRIGGER_DNS` (`ip:port`) where it is set
    /// and not empty, else [`Resolver::system`].
    pub fn from_environment() -> Result<Self, BadNameserver> {
        Self::from_setting(&env::var_os(NAMESERVER_VARIABLE).unwrap_or_default().to_string_lossy())
    }

    fn from_setting(setting: &str) -> Result<Self, BadNameserver> {
        if setting.is_empty() {
            return Ok(Self::system());
        }
        setting.parse().map(Self::at).map_err(|_| BadNameserver(setting.to_owned()))
    }

    /// The same with another bound on the time of one [`Resolver::lookup`].
    #[must_use]
    pub const fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Both address families of `name`. An address is its own answer; a name in the hosts file is answered
    /// from there alone, as the C library does.
    pub async fn lookup(&self, name: &str) -> Result<Found, LookupError> {
        if let Ok(address) = name.parse() {
            return Ok(Found { addresses: vec![address], ttl: Duration::from_secs(MAX_TTL.into()) });
        }
        let name = Name::from_utf8(name).map_err(LookupError::BadName)?;
        match in_hosts(&Hosts::from_system().unwrap_or_default(), &name) {
            Some(found) => Ok(found),
            None => self.ask(name).await,
        }
    }

    async fn ask(&self, name: Name) -> Result<Found, LookupError> {
        let resolver = self.client().map_err(LookupError::Setup)?;
        let answer = tokio::time::timeout(self.patience, resolver.lookup_ip(name));
        let answer = answer.await.map_err(|_| LookupError::TimedOut)??;
        let ttl = answer.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
        let found = Found { addresses: answer.iter().collect(), ttl: Duration::from_secs(ttl.into()) };
        if found.addresses.is_empty() { Err(LookupError::NoAddress) } else { Ok(found) }
    }

    fn client(&self) -> Result<TokioResolver, NetError> {
        let mut builder = match self.nameserver {
            None => TokioResolver::builder_tokio()?,
            Some(nameserver) => {
                TokioResolver::builder_with_config(only(nameserver), TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Many a name server drops the questions for one family. All tries for it must be over before our
        // patience is, or the answer for the other would be lost with them.
        options.attempts = options.attempts.min(RETRIES.into());
        options.timeout = options.timeout.min(self.patience / (u32::from(RETRIES) + 2));
        builder.build()
    }
}

fn only(nameserver: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = nameserver.port();
        connection
    });
    let server = NameServerConfig::new(nameserver.ip(), true, connections.into());
    ResolverConfig::from_name_servers(vec![server])
}

fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Found> {
    let addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|family| hosts.lookup_static_host(&Query::query(name.clone(), family)))
        .flat_map(|lookup| lookup.answers().iter().filter_map(|r| r.data.ip_addr()).collect::<Vec<_>>())
        .collect();
    // No TTL: looked up again as soon as the schedule likes, for that costs no query.
    (!addresses.is_empty()).then_some(Found { addresses, ttl: Duration::ZERO })
}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> Self {
        match error {
            error if error.is_nx_domain() => Self::NoSuchName,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NoError => Self::NoAddress,
                code => Self::Refused(code),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => Self::Refused(code),
            NetError::Timeout => Self::TimedOut,
            error => Self::Transport(error),
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => write!(f, "no such name (NXDOMAIN)"),
            Self::NoAddress => write!(f, "the name has neither A nor AAAA records"),
            Self::Refused(code) => write!(f, "the name server answered: {code}"),
            Self::TimedOut => write!(f, "no answer in time"),
            Self::BadName(error) => write!(f, "not a DNS name: {error}"),
            Self::Setup(error) => write!(f, "/etc/resolv.conf: {error}"),
            Self::Transport(error) => write!(f, "no name server could be asked: {error}"),
        }
    }
}

impl std::error::Error for LookupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BadName(error) => Some(error),
            Self::Setup(error) | Self::Transport(error) => Some(error),
            Self::NoSuchName | Self::NoAddress | Self::Refused(_) | Self::TimedOut => None,
        }
    }
}

impl fmt::Display for BadNameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAMESERVER_VARIABLE}: expected ip:port, such as 127.0.0.1:5353, found {:?}", self.0)
    }
}

impl std::error::Error for BadNameserver {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_answers_for_both_families_or_not_at_all() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"10.0.0.1 db db.internal\nfd00::1 db\n"[..]).unwrap();
        let find = |name: &str| in_hosts(&hosts, &Name::from_utf8(name).unwrap());
        let both: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(find("db").unwrap().addresses, both);
        assert_eq!(find("DB.internal").unwrap().addresses, both[..1]);
        assert_eq!(find("other"), None);
    }

    #[test]
    fn the_setting_is_an_address_with_a_port_or_nothing() {
        assert_eq!(Resolver::from_setting("").unwrap().nameserver, None);
        assert_eq!(Resolver::from_setting("[::1]:53").unwrap().nameserver, Some("[::1]:53".parse().unwrap()));
        let error = Resolver::from_setting("localhost").unwrap_err();
        assert!(error.to_string().contains("OUTRIGGER_DNS") && error.to_string().contains("localhost"));
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let nowhere = Resolver::at("127.0.0.1:1".parse().unwrap());
        assert_eq!(nowhere.lookup("::1").await.unwrap().addresses, ["::1".parse::<IpAddr>().unwrap()]);
    }
}
