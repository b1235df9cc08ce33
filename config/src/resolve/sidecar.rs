//! Where does the process listen, and what may a peer cost it?

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use super::capture;
use super::fault;
use super::health;
use super::layers::Layers;
use super::listeners;
use super::paths;
use super::policy::{self, Layer};
use super::tcp;
use super::tls;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{
    Accepts, AccessLog, ActiveCheck, Admin, AdminAddress, Applied, Direction, Inbound, Origin, Setting,
    Shutdown, Sidecar, SidecarLimits, Workers,
};
use crate::raw::{self, Spanned, items, or};
use crate::scalars::Size;

/// The sidecar.
pub(super) fn resolve(
    Spanned { value: written, span }: &Spanned<raw::Sidecar>,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Option<Sidecar> {
    let identity = tls::identity(written, faults);
    // One that is written but wrong must not make ports look as if there were none.
    let identified = written.identity.is_some() || !written.whole;
    let inbound = items(written.inbound.as_ref())
        .filter_map(|port| inbound(&port.value, identified, defaults, faults))
        .collect();
    if written.whole && written.inbound.is_none() && written.outbound.is_none() {
        faults.at_with(
            *span,
            "the sidecar has neither `inbound` nor `outbound`",
            "it would carry no traffic",
        );
    }
    let inbound_capture = capture::inbound(written, defaults, faults);
    let outbound =
        written.outbound.as_ref().map(|outbound| capture::outbound(&outbound.value, defaults, faults));
    let admin = admin(written.admin.as_ref().map(|admin| &admin.value), faults);
    listeners::check(*span, written, (inbound_capture.as_ref(), outbound.as_ref()), &admin, faults);
    let limits = limits(written.limits.as_ref().map(|limits| &limits.value), faults);
    Some(Sidecar {
        name: written.name.as_ref()?.value.clone(),
        workers: workers(written.workers),
        identity,
        inbound,
        inbound_capture,
        outbound,
        detection: tcp::detection(written.detection.as_ref().map(|block| &block.value), faults),
        admin,
        shutdown: Shutdown {
            drain: or(written.shutdown.as_ref().and_then(|shutdown| shutdown.value.drain), defaults::DRAIN),
        },
        access_log: access_log(written.access_log.as_ref().map(|log| &log.value)),
        limits,
        locality: written.locality.as_ref().map(|locality| locality.value.clone()),
        faults: fault::caps(Some(written)),
    })
}

/// Where an inbound port listens.
pub(super) fn inbound_listen(written: &raw::Inbound) -> Option<SocketAddr> {
    let everywhere = SocketAddr::new(defaults::INBOUND_ADDRESS, written.port?.value.into());
    Some(or(written.listen, everywhere))
}

fn workers(written: Option<Spanned<raw::Workers>>) -> Workers {
    match written.map(|workers| workers.value) {
        Some(raw::Workers::Fixed(number)) => {
            NonZeroUsize::new(number.into()).map_or(Workers::Auto, Workers::Fixed)
        }
        Some(raw::Workers::Auto) | None => Workers::Auto,
    }
}

fn inbound(
    written: &raw::Inbound,
    identified: bool,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Option<Inbound> {
    capture::check_port(written, faults);
    let layers = [Layer::defaults(defaults, Direction::Inbound)];
    let policy = policy::resolve(Direction::Inbound, &layers, faults);
    let (protocol, accepts) = match written.protocol.map(|protocol| protocol.value) {
        Some(raw::InboundProtocol(protocol, accepts)) => (protocol, accepts),
        None => (defaults::PROTOCOL, Accepts::Http),
    };
    Some(Inbound {
        port: written.port?.value.into(),
        capture: capture::of_port(written),
        listen: inbound_listen(written)?,
        forward_to: written.forward_to?.value,
        accepts,
        protocol,
        paths: paths::listener(written.paths.as_ref()),
        tls: tls::inbound(written, identified, faults),
        health_check: check(written, faults),
        policy,
    })
}

/// What `Defaults` has is for those who are called: of the application, only its own entry knows what to ask.
fn check(written: &raw::Inbound, faults: &mut Faults<'_>) -> Setting<Option<Applied<ActiveCheck>>> {
    let Setting { value, origin } = health::checks(written.health_check.as_ref(), None, faults);
    let origin = if let Origin::Upstream(at) = origin { Origin::Sidecar(at) } else { origin };
    Setting { value, origin }
}

fn admin(written: Option<&raw::Admin>, faults: &mut Faults<'_>) -> Admin {
    let listen = written.and_then(|admin| admin.listen.as_ref());
    let reachable = listen.filter(|listen| match &listen.value {
        AdminAddress::Port(addr) => !addr.ip().is_loopback(),
        AdminAddress::File(_) => false,
    });
    match (reachable, written.and_then(|admin| admin.exposed)) {
        (Some(listen), None) if written.is_some_and(|admin| admin.whole) => {
            let help = "it has no authentication: a loopback address or `unix:/run/outrigger.sock`, or say `exposed: true`";
            faults.at_with(
                listen.span,
                format!("others reach the admin interface on {}", listen.value),
                help,
            );
        }
        (None, Some(exposed)) if written.is_some_and(|admin| admin.whole) => {
            let help = "`listen` is a loopback address or a socket file: leave the word out";
            faults.at_with(exposed.span, "`exposed`, but the admin interface is not", help);
        }
        _ => {}
    }
    Admin {
        listen: listen.map_or(AdminAddress::Port(defaults::ADMIN_LISTEN), |listen| listen.value.clone()),
        metrics: or(written.and_then(|admin| admin.metrics), defaults::METRICS_LISTEN),
    }
}

fn access_log(written: Option<&raw::AccessLog>) -> AccessLog {
    let none = raw::AccessLog::default();
    let written = written.unwrap_or(&none);
    AccessLog {
        enabled: or(written.format, raw::LogFormat::Json) == raw::LogFormat::Json,
        success_sample: or(written.success_sample, defaults::SUCCESS_SAMPLE),
        slower_than: or(written.slower_than, defaults::SLOWER_THAN),
        max_bytes_per_second: or(written.max_bytes_per_second, defaults::LOG_BYTES_PER_SECOND),
    }
}

fn limits(written: Option<&raw::Limits>, faults: &mut Faults<'_>) -> SidecarLimits {
    let none = raw::Limits::default();
    let written = written.unwrap_or(&none);
    let http2 = written.http2.as_ref().map(|http2| &http2.value);
    let limits = SidecarLimits {
        request_head: or(written.request_head, defaults::REQUEST_HEAD),
        request_fields: or(written.request_fields, defaults::REQUEST_FIELDS),
        request_target: or(written.request_target, defaults::REQUEST_TARGET),
        head_timeout: or(written.head_timeout, defaults::HEAD_TIMEOUT),
        idle_timeout: or(written.idle_timeout, defaults::KEEP_ALIVE_IDLE),
        body_idle_timeout: or(written.body_idle_timeout, defaults::BODY_IDLE),
        max_connections: or(written.max_connections, defaults::MAX_CONNECTIONS),
        handshake_timeout: or(written.handshake_timeout, defaults::HANDSHAKE_TIMEOUT),
        max_handshakes: or(written.max_handshakes, defaults::MAX_HANDSHAKES),
        backlog: or(written.backlog, defaults::BACKLOG),
        trailers: or(written.trailers, defaults::TRAILERS),
        trailer_fields: or(written.trailer_fields, defaults::TRAILER_FIELDS),
        max_connection_age: or(written.max_connection_age, defaults::MAX_CONNECTION_AGE),
        http2: Layers { defaults: None, own: http2 }.http2(faults),
        header_list: or(http2.and_then(|http2| http2.header_list), defaults::HTTP2_HEADER_LIST),
    };
    let span = written.request_target.map(|w| w.span).or(written.request_head.map(|w| w.span));
    if let Some(span) = span.filter(|_| limits.request_target > limits.request_head) {
        let sizes = [limits.request_target, limits.request_head].map(|bytes| Size::from_bytes(bytes as u64));
        let [target, head] = sizes;
        faults
            .at(span, format!("`requestTarget` ({target}) is larger than `requestHead` ({head}) around it"));
    }
    limits
}
