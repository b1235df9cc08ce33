//! Who are we, whom do we believe, and how is that proved? Everything that knows rustls.
//!
//! ```text
//!  tls.crt tls.key ca.crt ca.crl ──▶ files ──▶ Identity ──▶ Credentials ──┬──▶ ServerSide   those who call us
//!                                    (pem)     (trust)      swapped whole └──▶ ClientSide   those whom we call
//!                                                                               │
//!                                    Refusal ◀── verify (trust, names) ◀────────┴──▶ PeerCert: whom a handshake proved
//! ```
//!
//! - [`Identity`] is what the files of one moment say, checked as a whole: a key that fits its certificate, a certificate
//!   that is valid and that its own roots vouch for. [`Credentials`] holds the one in use; what it is replaced by serves
//!   the next handshake, without a new snapshot.
//! - Chains, validity, key usage and revocation are judged in one place, `trust`, for both directions and for
//!   connections that live while trust changes (`PeerCert::judged_by`).
//! - [`authority`] signs for development, [`shown`] reads certificates to people.
//! - Between sidecars TLS 1.3 only, with X25519MLKEM768 preferred; TLS 1.2 only towards services outside
//!   (`provider`).
//! - [`Stream`] is what all others see of it: a connection's octets, in plaintext or within TLS. `session` is one end of
//!   TLS without IO, `handshake` how it comes about, or why not.
//! - Private keys are read into memory that is zeroed and handed to aws-lc, which zeroes what it frees; no type here that
//!   holds one prints it.

pub mod authority;
mod client;
mod client_cert;
mod credentials;
mod files;
mod handshake;
mod identity;
mod peer;
mod pem;
mod proof;
mod provider;
mod refusal;
mod secure;
mod server;
mod session;
pub mod shown;
mod stream;
#[cfg(test)]
mod tests;
mod trust;
mod verify;

pub use client::ClientSide;
pub use credentials::Credentials;
pub use files::Files;
pub use handshake::{Failed, HANDSHAKE, HandshakeError, is_alert};
pub use identity::{Identity, IdentityError, Standing};
pub use peer::PeerCert;
pub use proof::Proof;
pub use provider::Alpn;
pub use refusal::Refusal;
pub use secure::Tls;
pub use server::ServerSide;
pub use stream::Stream;
