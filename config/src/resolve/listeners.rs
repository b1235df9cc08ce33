//! Can all listeners of a sidecar exist together, and does its traffic leave it?

use std::net::SocketAddr;

use super::capture::of_port;
use super::sidecar::inbound_listen;
use super::unique;
use crate::faults::{Faults, Span};
use crate::model::{Admin, AdminAddress, Capture, ForwardTo, InboundCapture, Outbound};
use crate::raw::{self, Spanned, items};

struct Listener {
    name: String,
    address: SocketAddr,
    span: Span,
    /// The application has the port, and connections from elsewhere are redirected.
    is_captured: bool,
}

/// Two listeners cannot share a port, and the application cannot be one of them.
pub(super) fn check(
    document: Span,
    written: &raw::Sidecar,
    (captured, outbound): (Option<&InboundCapture>, Option<&Outbound>),
    admin: &Admin,
    faults: &mut Faults<'_>,
) {
    let listeners = all(document, written, (captured, outbound), admin);
    for (index, Listener { name, address, span, .. }) in listeners.iter().enumerate() {
        if let Some(other) = listeners[..index].iter().find(|other| clash(*address, other.address)) {
            let other = &other.name;
            faults.at(*span, format!("`{name}` and `{other}` would both listen on {address}"));
        }
    }
    let ports = || items(written.inbound.as_ref()).map(|port| &port.value);
    let numbers = ports().filter_map(|port| port.port);
    unique(numbers.map(|port| (u16::from(port.value), port.span)), "inbound port", faults);
    for forward_to in ports().filter_map(|port| port.forward_to) {
        let ForwardTo::Address(address) = forward_to.value else { continue };
        let mut bound = listeners.iter().filter(|listener| !listener.is_captured);
        if let Some(Listener { name, .. }) = bound.find(|listener| clash(address, listener.address)) {
            faults
                .at(forward_to.span, format!("{address} leads back to this process: `{name}` listens there"));
        }
    }
}

/// Every listener with the place that is to blame for it; the document's, where it is a default.
fn all(
    document: Span,
    written: &raw::Sidecar,
    (captured, outbound): (Option<&InboundCapture>, Option<&Outbound>),
    admin: &Admin,
) -> Vec<Listener> {
    let written_capture = written.inbound_capture.as_ref().map(|captured| &captured.value);
    let written_admin = written.admin.as_ref().map(|admin| &admin.value);
    let written_outbound = written.outbound.as_ref().map(|outbound| &outbound.value);
    let admin_port = match &admin.listen {
        AdminAddress::Port(address) => Some(*address),
        AdminAddress::File(_) => None,
    };
    let fixed = [
        ("admin.listen", admin_port, written_admin.and_then(|admin| Some(admin.listen.as_ref()?.span))),
        ("admin.metrics", Some(admin.metrics), written_admin.and_then(|admin| Some(admin.metrics?.span))),
        (
            "outbound.listen",
            outbound.map(|o| o.listen),
            written_outbound.and_then(|outbound| Some(outbound.listen?.span)),
        ),
        (
            "inboundCapture.port",
            captured.map(InboundCapture::listen),
            written_capture.and_then(|captured| Some(captured.port?.span)),
        ),
    ];
    let fixed = fixed.into_iter().filter_map(|(name, address, span)| {
        let span = span.unwrap_or(document);
        Some(Listener { name: name.to_owned(), address: address?, span, is_captured: false })
    });
    let inbound = items(written.inbound.as_ref()).filter_map(|port| {
        let number = port.value.port?;
        let span = port.value.listen.map_or(number.span, |listen| listen.span);
        let name = format!("inbound port {}", u16::from(number.value));
        let is_captured = of_port(&port.value) == Capture::Redirect;
        Some(Listener { name, address: inbound_listen(&port.value)?, span, is_captured })
    });
    let own = items(written_outbound.and_then(|outbound| outbound.tcp.as_ref())).filter_map(|tcp| {
        let Spanned { value: listen, span } = tcp.value.listen?;
        let address = SocketAddr::from(listen);
        Some(Listener { name: format!("outbound.tcp {address}"), address, span, is_captured: false })
    });
    fixed.chain(own).chain(inbound).collect()
}

/// Port 0 is chosen by the kernel and never clashes.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_address
}
