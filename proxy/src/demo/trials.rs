//! Who may call `market-data`? Several try, with and without the right identity; its sidecar counts why it refuses them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use outrigger_config::model::UpstreamTls;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::DemoError;
use super::certs::{Certs, FORGER, STRANGER, failed, identity};
use super::http::Conn;
use super::load::PATIENCE;
use super::sidecar::Sidecar;
use super::stage::Stage;
use crate::tls::{Alpn, ClientSide, Credentials, Files, Identity};

/// Where the sidecar counts whom it refuses, and the label that says why.
const COUNTED: [(&str, &str); 3] = [
    ("outrigger_tls_handshakes_total", "result"),
    ("outrigger_protocol_errors_total", "reason"),
    ("outrigger_authorization_decisions_total", "decision"),
];
/// What stands there for callers whom it lets in.
const LET_IN: [&str; 3] = ["full", "resumed", "allowed"];
/// What it counts just after an answer is seen this much later at most, looked for so often.
const LOOKS: (Duration, usize) = (Duration::from_millis(10), 100);

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The one whom it is there for.
    Holdings,
    /// Another service of the same authority: it may connect, and no policy allows it to ask.
    Stranger,
    /// Somebody whose certificate says `holdings` too, signed by an authority that nobody trusts.
    Forger,
    /// Somebody who speaks TLS and shows no certificate.
    Nobody,
    /// Somebody who does not speak TLS.
    Plaintext,
}

/// An attempt to call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// By whom.
    pub who: Who,
    /// Why it was refused, as the sidecar counted it; `None`: it was answered.
    pub refused: Option<String>,
}

impl Who {
    const ALL: [Self; 5] = [Self::Holdings, Self::Stranger, Self::Forger, Self::Nobody, Self::Plaintext];

    /// In the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::Holdings => "holdings, with its identity",
            Self::Stranger => "statements, with its own",
            Self::Forger => "one who forges that identity",
            Self::Nobody => "a caller without a certificate",
            Self::Plaintext => "a caller in plaintext",
        }
    }

    /// How it shakes hands; `None`: not at all.
    fn hands(self, certs: &Certs) -> Result<Option<ClientSide>, DemoError> {
        let dir = match self {
            Self::Holdings | Self::Nobody => certs.of("holdings"),
            Self::Stranger => certs.of(STRANGER),
            Self::Forger => certs.of(FORGER),
            Self::Plaintext => return Ok(None),
        };
        let peers = vec![identity("market-data")?];
        let (tls, credentials) = if self == Self::Nobody {
            let roots = dir.join(Files::ROOTS).display().to_string();
            (UpstreamTls::Simple { sni: None, peers, ca_file: Some(roots) }, None)
        } else {
            let identity = Identity::load(&dir).map_err(|error| failed(&error))?;
            (UpstreamTls::Mutual { sni: None, peers }, Some(Credentials::new(identity)))
        };
        ClientSide::new(&tls, credentials.as_ref()).map_err(DemoError::Certs)
    }
}

/// Lets each of them call the sidecar of the first replica, which is a healthy one.
pub async fn hold(stage: &Stage) -> Result<Vec<Trial>, DemoError> {
    let (sidecar, at) = (&stage.others[0], stage.guarded[0]);
    let mut trials = Vec::new();
    for who in Who::ALL {
        let hands = who.hands(&stage.certs)?;
        let before = refusals(&sidecar.scrape());
        let answer = timeout(PATIENCE, ask(at, hands.as_ref())).await;
        let answered = matches!(answer, Ok(Ok(true)));
        let refused = if answered { None } else { Some(reason(sidecar, &before).await) };
        trials.push(Trial { who, refused });
    }
    Ok(trials)
}

/// Whether a price comes.
async fn ask(at: SocketAddr, hands: Option<&ClientSide>) -> io::Result<bool> {
    let tcp = TcpStream::connect(at).await?;
    let stream = match hands {
        None => tcp.into(),
        Some(hands) => {
            let tls = hands.connect(tcp, at.ip(), Alpn::Http1).await;
            tls.map_err(|error| io::Error::other(error.label()))?.into()
        }
    };
    let (status, _) = Conn::over(stream).exchange("trial", "market-data", "/prices/ACME").await?;
    Ok(status.is_success())
}

/// What it has counted since.
async fn reason(sidecar: &Sidecar, before: &HashMap<String, u64>) -> String {
    let (pause, looks) = LOOKS;
    for _ in 0..looks {
        let now = refusals(&sidecar.scrape());
        let risen = now.into_iter().find(|(reason, count)| before.get(reason).unwrap_or(&0) < count);
        if let Some((reason, _)) = risen {
            return reason;
        }
        sleep(pause).await;
    }
    "nobody counted why".to_owned()
}

/// How often it turned callers away, by the reason.
fn refusals(scrape: &str) -> HashMap<String, u64> {
    let row = |row: &str| {
        let (family, labels) = row.split_once('{')?;
        let (_, label) = COUNTED.iter().find(|(counted, _)| *counted == family)?;
        let reason = value(labels, label)?;
        let ours = value(labels, "direction").is_none_or(|direction| direction == "inbound");
        let refused = ours && !LET_IN.contains(&reason);
        let reason = match value(labels, "policy") {
            Some(policy) => format!("{reason} by {policy}"),
            None => reason.to_owned(),
        };
        Some((reason, row.rsplit(' ').next()?.parse().ok()?)).filter(|_| refused)
    };
    scrape.lines().filter_map(row).collect()
}

/// Of one label of a row.
fn value<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let (_, value) = labels.split_once(&format!(r#"{label}=""#))?;
    value.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_a_scrape() {
        let scrape = "\
# TYPE outrigger_tls_handshakes_total counter
outrigger_tls_handshakes_total{direction=\"inbound\",result=\"full\"} 7
outrigger_tls_handshakes_total{direction=\"inbound\",result=\"unknown-ca\"} 2
outrigger_tls_handshakes_total{direction=\"outbound\",result=\"wrong-identity\"} 3
outrigger_protocol_errors_total{direction=\"inbound\",reason=\"plaintext-refused\"} 1
outrigger_authorization_decisions_total{policy=\"callers\",mode=\"enforce\",decision=\"allowed\"} 8
outrigger_authorization_decisions_total{policy=\"callers\",mode=\"enforce\",decision=\"denied\"} 4
outrigger_requests_total{direction=\"inbound\",reason=\"-\"} 9
";
        let expected = [("unknown-ca", 2), ("plaintext-refused", 1), ("denied by callers", 4)];
        assert_eq!(refusals(scrape), expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    }
}
