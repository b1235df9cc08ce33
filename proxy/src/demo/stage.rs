//! Who stands where? The services and a sidecar beside each, on free ports of this machine.
//!
//! ```text
//! caller ──────────────────────→ holdings ───────────────────→ market-data a, b, c
//! caller ──→ sidecar:inbound ──→ holdings ──→ sidecar:outbound ──→ sidecar a, b, c ──→ market-data a, b, c
//! ```

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_config::model::{Admin, Config, Discovery};
use outrigger_config::{Source, parse};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::DemoError;
use super::http::Client;
use super::load::Caller;
use super::services::{Holdings, Replica, Service, Temper, serve};
use crate::app::App;

/// What runs beside `holdings`, and beside each replica.
const POLICIES: [(&str, &str); 2] = [
    ("holdings.yaml", include_str!("../../../config/examples/demo/holdings.yaml")),
    ("market-data.yaml", include_str!("../../../config/examples/demo/market-data.yaml")),
];

/// Everything that runs; all of it ends with this.
#[derive(Debug)]
pub struct Stage {
    /// Without sidecars, and with.
    pub callers: [Arc<Caller>; 2],
    /// Of `market-data`.
    pub replicas: Vec<Arc<Replica>>,
    /// Beside `holdings`.
    pub sidecar: App,
    /// Where to look.
    pub places: Places,
    others: Vec<App>,
    _services: JoinSet<()>,
}

/// Where to look.
#[derive(Debug)]
pub struct Places {
    /// `holdings` without sidecars, and with.
    pub holdings: [SocketAddr; 2],
    /// The operators' ports of its sidecar.
    pub admin: Admin,
    /// Policies and access logs.
    pub folder: PathBuf,
}

/// A new folder for what the demo leaves behind.
pub fn folder() -> Result<PathBuf, DemoError> {
    let folder = std::env::temp_dir().join(format!("outrigger-demo-{:08x}", fastrand::u32(..)));
    std::fs::create_dir(&folder).map_err(DemoError::Folder)?;
    Ok(folder)
}

impl Stage {
    /// Sets everything up, with policies and access logs in `folder`; call it on the control runtime.
    pub async fn set(folder: PathBuf) -> Result<Self, DemoError> {
        for (name, text) in POLICIES {
            std::fs::write(folder.join(name), text).map_err(DemoError::Folder)?;
        }
        let mut services = JoinSet::new();
        let (mut replicas, mut direct, mut guarded, mut others) = (vec![], vec![], vec![], vec![]);
        for (temper, name) in [(Temper::Healthy, "a"), (Temper::Slow, "b"), (Temper::Failing, "c")] {
            let replica = Replica::new(temper);
            let addr = start(&mut services, Service::Replica(Arc::clone(&replica))).await?;
            let [inbound, admin, metrics] = free_ports()?;
            let mut config = policy(POLICIES[1])?;
            place(&mut config, inbound, addr, Admin { listen: admin, metrics });
            others.push(sidecar(config, &folder.join(format!("market-data-{name}.log")))?);
            replicas.push(replica);
            direct.push(addr);
            guarded.push(inbound);
        }
        let [inbound, outbound, listen, metrics] = free_ports()?;
        let bare = start(&mut services, Service::Holdings(Holdings::new(direct))).await?;
        let beside = start(&mut services, Service::Holdings(Holdings::new([outbound]))).await?;
        let admin = Admin { listen, metrics };
        let mut config = policy(POLICIES[0])?;
        place(&mut config, inbound, beside, admin.clone());
        config.sidecar.outbound.iter_mut().for_each(|port| port.listen = outbound);
        config.upstreams[0].discovery = Discovery::Static(guarded);
        let sidecar = sidecar(config, &folder.join("holdings.log"))?;
        let holdings = [bare, inbound];
        let callers = holdings.map(|addr| Caller::new(Client::new(addr)));
        let places = Places { holdings, admin, folder };
        Ok(Self { callers, replicas, sidecar, places, others, _services: services })
    }

    /// Ends everything at once.
    pub fn strike(self) -> Places {
        self.sidecar.stop();
        self.others.into_iter().for_each(App::stop);
        self.places
    }
}

async fn start(services: &mut JoinSet<()>, service: Service) -> Result<SocketAddr, DemoError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Port)?;
    let addr = listener.local_addr().map_err(DemoError::Port)?;
    services.spawn(serve(listener, service));
    Ok(addr)
}

/// Ports that were free a moment ago. A sidecar binds its ports itself, as its policy names them.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N], DemoError> {
    let mut ports = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    // All are held until the last is known, or the kernel might give one twice.
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = std::net::TcpListener::bind(*port).map_err(DemoError::Port)?;
        *port = listener.local_addr().map_err(DemoError::Port)?;
        held.push(listener);
    }
    Ok(ports)
}

fn policy((name, text): (&str, &str)) -> Result<Config, DemoError> {
    parse(&[Source { name: name.to_owned(), text: text.to_owned() }]).map_err(DemoError::Policy)
}

fn place(config: &mut Config, inbound: SocketAddr, application: SocketAddr, admin: Admin) {
    for port in &mut config.sidecar.inbound {
        (port.listen, port.forward_to) = (inbound, application);
    }
    config.sidecar.admin = admin;
}

fn sidecar(config: Config, log: &Path) -> Result<App, DemoError> {
    let log = File::create(log).map_err(DemoError::Folder)?;
    App::start(config, Box::new(log)).map_err(DemoError::Sidecar)
}
