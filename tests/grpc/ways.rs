//! What lies between client and server? Nothing, one sidecar, or two with one protocol or the other between them.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::client::Client;
use super::server::Server;
use crate::support::authority::Authority;
use crate::support::rig::{Rig, Wishes, upstream};

/// A way from a client to a server.
pub struct Way {
    /// For messages of tests that fail.
    pub name: &'static str,
    /// The sidecars, in the order of the way.
    pub rigs: Vec<Rig>,
    enter: SocketAddr,
    /// Where the sidecars' identities are.
    _certs: Vec<TempDir>,
}

impl Way {
    /// By the outbound side of a sidecar, which knows the server as `up`, with these settings.
    pub fn out(server: &Server, settings: &str) -> Self {
        Self::across("outbound", vec![Rig::start(&[upstream("up", &[server.addr], settings)])])
    }

    /// By the outbound side of one sidecar, with these settings, and the inbound side of another. Neither is told what
    /// to speak.
    pub fn both(server: &Server, settings: &str) -> Self {
        Self::through(into(server, ""), settings, "outbound and inbound")
    }

    /// The same; HTTP/1 is all that is spoken between the sidecars.
    pub fn over_http1(server: &Server, settings: &str) -> Self {
        let settings = format!("protocol: http1\n{settings}");
        Self::through(into(server, "protocol: http2"), &settings, "outbound and inbound over HTTP/1")
    }

    /// By the inbound side of a sidecar.
    fn inward(server: &Server) -> Self {
        let rig = into(server, "");
        Self { name: "inbound", enter: rig.inbound, rigs: vec![rig], _certs: Vec::new() }
    }

    /// All of them with the built-in policy, and the one without a sidecar: it shows what the stack does by itself.
    pub fn all(server: &Server) -> Vec<Self> {
        let direct = Self { name: "direct", rigs: Vec::new(), enter: server.addr, _certs: Vec::new() };
        let one = [Self::out(server, ""), Self::inward(server), Self::secret(server)];
        [direct].into_iter().chain(one).chain(Self::long(server, "")).collect()
    }

    /// Those of two sidecars, the first with these settings.
    pub fn long(server: &Server, settings: &str) -> [Self; 2] {
        [Self::both(server, settings), Self::over_http1(server, settings)]
    }

    /// A client on this way.
    pub fn client(&self) -> Client {
        Client::connect(self.enter, "up")
    }

    /// By both, which prove themselves to each other.
    fn secret(server: &Server) -> Self {
        let ca = Authority::new("root");
        let certs = ["client", "server"].map(|name| ca.house(name));
        let [ours, theirs] =
            [0, 1].map(|nth: usize| format!("identity: {{certDir: {}}}", certs[nth].path().display()));
        let wishes = Wishes { app: Some(server.addr), sidecar: theirs, ..Wishes::default() };
        let inbound = Rig::with(&wishes, &[]);
        let tls = "tls: {mode: mutual, peerIdentities: [\"spiffe://tests/server\"]}";
        let up = upstream("up", &[inbound.inbound], tls);
        let outbound = Rig::with(&Wishes { sidecar: ours, ..Wishes::default() }, &[up]);
        Self { _certs: certs.into(), ..Self::across("mutual TLS", vec![outbound, inbound]) }
    }

    fn through(inbound: Rig, settings: &str, name: &'static str) -> Self {
        let up = upstream("up", &[inbound.inbound], settings);
        Self::across(name, vec![Rig::start(&[up]), inbound])
    }

    fn across(name: &'static str, rigs: Vec<Rig>) -> Self {
        Self { name, enter: rigs[0].outbound, rigs, _certs: Vec::new() }
    }
}

/// A sidecar before a server, with these settings.
fn into(server: &Server, settings: &str) -> Rig {
    Rig::with(&Wishes { app: Some(server.addr), inbound: settings.to_owned(), ..Wishes::default() }, &[])
}
