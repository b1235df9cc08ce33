//! Who does the application learn that its caller is? `x-forwarded-client-cert`, in Envoy's words, always of our making.

use http::HeaderName;
use outrigger_config::model::{Direction, PeerIdentity};

use super::super::exchange::Exchange;
use crate::message::Known;

/// `x-forwarded-client-cert`
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What of a request's fields must not reach the application: whoever is not us may not say who calls. (What the
/// application itself sends out is its own affair; the sidecar at the other end says the same of it.)
pub fn forged(direction: Direction) -> Known {
    match direction {
        Direction::Inbound => Known::CLIENT_CERT,
        Direction::Outbound => Known::NONE,
    }
}

/// The field's value: `URI=spiffe://simplebank/ui`, `DNS=ui.internal` (Envoy, "x-forwarded-client-cert"); `None`: nobody
/// proved anything, and there is no such field.
pub fn value(exchange: &Exchange<'_>) -> Option<String> {
    let identity =
        exchange.identity.as_ref().filter(|_| exchange.listener.direction == Direction::Inbound)?;
    Some(element(identity))
}

fn element(identity: &PeerIdentity) -> String {
    let (key, name) = match identity {
        PeerIdentity::Spiffe(id) => ("URI", id.as_str()),
        PeerIdentity::Dns(name) => ("DNS", &**name),
    };
    if !name.contains([',', ';', '=', '"']) {
        return format!("{key}={name}");
    }
    // Envoy: a value with a separator is quoted, and its quotes are escaped.
    format!("{key}=\"{}\"", name.replace('"', "\\\""))
}
