//! Where does traffic come in? The sockets that a policy wants, and which entry of the policy each connection belongs to.

use std::net::SocketAddr;

use outrigger_config::model::{
    AdminAddress, Capture, Config, Direction, Inbound, InboundCapture, Outbound, Unknown, twin,
};

use super::Snapshot;

/// Which listener of the sidecar a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    /// Which way it looks.
    pub direction: Direction,
    /// Where it listens; says which `inbound` entry it is.
    pub addr: SocketAddr,
    /// Its connections were redirected, which an entry may begin or cease to want: what came before then belongs to the
    /// generation that let it in. Never outbound, where all that is called by name goes on as before.
    pub captured: bool,
}

impl ListenerId {
    /// Its connections are closed early in a drain: callers go elsewhere, while the service may still call out.
    pub fn drains(self) -> bool {
        self.direction == Direction::Inbound
    }

    /// An entry of the policy.
    pub fn of(port: &Inbound) -> Self {
        Self::inbound(port.listen, port.capture)
    }

    /// An entry of the policy, or a socket, for what others send.
    fn inbound(addr: SocketAddr, capture: Capture) -> Self {
        Self { direction: Direction::Inbound, addr, captured: capture == Capture::Redirect }
    }

    /// An entry of the policy, and a socket, for what the service sends.
    pub fn outbound(addr: SocketAddr) -> Self {
        Self { direction: Direction::Outbound, addr, captured: false }
    }
}

/// All sockets that a policy wants. Those of captured connections come in pairs, one of each family.
pub fn sockets(config: &Config) -> Vec<ListenerId> {
    let sidecar = &config.sidecar;
    let explicit = sidecar.inbound.iter().filter(|port| port.capture == Capture::Explicit);
    let mut sockets: Vec<_> = explicit.map(ListenerId::of).collect();
    if let Some(captured) = sidecar.inbound_capture.as_ref().map(InboundCapture::listen) {
        let both = [captured].into_iter().chain(twin(captured));
        sockets.extend(both.map(|addr| ListenerId::inbound(addr, Capture::Redirect)));
    }
    if let Some(outbound) = &sidecar.outbound {
        let other = twin(outbound.listen).filter(|_| outbound.capture == Capture::Redirect);
        let own = outbound.tcp.iter().map(|tcp| tcp.listen);
        sockets.extend([outbound.listen].into_iter().chain(other).chain(own).map(ListenerId::outbound));
    }
    sockets
}

impl Snapshot {
    /// All entries of the policy by which connections are treated, in its order.
    pub fn listeners(&self) -> Vec<ListenerId> {
        let sidecar = &self.config.sidecar;
        let inbound = sidecar.inbound.iter().map(ListenerId::of);
        let outbound = sidecar.outbound.iter().flat_map(|outbound| {
            let own = outbound.tcp.iter().map(|tcp| tcp.listen);
            [outbound.listen].into_iter().chain(own).map(ListenerId::outbound)
        });
        inbound.chain(outbound).collect()
    }

    /// All sockets that this generation wants.
    pub fn sockets(&self) -> &[ListenerId] {
        &self.sockets
    }

    /// Whether this generation has the entry, or the socket.
    pub fn serves(&self, listener: ListenerId) -> bool {
        let entries = || self.config.sidecar.inbound.iter().map(ListenerId::of);
        self.sockets.contains(&listener) || entries().any(|entry| entry == listener)
    }

    /// Whether connections to this socket were meant for others.
    pub fn captures(&self, socket: ListenerId) -> bool {
        let sidecar = &self.config.sidecar;
        let is = |listen: SocketAddr| listen == socket.addr || twin(listen) == Some(socket.addr);
        match socket.direction {
            Direction::Inbound => {
                sidecar.inbound_capture.as_ref().is_some_and(|captured| is(captured.listen()))
            }
            Direction::Outbound => {
                let captured = |outbound: &&Outbound| outbound.capture == Capture::Redirect;
                sidecar.outbound.as_ref().filter(captured).is_some_and(|outbound| is(outbound.listen))
            }
        }
    }

    /// The entry for what came in by `socket` and was `meant` for there, or the socket's own for ports that nobody names;
    /// `None`: they are not let in.
    pub fn entry(&self, socket: ListenerId, meant: SocketAddr) -> Option<ListenerId> {
        let sidecar = &self.config.sidecar;
        match socket.direction {
            Direction::Outbound => Some(ListenerId::outbound(sidecar.outbound.as_ref()?.listen)),
            Direction::Inbound => {
                let mut captured = sidecar.inbound.iter().filter(|port| port.capture == Capture::Redirect);
                let named = captured.find(|port| port.port == meant.port()).map(ListenerId::of);
                let captured = sidecar.inbound_capture.as_ref();
                let others = captured.filter(|captured| captured.unknown == Unknown::Allow);
                named.or_else(|| Some(ListenerId::inbound(others?.listen(), Capture::Redirect)))
            }
        }
    }

    /// Whether the connection that came `from` there, and was `meant` for there, was opened by ourselves in that direction.
    pub fn was_dialed(&self, direction: Direction, from: SocketAddr, meant: SocketAddr) -> bool {
        let dialed = &self.dialed[usize::from(direction == Direction::Outbound)];
        dialed.as_ref().is_some_and(|dialed| dialed.is_ours(from, meant))
    }

    /// Whether what was meant is this process itself. What comes from elsewhere was meant for an address of this host.
    pub fn is_own(&self, direction: Direction, meant: SocketAddr) -> bool {
        let here = direction == Direction::Inbound || meant.ip().is_loopback();
        let admin = &self.config.sidecar.admin;
        let admin_port = match &admin.listen {
            AdminAddress::Port(addr) => Some(addr.port()),
            AdminAddress::File(_) => None,
        };
        let mut own = self.sockets.iter().map(|socket| socket.addr.port());
        here && (own.any(|port| port == meant.port())
            || [Some(admin.metrics.port()), admin_port].contains(&Some(meant.port())))
    }
}
