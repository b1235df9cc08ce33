//! Which connections are redirected? A pure function of the policy: the text that `nft -f -` reads.
//!
//! | what | goes |
//! |---|---|
//! | from elsewhere to an address of ours | to the inbound listener, but for the sidecar's own ports and excluded ones |
//! | from the application to others | to the outbound listener, but for excluded ports and addresses |
//! | from the application to loopback | where it is meant to go |
//! | from the application to an own address | to the application, past the sidecar, also where it listens on loopback alone |
//! | from the sidecar to others, or to loopback | where it is meant to go |
//! | from the sidecar to an own address | to the inbound listener, as if it came from elsewhere; to the application if the inbound side has sent it, which its priority says |
//!
//! Rules look at new connections only: what was open before stays as it is.

use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use outrigger_config::defaults::OWN_PORTS;
use outrigger_config::model::{self, AdminAddress, Capture, Config, ForwardTo, Network, PortRange};

use crate::snapshot::sockets;
use crate::upstream::dialed::TO_APPLICATION;

/// Redirects nothing, and lets the connections live that are redirected. For that it takes chains that hook into translation,
/// and one rule that asks for the state of connections: without any the kernel gives up tracking them.
pub(super) const IDLE: &str = "\
table inet outrigger {}
delete table inet outrigger
table inet outrigger {
\tchain prerouting { type nat hook prerouting priority dstnat; policy accept; }
\tchain output { type nat hook output priority -100; policy accept; ct state new return; }
}
";

/// Leaves nothing.
pub(super) const NONE: &str = "table inet outrigger {}\ndelete table inet outrigger\n";

/// The rules of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    /// The sidecar's.
    pub(super) uid: u32,
    mark: Option<u32>,
    inbound: Option<Inbound>,
    outbound: Option<Outbound>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inbound {
    port: u16,
    skip: Vec<PortRange>,
    /// Captured ports whose application is on loopback, and its ports there.
    on_loopback: Vec<(u16, SocketAddr)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Outbound {
    port: u16,
    skip: Vec<PortRange>,
    networks: Vec<Network>,
}

impl Ruleset {
    /// As the policy has it; `None`: it captures nothing.
    pub(super) fn of(config: &Config, uid: u32, mark: Option<u32>) -> Option<Self> {
        let inbound = config.sidecar.inbound_capture.as_ref().map(|captured| Inbound {
            port: captured.port,
            skip: PortRange::merged(own(config).chain(captured.exclude_ports.iter().copied()).collect()),
            on_loopback: on_loopback(&config.sidecar.inbound),
        });
        let outbound = config.sidecar.outbound.as_ref();
        let outbound = outbound.filter(|outbound| outbound.capture == Capture::Redirect);
        let outbound = outbound.map(|outbound| Outbound {
            port: outbound.listen.port(),
            skip: outbound.exclude_ports.clone(),
            networks: Network::merged(&outbound.exclude_cidrs),
        });
        (inbound.is_some() || outbound.is_some()).then_some(Self { uid, mark, inbound, outbound })
    }

    /// Where connections are redirected to.
    pub(super) fn ports(&self) -> Vec<u16> {
        let inbound = self.inbound.iter().map(|inbound| inbound.port);
        inbound.chain(self.outbound.iter().map(|outbound| outbound.port)).collect()
    }
}

/// Where the kernel would redirect to from within the host, port by port.
fn on_loopback(inbound: &[model::Inbound]) -> Vec<(u16, SocketAddr)> {
    let captured = inbound.iter().filter(|port| port.capture == Capture::Redirect);
    let of = |port: &model::Inbound| match port.forward_to {
        ForwardTo::Address(at) if at.ip() == Ipv4Addr::LOCALHOST || at.ip() == Ipv6Addr::LOCALHOST => {
            Some((port.port, at))
        }
        ForwardTo::Address(_) | ForwardTo::Original => None,
    };
    captured.filter_map(of).collect()
}

/// What the sidecar listens on itself.
fn own(config: &Config) -> impl Iterator<Item = PortRange> {
    let admin = &config.sidecar.admin;
    let admin_port = match &admin.listen {
        AdminAddress::Port(addr) => Some(addr.port()),
        AdminAddress::File(_) => None,
    };
    let sockets = sockets(config).into_iter().map(|socket| socket.addr.port());
    let ports = sockets.chain([admin.metrics.port()]).chain(admin_port).filter(|port| *port != 0);
    ports.map(PortRange::one).chain([OWN_PORTS])
}

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // One transaction: the old rules hold until the new ones do.
        f.write_str(NONE)?;
        f.write_str("table inet outrigger {\n")?;
        if let Some(inbound) = &self.inbound {
            inbound.fmt(f)?;
        }
        self.output(f)?;
        f.write_str("}\n")
    }
}

impl Display for Inbound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("\tchain prerouting {\n")?;
        f.write_str("\t\ttype nat hook prerouting priority dstnat; policy accept;\n")?;
        f.write_str("\t\tmeta l4proto != tcp return\n")?;
        // What is only forwarded is none of our business.
        f.write_str("\t\tfib daddr type != local return\n")?;
        leave(f, "tcp dport", &self.skip)?;
        redirect(f, self.port)?;
        f.write_str("\t}\n\tchain from_sidecar {\n")?;
        f.write_str("\t\toifname != \"lo\" return\n")?;
        f.write_str("\t\tip daddr 127.0.0.0/8 return\n\t\tip6 daddr ::1 return\n")?;
        // In an output hook `meta priority` is what the socket has.
        writeln!(f, "\t\tmeta priority 0:{TO_APPLICATION} return")?;
        leave(f, "tcp dport", &self.skip)?;
        redirect(f, self.port)?;
        f.write_str("\t}\n")
    }
}

impl Ruleset {
    fn output(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let uid = self.uid;
        f.write_str("\tchain output {\n")?;
        // A number, since nft before 1.0.7 knows no `dstnat` here.
        f.write_str("\t\ttype nat hook output priority -100; policy accept;\n")?;
        f.write_str("\t\tmeta l4proto != tcp return\n")?;
        if let Some(inbound) = &self.inbound {
            writeln!(f, "\t\tmeta skuid {uid} jump from_sidecar")?;
            writeln!(f, "\t\tmeta skuid {uid} return")?;
            for (port, to) in &inbound.on_loopback {
                let others = if to.is_ipv4() { "ip daddr != 127.0.0.0/8" } else { "ip6 daddr != ::1" };
                writeln!(f, "\t\toifname \"lo\" {others} tcp dport {port} redirect to :{}", to.port())?;
            }
        }
        if let Some(Outbound { port, skip, networks }) = &self.outbound {
            if self.inbound.is_none() {
                writeln!(f, "\t\tmeta skuid {uid} return")?;
            }
            if let Some(mark) = self.mark {
                writeln!(f, "\t\tmeta mark {mark} return")?;
            }
            f.write_str("\t\toifname \"lo\" return\n")?;
            leave(f, "tcp dport", skip)?;
            let (v4, v6): (Vec<Network>, Vec<Network>) =
                networks.iter().partition(|network| network.is_ipv4());
            leave(f, "ip daddr", &v4)?;
            leave(f, "ip6 daddr", &v6)?;
            redirect(f, *port)?;
        }
        f.write_str("\t}\n")
    }
}

fn leave(f: &mut Formatter<'_>, what: &str, these: &[impl Display]) -> fmt::Result {
    if these.is_empty() {
        return Ok(());
    }
    let these: Vec<_> = these.iter().map(ToString::to_string).collect();
    writeln!(f, "\t\t{what} {{ {} }} return", these.join(", "))
}

/// The protocol in the same rule: nft wants it there.
fn redirect(f: &mut Formatter<'_>, port: u16) -> fmt::Result {
    writeln!(f, "\t\tmeta l4proto tcp counter redirect to :{port}")
}
