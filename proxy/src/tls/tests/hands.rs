//! How do two ends shake hands without a socket?

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};

use crate::tls::{Alpn, ClientSide, Refusal, ServerSide};

/// Both ends after a handshake.
pub(super) struct Hands {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
}

/// Which end ended it, and why.
#[derive(Debug)]
pub(super) enum Failed {
    Client(Error),
    Server(Error),
}

impl Failed {
    /// What the caller was refused for.
    pub(super) fn caller(&self) -> Option<Refusal> {
        match self {
            Self::Server(error) => Refusal::of(error),
            Self::Client(_) => None,
        }
    }

    /// What whoever answered was refused for.
    pub(super) fn answerer(&self) -> Option<Refusal> {
        match self {
            Self::Client(error) => Refusal::of(error),
            Self::Server(_) => None,
        }
    }
}

pub(super) fn shake(client: &ClientSide, server: &ServerSide) -> Result<Hands, Failed> {
    shake_as(client.config(Alpn::Http1), server.config(Alpn::Either), client)
}

pub(super) fn shake_as(
    config: Arc<ClientConfig>,
    answer: Arc<ServerConfig>,
    client: &ClientSide,
) -> Result<Hands, Failed> {
    let name = client.server_name([10, 0, 0, 5].into());
    let mut client = ClientConnection::new(config, name).map_err(Failed::Client)?;
    let mut server = ServerConnection::new(answer).map_err(Failed::Server)?;
    let mut quiet = 0;
    // Once more after both are done: the tickets that come behind the handshake.
    while quiet < 2 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut octets = &wire[..];
        while !octets.is_empty() {
            server.read_tls(&mut octets).unwrap();
            server.process_new_packets().map_err(Failed::Server)?;
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).unwrap();
        }
        let mut octets = &back[..];
        while !octets.is_empty() {
            client.read_tls(&mut octets).unwrap();
            client.process_new_packets().map_err(Failed::Client)?;
        }
        quiet = if wire.is_empty() && back.is_empty() { quiet + 1 } else { 0 };
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Hands { client, server })
}
