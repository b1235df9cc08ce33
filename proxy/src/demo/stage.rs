//! Who stands where? The services and a sidecar beside each, on free ports of this machine.
//!
//! ```text
//! caller ──────────────────────→ holdings ───────────────────→ market-data a, b, c
//! caller ──→ sidecar:inbound ──→ holdings ──→ sidecar:outbound ══→ sidecar a, b, c ──→ market-data a, b, c
//!                                                           mutual TLS
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::DemoError;
use super::certs::Certs;
use super::http::Client;
use super::load::{Caller, PATIENCE};
use super::services::{Holdings, Replica, Service, Temper, serve};
use super::sidecar::{HOLDINGS, MARKET_DATA, Places, Sidecar};

/// Everything that runs; all of it ends with this.
#[derive(Debug)]
pub struct Stage {
    /// Without sidecars, and with.
    pub callers: [Arc<Caller>; 2],
    /// Of `market-data`.
    pub replicas: Vec<Arc<Replica>>,
    /// Beside `holdings`.
    pub sidecar: Sidecar,
    /// Beside the replicas, in their order.
    pub others: Vec<Sidecar>,
    /// Where those listen.
    pub guarded: Vec<SocketAddr>,
    /// `holdings` without a sidecar.
    pub bare: SocketAddr,
    /// `holdings` with one.
    pub places: Places,
    /// Policies and access logs.
    pub folder: PathBuf,
    /// Gone with this: no key outlives the demo.
    pub certs: Certs,
    _services: JoinSet<()>,
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
        for (name, text) in [HOLDINGS, MARKET_DATA] {
            std::fs::write(folder.join(name), text).map_err(DemoError::Folder)?;
        }
        let certs = Certs::issue(&folder)?;
        let mut services = JoinSet::new();
        let (mut replicas, mut direct, mut guarded, mut others) = (vec![], vec![], vec![], vec![]);
        for (temper, name) in [(Temper::Healthy, "a"), (Temper::Slow, "b"), (Temper::Failing, "c")] {
            let replica = Replica::new(temper);
            let (listener, addr) = bind().await?;
            services.spawn(Arc::clone(&replica).live(listener));
            let places = Places::free()?;
            let log = folder.join(format!("market-data-{name}.log"));
            others.push(Sidecar::start(MARKET_DATA, &places, addr, &[], &certs, &log)?);
            replicas.push(replica);
            direct.push(addr);
            guarded.push(places.inbound);
        }
        let places = Places::free()?;
        let bare = start(&mut services, Service::Holdings(Holdings::new(direct))).await?;
        let beside = start(&mut services, Service::Holdings(Holdings::new([places.outbound]))).await?;
        let log = folder.join("holdings.log");
        let sidecar = Sidecar::start(HOLDINGS, &places, beside, &guarded, &certs, &log)?;
        let callers = pair([bare, places.inbound], "caller", PATIENCE);
        Ok(Self {
            callers,
            replicas,
            sidecar,
            others,
            guarded,
            bare,
            places,
            folder,
            certs,
            _services: services,
        })
    }

    /// Others, without sidecars and with, who say this name and have so much patience.
    pub fn more_callers(&self, name: &'static str, patience: Duration) -> [Arc<Caller>; 2] {
        pair([self.bare, self.places.inbound], name, patience)
    }

    /// Ends everything at once; what is left is the folder.
    pub fn strike(self) -> PathBuf {
        self.sidecar.stop();
        self.others.into_iter().for_each(Sidecar::stop);
        self.folder
    }
}

fn pair(of: [SocketAddr; 2], name: &'static str, patience: Duration) -> [Arc<Caller>; 2] {
    of.map(|addr| Caller::new(Client::new(addr, name), patience))
}

async fn start(services: &mut JoinSet<()>, service: Service) -> Result<SocketAddr, DemoError> {
    let (listener, addr) = bind().await?;
    services.spawn(serve(listener, service));
    Ok(addr)
}

async fn bind() -> Result<(TcpListener, SocketAddr), DemoError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Port)?;
    let addr = listener.local_addr().map_err(DemoError::Port)?;
    Ok((listener, addr))
}
