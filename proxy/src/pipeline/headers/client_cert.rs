//! Who does the application learn that its caller is? `x-forwarded-client-cert`, always of our making.

use http::HeaderName;
use outrigger_config::model::Direction;

use super::super::exchange::Exchange;
use crate::message::Known;
use crate::tls::Proof;

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

/// The field's value; `None`: nobody proved anything, and there is no such field.
pub fn value<'e>(exchange: &'e Exchange<'_>) -> Option<&'e str> {
    let proof = exchange.proof.as_deref().filter(|_| exchange.listener.direction == Direction::Inbound);
    proof.map(Proof::client_cert)
}
