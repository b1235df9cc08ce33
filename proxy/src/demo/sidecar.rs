//! What runs beside a service? The sidecar that `outrigger run` would start, its policy moved to free ports.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use outrigger_config::model::{Admin, AdminAddress, Config, Discovery, ForwardTo};
use outrigger_config::{Source, parse};

use super::DemoError;
use super::certs::Certs;
use crate::admin::{Ports, Server, Standing};
use crate::app::App;
use crate::reload::files::{FileText, fingerprint};

/// A policy file: its name and text.
pub type Policy = (&'static str, &'static str);

/// What runs beside `holdings`.
pub const HOLDINGS: Policy = ("holdings.yaml", include_str!("../../../config/examples/demo/holdings.yaml"));
/// What runs beside each replica.
pub const MARKET_DATA: Policy =
    ("market-data.yaml", include_str!("../../../config/examples/demo/market-data.yaml"));

/// A running sidecar with its operators' ports.
#[derive(Debug)]
pub struct Sidecar {
    app: App,
    admin: Server,
}

/// Where a sidecar listens.
#[derive(Debug, Clone)]
pub struct Places {
    /// For callers of its service.
    pub inbound: SocketAddr,
    /// For calls of its service, if its policy lets it call.
    pub outbound: SocketAddr,
    /// For operators.
    pub admin: Admin,
}

impl Places {
    /// Ports that were free a moment ago. A sidecar binds its ports itself, as its policy names them.
    pub fn free() -> Result<Self, DemoError> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(DemoError::Port);
        // All are held until the last is known, or the kernel might give one twice.
        let held = [free()?, free()?, free()?, free()?];
        let [inbound, outbound, listen, metrics] = held.each_ref().map(TcpListener::local_addr);
        let listen = AdminAddress::Port(listen.map_err(DemoError::Port)?);
        let admin = Admin { listen, metrics: metrics.map_err(DemoError::Port)? };
        Ok(Self {
            inbound: inbound.map_err(DemoError::Port)?,
            outbound: outbound.map_err(DemoError::Port)?,
            admin,
        })
    }
}

impl Sidecar {
    /// Starts beside `application`, with its own identity; its calls go to `endpoints`.
    pub fn start(
        (name, text): Policy,
        places: &Places,
        application: SocketAddr,
        endpoints: &[SocketAddr],
        certs: &Certs,
        log: &Path,
    ) -> Result<Self, DemoError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        let hash = fingerprint(&[FileText { name: name.clone(), text: text.clone() }]);
        let mut config = parse(&[Source { name, text }]).map_err(DemoError::Policy)?;
        move_to(&mut config, places, application, endpoints);
        if let Some(identity) = &mut config.sidecar.identity {
            identity.cert_dir = certs.of(config.sidecar.name.as_str()).display().to_string();
        }
        let log = File::create(log).map_err(DemoError::Folder)?;
        let ports = Ports::bind(&config.sidecar.admin).map_err(DemoError::Admin)?;
        let app = App::start(config, Box::new(log)).map_err(DemoError::Sidecar)?;
        let standing = Arc::new(Standing::new(hash, SystemTime::now()));
        let admin = ports.serve(Arc::clone(&app.shared), standing).map_err(DemoError::Thread)?;
        Ok(Self { app, admin })
    }

    /// What it has counted, as Prometheus would see it.
    pub fn scrape(&self) -> String {
        self.app.shared.metrics.render().1
    }

    /// Ends at once.
    pub fn stop(self) {
        self.admin.stop();
        self.app.stop();
    }
}

fn move_to(config: &mut Config, places: &Places, application: SocketAddr, endpoints: &[SocketAddr]) {
    let sidecar = &mut config.sidecar;
    for port in &mut sidecar.inbound {
        (port.listen, port.forward_to) = (places.inbound, ForwardTo::Address(application));
    }
    if let Some(port) = &mut sidecar.outbound {
        port.listen = places.outbound;
    }
    sidecar.admin = places.admin.clone();
    for upstream in &mut config.upstreams {
        upstream.discovery = Discovery::Static(endpoints.to_vec());
    }
}
