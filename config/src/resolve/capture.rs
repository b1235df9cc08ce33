//! What is redirected to the sidecar, and does the rest of its document know?

use std::net::SocketAddr;

use super::policy::{self, Layer};
use super::{paths, unique};
use crate::defaults;
use crate::faults::Faults;
use crate::model::{
    Accepts, Capture, Direction, ForwardTo, InboundCapture, Network, Outbound, PortRange, Unknown, Upgrade,
    twin,
};
use crate::raw::{self, Spanned, items, or};

/// Where nothing is redirected nothing is left alone.
const NOT_CAPTURED: &str = "leave it out, or write `capture: redirect`";

/// How connections to an inbound port get here.
pub(super) fn of_port(written: &raw::Inbound) -> Capture {
    or(written.capture, Capture::Explicit)
}

/// Checks what an inbound port says against how it is captured.
pub(super) fn check_port(written: &raw::Inbound, faults: &mut Faults<'_>) {
    let original = written.forward_to.filter(|to| to.value == ForwardTo::Original);
    match (of_port(written), written.listen, original) {
        (Capture::Redirect, Some(listen), _) => {
            let help = "leave `listen` out: the application has the port, `inboundCapture.port` gets its connections";
            faults.at_with(listen.span, "a captured port is not listened on", help);
        }
        (Capture::Explicit, _, Some(original)) if written.whole => {
            let help = "write the application's address, or `capture: redirect`";
            faults.at_with(original.span, "`original` is known of captured connections only", help);
        }
        _ => {}
    }
    if let (Some(check), Some(_)) = (&written.health_check, original) {
        let help = "write the application's address in `forwardTo`";
        faults.at_with(check.span, "`original` is no address that could be checked", help);
    }
}

/// The listener of captured ports, where there are such.
pub(super) fn inbound(
    sidecar: &raw::Sidecar,
    written_defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Option<InboundCapture> {
    let written = sidecar.inbound_capture.as_ref();
    let mut ports = items(sidecar.inbound.as_ref());
    if !ports.any(|port| of_port(&port.value) == Capture::Redirect) {
        if let Some(Spanned { span, .. }) = written.filter(|_| sidecar.whole) {
            let help = "no port under `inbound` says `capture: redirect`";
            faults.at_with(*span, "`inboundCapture`, but nothing is captured", help);
        }
        return None;
    }
    let none = raw::InboundCapture::default();
    let written = written.map_or(&none, |written| &written.value);
    let ranges = written.exclude_ports.as_ref().map_or(&[][..], |ranges| &ranges.value);
    Some(InboundCapture {
        port: or(written.port, defaults::INBOUND_CAPTURE_PORT),
        unknown: or(written.unknown, Unknown::Reject),
        exclude_ports: excluded(ranges, faults),
        policy: policy::resolve(
            Direction::Inbound,
            &[Layer::defaults(written_defaults, Direction::Inbound)],
            faults,
        ),
    })
}

/// The outbound port.
pub(super) fn outbound(
    written: &raw::Outbound,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Outbound {
    let capture = or(written.capture, Capture::Explicit);
    let listen = or(written.listen, defaults::OUTBOUND_LISTEN);
    match capture {
        Capture::Explicit if written.whole => explicit(written, faults),
        Capture::Explicit => {}
        Capture::Redirect => redirected_to(written.listen.map(|at| (at, listen)), faults),
    }
    let mut policy =
        policy::resolve(Direction::Outbound, &[Layer::defaults(defaults, Direction::Outbound)], faults);
    // A captured CONNECT is meant for another proxy: it is refused, and that proxy's port belongs to the excluded ones.
    policy.upgrades.value.retain(|upgrade| *upgrade != Upgrade::Connect);
    let ranges = written.exclude_ports.as_ref().map_or(&[][..], |ranges| &ranges.value);
    let networks = written.exclude_cidrs.as_ref();
    let taken_for = match capture {
        Capture::Explicit => Accepts::Http,
        // Databases too: nobody said what is called.
        Capture::Redirect => Accepts::Detect,
    };
    Outbound {
        listen,
        capture,
        accepts: written.protocol.map_or(taken_for, |protocol| protocol.value.0),
        tcp: Vec::new(),
        unknown: or(written.unknown, Unknown::Reject),
        exclude_ports: excluded(ranges, faults),
        exclude_cidrs: networks.map_or_else(
            || vec![Network::of(defaults::METADATA)],
            |networks| networks.value.values().copied().collect(),
        ),
        paths: paths::listener(written.paths.as_ref()),
        policy,
    }
}

/// Says what an explicit port has no use for.
fn explicit(written: &raw::Outbound, faults: &mut Faults<'_>) {
    if let Some(unknown) = written.unknown.filter(|unknown| unknown.value == Unknown::Allow) {
        let help = "such a call has no address but a name, and names that no policy knows are not looked up; \
                    `capture: redirect` knows where it was meant to go";
        faults.at_with(unknown.span, "`unknown: allow` needs `capture: redirect`", help);
    }
    let excludes = [
        ("excludePorts", written.exclude_ports.as_ref().map(|ports| ports.span)),
        ("excludeCidrs", written.exclude_cidrs.as_ref().map(|networks| networks.span)),
    ];
    for (key, span) in excludes.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        faults.at_with(span, format!("`{key}`, but nothing is redirected"), NOT_CAPTURED);
    }
}

/// The kernel redirects to the loopback address of either family.
fn redirected_to(
    listen: Option<(Spanned<crate::scalars::ListenAddress>, SocketAddr)>,
    faults: &mut Faults<'_>,
) {
    if let Some((written, address)) = listen.filter(|(_, at)| twin(*at).is_none() || at.port() == 0) {
        let help = "127.0.0.1 or 0.0.0.0, and a port above 0; IPv6 follows by itself";
        faults.at_with(written.span, format!("nothing can be redirected to {address}"), help);
    }
}

/// Ports that the rules leave alone, in order and without overlaps.
fn excluded(written: &[Spanned<PortRange>], faults: &mut Faults<'_>) -> Vec<PortRange> {
    unique(written.iter().map(|range| (range.value, range.span)), "port", faults);
    PortRange::merged(written.iter().map(|range| range.value).collect())
}

/// Checks that somebody looks at the virtual addresses of upstreams, and that each leads to one of them.
pub(super) fn check_addresses(
    upstreams: &[Spanned<raw::Upstream>],
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) {
    let all = || upstreams.iter().flat_map(|upstream| items(upstream.value.addresses.as_ref()));
    unique(all().map(|address| (SocketAddr::from(address.value), address.span)), "address", faults);
    let outbound = sidecar.and_then(|sidecar| Some(&sidecar.outbound.as_ref()?.value));
    let captured = outbound.is_none_or(|outbound| {
        !outbound.whole || or(outbound.capture, Capture::Explicit) == Capture::Redirect
    });
    for written in upstreams.iter().filter_map(|upstream| upstream.value.addresses.as_ref()) {
        if !captured {
            let help = "`outbound` is not captured: its calls name whom they are for";
            faults.at_with(written.span, "`addresses`, but nothing is redirected", help);
        }
    }
}
