//! What would a request meet, and why? Answered offline by the code that routes real ones, so the two cannot disagree.

mod decide;
mod request;
mod show;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use outrigger_config::model::{Config, PeerIdentity, SpiffeId};
use outrigger_config::scalars::Scalar;

use self::decide::{Asker, explain};
use self::request::Asked;
use super::policy::Policy;
use super::{Failure, Output, print};
use crate::clock::now;
use crate::snapshot::{self, ListenerId, Snapshot};
use crate::telemetry::{LineSink, Metrics};
use crate::tls::authority::Authority;
use crate::tls::{Credentials, Identity, ServerSide};

/// Say which route, policy and endpoints a request would meet, and why
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A policy file, or a directory of `*.yaml`
    #[arg(long, value_name = "PATH")]
    config: PathBuf,
    /// Relative to the service beside the sidecar
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "outbound|inbound")]
    direction: Way,
    /// The inbound port that is called; needed where there are several
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    #[arg(long, default_value = "GET", help = "The request's method")]
    method: String,
    /// A header field; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Who the caller proves to be, such as `spiffe://simplebank/ui`; nobody unless given
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
    /// Where the caller's connection comes from
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    source: IpAddr,
    /// Where the connection was meant to go, where it is captured: `10.96.0.7:8000`
    #[arg(long, value_name = "ADDRESS:PORT")]
    meant: Option<SocketAddr>,
    /// URL, or authority and path, or for an inbound request a path alone
    #[arg(value_name = "URL")]
    target: String,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "text|json")]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Way {
    #[default]
    Outbound,
    Inbound,
}

/// Explains one request.
pub(super) fn run(asked: &Explain) -> Result<(), Failure> {
    let policy = Policy::load(&asked.config).map_err(|error| Failure::Because(error.to_string()))?;
    let listener = listener(&policy.config, asked.direction, asked.port).map_err(Failure::because)?;
    let service = policy.config.sidecar.name.as_str();
    let request =
        Asked::new(&asked.method, &asked.target, &asked.headers, service).map_err(Failure::because)?;
    let request = Asked { meant: asked.meant, ..request };
    let identity =
        asked.identity.as_deref().map(PeerIdentity::parse).transpose().map_err(Failure::because)?;
    let who = Asker { identity, source: asked.source };
    let explanation = explain(&offline(policy.config)?, listener, &request, &who);
    match asked.output {
        Output::Json => print(format_args!("{:#}\n", serde_json::to_value(&explanation)?)),
        Output::Text => print(explanation),
    }
}

/// What would run, without running it.
fn offline(config: Config) -> io::Result<Snapshot> {
    let metrics = Metrics::new(1, usize::MAX);
    let (log, _) = LineSink::spawn(Box::new(io::sink()), metrics.access_log_dropped())?;
    let tls = config.sidecar.identity.as_ref().map(|_| stand_in()).transpose()?;
    snapshot::build(config, None, tls, &metrics, &log, now()).map_err(io::Error::other)
}

/// Somebody, where who we are decides nothing: an explanation needs no secrets.
fn stand_in() -> io::Result<Arc<ServerSide>> {
    let hour = Duration::from_hours(1);
    let id = SpiffeId::parse("spiffe://nobody/nothing").map_err(io::Error::other)?;
    let (root, _) = Authority::create("nobody", hour).map_err(io::Error::other)?;
    let issued = root.issue(&id, &[], hour).map_err(io::Error::other)?;
    let identity = Identity::new(&root.files(&issued), None, SystemTime::now()).map_err(io::Error::other)?;
    Ok(Arc::new(ServerSide::new(Credentials::new(identity))))
}

fn listener(config: &Config, way: Way, port: Option<u16>) -> Result<ListenerId, String> {
    let sidecar = &config.sidecar;
    let found = match way {
        Way::Outbound => sidecar.outbound.as_ref().map(|outbound| ListenerId::outbound(outbound.listen)),
        Way::Inbound => {
            let wanted = |known: u16| port.is_none_or(|port| port == known);
            let mut fitting = sidecar.inbound.iter().filter(|inbound| wanted(inbound.port));
            let first = fitting.next().map(ListenerId::of);
            if fitting.next().is_some() {
                return Err("the sidecar has several inbound ports; say which with --port".to_owned());
            }
            first
        }
    };
    let none = || match (way, port) {
        (Way::Outbound, _) => "the sidecar has no `outbound`".to_owned(),
        (Way::Inbound, Some(port)) => format!("the sidecar has no inbound port {port}"),
        (Way::Inbound, None) => "the sidecar has no inbound port".to_owned(),
    };
    found.ok_or_else(none)
}
