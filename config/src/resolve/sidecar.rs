//! Where does the process listen, and what may a peer cost it?

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::policy::{self, Layer};
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{
    AccessLog, Admin, Direction, Inbound, Outbound, Shutdown, Sidecar, SidecarLimits, UnknownAuthority,
    Workers,
};
use crate::raw::{self, Spanned, items};

/// The sidecar.
pub(super) fn resolve(
    Spanned { value: written, span }: &Spanned<raw::Sidecar>,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Option<Sidecar> {
    let inbound = items(&written.inbound).filter_map(|port| inbound(&port.value, defaults, faults)).collect();
    let outbound = written.outbound.as_ref().map(|outbound| self::outbound(&outbound.value));
    if written.inbound.is_none() && written.outbound.is_none() {
        faults.at_with(
            *span,
            "the sidecar has neither `inbound` nor `outbound`",
            "it would carry no traffic",
        );
    }
    let admin = admin(written.admin.as_ref().map(|admin| &admin.value), faults);
    listeners(*span, written, outbound.as_ref(), &admin, faults);
    Some(Sidecar {
        name: written.name.as_ref()?.value.clone(),
        workers: workers(written.workers.as_ref()),
        inbound,
        outbound,
        admin,
        shutdown: shutdown(written.shutdown.as_ref().map(|shutdown| &shutdown.value)),
        access_log: access_log(written.access_log.as_ref().map(|log| &log.value)),
        limits: limits(written.limits.as_ref().map(|limits| &limits.value), faults),
    })
}

fn workers(written: Option<&Spanned<raw::Workers>>) -> Workers {
    match written.map(|workers| workers.value) {
        Some(raw::Workers::Fixed(number)) => {
            NonZeroUsize::new(number.get()).map_or(Workers::Auto, Workers::Fixed)
        }
        Some(raw::Workers::Auto) | None => Workers::Auto,
    }
}

fn inbound(
    written: &raw::Inbound,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Option<Inbound> {
    let policy =
        policy::resolve(Direction::Inbound, &[Layer::defaults(defaults, Direction::Inbound)], faults);
    match written.protocol.as_ref().map(|protocol| protocol.value) {
        Some(raw::InboundProtocol::Http) | None => {}
    }
    let port = written.port.as_ref()?.value.get();
    let listen = inbound_listen(written)?;
    let forward_to = written.forward_to.as_ref()?.value.get();
    Some(Inbound { port, listen, forward_to, policy })
}

fn inbound_listen(written: &raw::Inbound) -> Option<SocketAddr> {
    let port = written.port.as_ref()?.value.get();
    Some(
        written
            .listen
            .as_ref()
            .map_or(SocketAddr::new(defaults::INBOUND_ADDRESS, port), |listen| listen.value.get()),
    )
}

fn outbound(written: &raw::Outbound) -> Outbound {
    match written.capture.as_ref().map(|capture| capture.value) {
        Some(raw::Capture::Explicit) | None => {}
    }
    Outbound {
        listen: written.listen.as_ref().map_or(defaults::OUTBOUND_LISTEN, |listen| listen.value.get()),
        unknown: written.unknown.as_ref().map_or(UnknownAuthority::Reject, |unknown| unknown.value),
    }
}

fn admin(written: Option<&raw::Admin>, faults: &mut Faults<'_>) -> Admin {
    let listen = written.and_then(|admin| admin.listen.as_ref());
    let metrics = written.and_then(|admin| admin.metrics.as_ref());
    if let Some(listen) = listen
        && !listen.value.get().ip().is_loopback()
    {
        let help = "it has no authentication; only a loopback address keeps others out";
        faults.at_with(listen.span, "the admin interface must listen on a loopback address", help);
    }
    Admin {
        listen: listen.map_or(defaults::ADMIN_LISTEN, |listen| listen.value.get()),
        metrics: metrics.map_or(defaults::METRICS_LISTEN, |metrics| metrics.value.get()),
    }
}

fn shutdown(written: Option<&raw::Shutdown>) -> Shutdown {
    let drain = written.and_then(|shutdown| shutdown.drain.as_ref());
    Shutdown { drain: drain.map_or(defaults::DRAIN, |drain| drain.value.get()) }
}

fn access_log(written: Option<&raw::AccessLog>) -> AccessLog {
    let none = raw::AccessLog::default();
    let written = written.unwrap_or(&none);
    AccessLog {
        enabled: written.format.as_ref().is_none_or(|format| format.value == raw::LogFormat::Json),
        success_sample: written.success_sample.as_ref().map_or(defaults::SUCCESS_SAMPLE, |p| p.value.share()),
        slower_than: written.slower_than.as_ref().map_or(defaults::SLOWER_THAN, |d| d.value.get()),
        max_bytes_per_second: written
            .max_bytes_per_second
            .as_ref()
            .map_or(defaults::LOG_BYTES_PER_SECOND, |n| n.value.get()),
    }
}

fn limits(written: Option<&raw::Limits>, faults: &mut Faults<'_>) -> SidecarLimits {
    let none = raw::Limits::default();
    let w = written.unwrap_or(&none);
    let limits = SidecarLimits {
        request_head: w.request_head.as_ref().map_or(defaults::REQUEST_HEAD, |n| n.value.get()),
        request_fields: w.request_fields.as_ref().map_or(defaults::REQUEST_FIELDS, |n| n.value.get()),
        request_target: w.request_target.as_ref().map_or(defaults::REQUEST_TARGET, |n| n.value.get()),
        head_timeout: w.head_timeout.as_ref().map_or(defaults::HEAD_TIMEOUT, |d| d.value.get()),
        idle_timeout: w.idle_timeout.as_ref().map_or(defaults::KEEP_ALIVE_IDLE, |d| d.value.get()),
        body_idle_timeout: w.body_idle_timeout.as_ref().map_or(defaults::BODY_IDLE, |d| d.value.get()),
        max_connections: w.max_connections.as_ref().map_or(defaults::MAX_CONNECTIONS, |n| n.value.get()),
        backlog: w.backlog.as_ref().map_or(defaults::BACKLOG, |n| n.value.get()),
        trailers: w.trailers.as_ref().map_or(defaults::TRAILERS, |n| n.value.get()),
        trailer_fields: w.trailer_fields.as_ref().map_or(defaults::TRAILER_FIELDS, |n| n.value.get()),
    };
    let target = w.request_target.as_ref().map(|w| w.span).or(w.request_head.as_ref().map(|w| w.span));
    if let Some(span) = target.filter(|_| limits.request_target > limits.request_head) {
        let [target, head] =
            [limits.request_target, limits.request_head].map(|n| crate::scalars::Size::from_bytes(n as u64));
        faults.at(
            span,
            format!("`requestTarget` ({target}) is larger than `requestHead` ({head}), which contains it"),
        );
    }
    limits
}

/// Two listeners cannot share a port, and the application cannot be one of them.
fn listeners(
    document: Span,
    written: &raw::Sidecar,
    outbound: Option<&Outbound>,
    admin: &Admin,
    faults: &mut Faults<'_>,
) {
    let ports = || items(&written.inbound).map(|port| &port.value);
    let mut listeners: Vec<(String, SocketAddr, Span)> = Vec::new();
    let written_admin = written.admin.as_ref().map(|admin| &admin.value);
    let admin_span = written_admin.and_then(|a| a.listen.as_ref()).map_or(document, |w| w.span);
    let metrics_span = written_admin.and_then(|a| a.metrics.as_ref()).map_or(document, |w| w.span);
    listeners.push(("admin.listen".to_owned(), admin.listen, admin_span));
    listeners.push(("admin.metrics".to_owned(), admin.metrics, metrics_span));
    if let Some(outbound) = outbound {
        let listen = written.outbound.as_ref().and_then(|outbound| outbound.value.listen.as_ref());
        listeners.push(("outbound.listen".to_owned(), outbound.listen, listen.map_or(document, |w| w.span)));
    }
    for port in ports() {
        if let (Some(listen), Some(number)) = (inbound_listen(port), &port.port) {
            let span = port.listen.as_ref().map_or(number.span, |w| w.span);
            listeners.push((format!("inbound port {}", number.value.get::<u16>()), listen, span));
        }
    }
    for (index, (name, address, span)) in listeners.iter().enumerate() {
        if let Some((other, ..)) = listeners[..index].iter().find(|(_, other, _)| clash(*address, *other)) {
            faults.at(*span, format!("{name} and {other} would both listen on {address}"));
        }
    }
    super::unique(
        ports()
            .filter_map(|port| port.port.as_ref())
            .map(|port| (port.value.get::<u16>().to_string(), port.span)),
        "inbound port",
        faults,
    );
    for forward_to in ports().filter_map(|port| port.forward_to.as_ref()) {
        let address = forward_to.value.get();
        if let Some((name, ..)) = listeners.iter().find(|(_, listener, _)| clash(address, *listener)) {
            faults.at(forward_to.span, format!("{address} leads back to this process: {name} listens there"));
        }
    }
}

/// Port 0 is chosen by the kernel and never clashes.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_address
}
