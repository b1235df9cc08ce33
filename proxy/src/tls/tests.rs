//! Is everybody refused who should be, each with its own word, and nobody else? Whole handshakes, without sockets.

mod believed;
mod hands;
mod issuer;
mod octets;
mod renewed;
mod secret;
