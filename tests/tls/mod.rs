//! Is it who it says it is? TLS on the wire, between sidecars and with others.

mod blame;
mod calls;
mod chain;
mod refusals;
mod tools;
mod trust;

use std::net::SocketAddr;
use std::path::Path;

use crate::support::authority::Authority;
use crate::support::rig::{Rig, Wishes, upstream};

/// A sidecar before this application of HTTP/1 that asks its callers for certificates: `tls: {mode}` on its port.
fn guarded(app: SocketAddr, certs: &Path, mode: &str) -> Rig {
    let wishes = Wishes { inbound: format!("protocol: http1, tls: {mode}"), ..identified(Some(app), certs) };
    Rig::with(&wishes, &[])
}

/// A sidecar that calls that port, where it expects `spiffe://tests/{expected}`.
fn calling(to: &[SocketAddr], certs: &Path, expected: &str, settings: &str) -> Rig {
    let tls = format!("tls: {{mode: mutual, peerIdentities: [\"spiffe://tests/{expected}\"]}}\n{settings}");
    Rig::with(&identified(None, certs), &[upstream("origin", to, &tls)])
}

fn identified(app: Option<SocketAddr>, certs: &Path) -> Wishes {
    let sidecar = format!("identity: {{certDir: {}}}\naccessLog: {{successSample: 100%}}", certs.display());
    Wishes { app, sidecar, ..Wishes::default() }
}

/// Two sidecars, each with a certificate of this authority.
fn pair(ca: &Authority, app: SocketAddr, settings: &str) -> [Rig; 2] {
    let [ours, theirs] = ["client", "server"].map(|name| ca.house(name));
    let server = guarded(app, theirs.path(), "strict");
    let client = calling(&[server.inbound], ours.path(), "server", settings);
    [client, server]
}
