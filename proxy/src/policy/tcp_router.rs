//! Which rule takes a connection that nobody reads? By where it was meant to go, and by the name that TLS asks for.
//!
//! Of all matches that fit, the most specific wins, compared in this order: 1. a name: exact, then the longest wildcard,
//! then `*`, then none; 2. the longer prefix of a network; 3. a port named; 4. written earlier.

use std::cmp::Reverse;
use std::net::SocketAddr;

use outrigger_config::model::{Direction, HostPattern, Network, TcpMatch, TcpRoute};

use super::router::RuleId;

/// What of a connection decides its route.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// Where it was meant to go.
    pub destination: SocketAddr,
    /// Whom its TLS asks for, in lower case.
    pub sni: Option<&'a str>,
}

/// The routes of one direction. Immutable: a reload builds another.
#[derive(Debug, Default)]
pub struct TcpRouter(Box<[(TcpMatch, RuleId)]>);

/// How narrow a match is; of two, the greater one wins.
type Narrowness = (Option<Reverse<Breadth>>, Option<u8>, bool);

/// How many names a pattern takes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Breadth {
    One,
    Suffix(Reverse<usize>),
    Any,
}

impl TcpRouter {
    /// Compiles the routes of `direction` among all of a configuration.
    pub fn new(routes: &[TcpRoute], direction: Direction) -> Self {
        let routes = routes.iter().enumerate().filter(|(_, route)| route.direction == direction);
        let rules = routes.flat_map(|(r, route)| {
            route.rules.iter().enumerate().map(move |(n, rule)| (rule, RuleId { route: r, rule: n }))
        });
        Self(rules.flat_map(|(rule, id)| rule.matches.iter().map(move |found| (found.clone(), id))).collect())
    }

    /// The rule that takes it.
    pub fn route(&self, connection: &Connection<'_>) -> Option<RuleId> {
        let fitting = self.0.iter().filter_map(|(found, id)| Some((narrowness(found, connection)?, *id)));
        // The last of equal ones is the greatest to `max_by`, so the list is turned round.
        fitting.rev().max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, id)| id)
    }

    /// Whether a name would make a difference to a connection that was meant to go there; `by_port`: to a rule that names
    /// its port.
    pub fn asks_for_names(&self, destination: SocketAddr, by_port: bool) -> bool {
        let asks = |found: &TcpMatch| match place(found, destination) {
            Some((_, named)) => !found.snis.is_empty() && (named || !by_port),
            None => false,
        };
        self.0.iter().any(|(found, _)| asks(found))
    }
}

fn narrowness(found: &TcpMatch, connection: &Connection<'_>) -> Option<Narrowness> {
    let (network, port) = place(found, connection.destination)?;
    if found.snis.is_empty() {
        return Some((None, network, port));
    }
    let fitting = found.snis.iter().filter_map(|pattern| breadth(pattern, connection.sni?));
    Some((Some(Reverse(fitting.min()?)), network, port))
}

/// How narrowly it names the place, if it takes it.
fn place(found: &TcpMatch, destination: SocketAddr) -> Option<(Option<u8>, bool)> {
    let (ip, port) = (destination.ip().to_canonical(), destination.port());
    let network = match &*found.addresses {
        [] => None,
        networks => Some(networks.iter().filter(|one| one.contains(ip)).map(Network::prefix).max()?),
    };
    (found.ports.is_empty() || found.ports.contains(&port)).then_some((network, !found.ports.is_empty()))
}

fn breadth(pattern: &HostPattern, name: &str) -> Option<Breadth> {
    match pattern {
        HostPattern::Exact(host) => (host == name).then_some(Breadth::One),
        HostPattern::Suffix(suffix) => {
            let takes = name.len() > suffix.len() && name.ends_with(suffix.as_str());
            takes.then_some(Breadth::Suffix(Reverse(suffix.len())))
        }
        HostPattern::Any => Some(Breadth::Any),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use outrigger_config::{Source, parse};

    use super::*;

    /// Each match is a rule of its own.
    fn router(matches: &[&str]) -> TcpRouter {
        let mut text = "apiVersion: outrigger/v1\nkind: Sidecar\nname: a\noutbound: {protocol: auto}\n---\n\
                        {apiVersion: outrigger/v1, kind: Upstream, name: u, discovery: {static: [\"10.0.0.1:1\"]}}\n---\n\
                        apiVersion: outrigger/v1\nkind: TCPRoute\nname: r\nrules:\n"
            .to_owned();
        for found in matches {
            let _ = writeln!(text, "  - {{matches: [{{{found}}}], backendRefs: [{{name: u}}]}}");
        }
        let config = parse(&[Source { name: "a.yaml".to_owned(), text }]).unwrap();
        TcpRouter::new(&config.tcp_routes, Direction::Outbound)
    }

    fn taken(router: &TcpRouter, destination: &str, sni: Option<&str>) -> Option<usize> {
        let destination = destination.parse().unwrap();
        router.route(&Connection { destination, sni }).map(|id| id.rule)
    }

    #[test]
    fn the_narrowest_match_takes_a_connection_wherever_it_was_written() {
        let router = router(&[
            "",
            "ports: [443]",
            "addresses: [10.0.0.0/8]",
            "ports: [443], addresses: [10.1.0.0/16]",
            "snis: ['*']",
            "snis: ['*.c']",
            "snis: ['*.b.c']",
            "ports: [443], snis: [a.b.c]",
            "ports: [443, 80], snis: [a.b.c]",
        ]);
        assert_eq!(taken(&router, "1.2.3.4:81", None), Some(0));
        assert_eq!(taken(&router, "1.2.3.4:443", None), Some(1));
        assert_eq!(taken(&router, "10.2.3.4:443", None), Some(2), "a network says more than a port");
        assert_eq!(taken(&router, "10.1.3.4:443", None), Some(3));
        assert_eq!(taken(&router, "[::ffff:10.1.3.4]:443", None), Some(3), "mapped addresses are the same");
        assert_eq!(taken(&router, "10.1.3.4:443", Some("x")), Some(4), "a name says more than a network");
        assert_eq!(taken(&router, "10.1.3.4:443", Some("x.c")), Some(5));
        assert_eq!(taken(&router, "10.1.3.4:443", Some("x.b.c")), Some(6));
        assert_eq!(taken(&router, "10.1.3.4:443", Some("a.b.c")), Some(7), "of equals the earlier");
        assert_eq!(taken(&router, "10.1.3.4:81", Some("a.b.c")), Some(6));
    }

    #[test]
    fn u_19_only_where_a_name_would_count_is_it_waited_for() {
        let router = router(&["ports: [443], snis: ['*']", "ports: [5432]"]);
        assert!(router.asks_for_names(([10, 0, 0, 1], 443).into(), true));
        assert!(!router.asks_for_names(([10, 0, 0, 1], 5432).into(), false));
        let router = self::router(&["snis: ['*.b.c']"]);
        assert!(router.asks_for_names(([10, 0, 0, 1], 3306).into(), false));
        assert!(!router.asks_for_names(([10, 0, 0, 1], 3306).into(), true), "the server speaks first there");
        assert_eq!(taken(&router, "10.0.0.1:443", None), None, "no name, no match");
    }
}
