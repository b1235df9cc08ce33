//! Who proves an identity to whom? What `identity` and `tls` mean.

use super::layers::{Layers, origin};
use super::unique;
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{Discovery, IdentityFiles, InboundTls, PeerIdentity, Setting, UpstreamTls};
use crate::raw::{self, PortTls, Spanned, Text, TlsMode, Words, items};

const NOBODY: &str = "write `identity: {certDir: /certs}` in the Sidecar: its files say who we are";

/// Where our own identity comes from.
pub(super) fn identity(written: &raw::Sidecar, faults: &mut Faults<'_>) -> Option<IdentityFiles> {
    let cert_dir = absolute("certDir", written.identity.as_ref()?.value.cert_dir.as_ref()?, faults);
    Some(IdentityFiles { cert_dir })
}

/// What an inbound port asks of its callers. `identified`: the sidecar has an identity.
pub(super) fn inbound(written: &raw::Inbound, identified: bool, faults: &mut Faults<'_>) -> InboundTls {
    if let Some(tls) = written.tls
        && tls.value != PortTls::Off
        && !identified
    {
        faults.at_with(tls.span, format!("`tls: {}` without an identity", tls.value.word()), NOBODY);
    }
    let tls = match written.tls.map(|tls| tls.value) {
        None if identified => defaults::TLS_WITH_IDENTITY,
        None => defaults::TLS_WITHOUT_IDENTITY,
        Some(PortTls::Off) => InboundTls::Off,
        Some(PortTls::Permissive) => InboundTls::Permissive,
        Some(PortTls::Strict) => InboundTls::Strict { plaintext_paths: Vec::new() },
    };
    let Some(paths) = &written.plaintext_paths else { return tls };
    unique(paths.value.iter().map(|path| (&path.value.0, path.span)), "path", faults);
    for path in paths.value.iter().filter(|path| path.value.0.contains('?')) {
        let help = "plaintext may ask for a path, whatever the query";
        faults.at_with(path.span, format!("`{}` has a query", path.value.0), help);
    }
    match tls {
        InboundTls::Strict { .. } => {
            InboundTls::Strict { plaintext_paths: paths.value.values().map(|path| path.0.clone()).collect() }
        }
        InboundTls::Off | InboundTls::Permissive => {
            let help = "they are the exceptions of a port that takes no other plaintext";
            faults.at_with(paths.span, "`plaintextPaths` without `tls: strict`", help);
            tls
        }
    }
}

/// How an upstream is spoken with: in plaintext unless it or `Defaults` says more.
pub(super) fn upstream(
    Spanned { value: written, span }: &Spanned<raw::Upstream>,
    discovery: Option<&Discovery>,
    defaults: Option<&raw::Defaults>,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Setting<UpstreamTls> {
    let (house, own) = (defaults.and_then(|d| d.tls.as_ref()), written.tls.as_ref());
    let layers = Layers { defaults: house.map(|block| &block.value), own: own.map(|block| &block.value) };
    let at = own.map_or(*span, |block| block.span);
    let whole = own.map_or(written.whole, |block| block.value.whole);
    let mode = layers.written(|b| b.mode);
    if let (Some(own), None) = (own, mode)
        && whole
    {
        faults.at_with(own.span, "missing `mode`", "`mutual`, `simple` or `off`");
    }
    let blame = Blame { at, whole };
    let value = match mode.map(|mode| mode.value) {
        Some(TlsMode::Mutual) => {
            if let Some(mode) = mode
                && sidecar.is_some_and(|sidecar| sidecar.whole && sidecar.identity.is_none())
            {
                faults.at_with(mode.span, "`mode: mutual` without an identity", NOBODY);
            }
            mutual(&layers, discovery, &blame, faults)
        }
        Some(TlsMode::Simple) => simple(&layers, discovery, &blame, faults),
        Some(TlsMode::Off) | None => UpstreamTls::Off,
    };
    Setting { value, origin: origin(own.map(|b| b.span), house.map(|b| b.span), faults) }
}

/// Where something is missing, if all that is there could be read.
struct Blame {
    at: Span,
    whole: bool,
}

fn mutual(
    layers: &Layers<'_, raw::Tls>,
    discovery: Option<&Discovery>,
    blame: &Blame,
    faults: &mut Faults<'_>,
) -> UpstreamTls {
    let peers = peers(layers, faults);
    if blame.whole && layers.written(|b| b.peer_identities.as_ref()).is_none() {
        let help = "write whom we expect: everybody of the trust domain has a right certificate";
        faults.at_with(blame.at, "`mode: mutual` without `peerIdentities`", help);
    }
    if let Some(file) = layers.written(|b| b.ca_file.as_ref()) {
        let help = "with `mode: mutual` the roots are `ca.crt` beside our own certificate";
        faults.at_with(file.span, "`caFile` is for `mode: simple`", help);
    }
    UpstreamTls::Mutual { sni: sni(layers, discovery, &peers), peers }
}

fn simple(
    layers: &Layers<'_, raw::Tls>,
    discovery: Option<&Discovery>,
    blame: &Blame,
    faults: &mut Faults<'_>,
) -> UpstreamTls {
    let mut peers = peers(layers, faults);
    let sni = sni(layers, discovery, &peers);
    let named = layers.written(|b| b.peer_identities.as_ref()).is_some();
    if !named {
        peers.extend(sni.as_deref().map(|name| PeerIdentity::Dns(name.into())));
    }
    if !named && peers.is_empty() && blame.whole {
        let help = "write `sni` or `peerIdentities`: addresses alone do not say whom we expect";
        faults.at_with(blame.at, "`mode: simple` with nobody in particular", help);
    }
    let ca_file = layers.written(|b| b.ca_file.as_ref()).map(|file| absolute("caFile", file, faults));
    UpstreamTls::Simple { sni, peers, ca_file }
}

fn peers(layers: &Layers<'_, raw::Tls>, faults: &mut Faults<'_>) -> Vec<PeerIdentity> {
    let written = layers.written(|b| b.peer_identities.as_ref());
    unique(items(written).map(|peer| (&peer.value, peer.span)), "identity", faults);
    items(written).map(|peer| peer.value.clone()).collect()
}

/// What is written, else what the endpoints are found by, else what they are called.
fn sni(
    layers: &Layers<'_, raw::Tls>,
    discovery: Option<&Discovery>,
    peers: &[PeerIdentity],
) -> Option<String> {
    let written = layers.written(|b| b.sni.as_ref()).map(|sni| sni.value.as_str());
    let found = match discovery {
        Some(Discovery::Dns { name, .. }) => Some(name.as_str()),
        Some(Discovery::Static(_) | Discovery::Original) | None => None,
    };
    let mut called = peers.iter().filter_map(|peer| match peer {
        PeerIdentity::Dns(name) => Some(&**name),
        PeerIdentity::Spiffe(_) => None,
    });
    written.or(found).or_else(|| called.next()).map(str::to_owned)
}

fn absolute(key: &str, path: &Spanned<Text>, faults: &mut Faults<'_>) -> String {
    if !path.value.0.starts_with('/') {
        faults.at_with(path.span, format!("`{key}` is not an absolute path"), "it starts with `/`");
    }
    path.value.0.clone()
}
