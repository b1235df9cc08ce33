//! Who proves an identity to whom? What is asked of callers, and how upstreams are spoken with.

use serde_json::{Value, json};

use super::setting;
use crate::model::{InboundTls, PeerIdentity, Setting, UpstreamTls};
use crate::raw::{PortTls, TlsMode, Words};

pub(super) fn asked(tls: &InboundTls) -> PortTls {
    match tls {
        InboundTls::Off => PortTls::Off,
        InboundTls::Permissive => PortTls::Permissive,
        InboundTls::Strict { .. } => PortTls::Strict,
    }
}

pub(super) fn plaintext_paths(tls: &InboundTls) -> &[String] {
    match tls {
        InboundTls::Strict { plaintext_paths } => plaintext_paths,
        InboundTls::Off | InboundTls::Permissive => &[],
    }
}

pub(super) fn upstream(tls: &Setting<UpstreamTls>) -> Value {
    let names = |peers: &[PeerIdentity]| peers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let value = match &tls.value {
        UpstreamTls::Off => json!({ "mode": TlsMode::Off.word() }),
        UpstreamTls::Mutual { sni, peers } => {
            json!({ "mode": TlsMode::Mutual.word(), "sni": sni, "peerIdentities": names(peers) })
        }
        UpstreamTls::Simple { sni, peers, ca_file } => json!({
            "mode": TlsMode::Simple.word(),
            "sni": sni,
            "peerIdentities": names(peers),
            "caFile": ca_file,
        }),
    };
    setting(tls, value)
}
