//! How does a test speak TLS? A caller and a server of the rustls crate, with certificates of its own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;
use super::authority::{Authority, Pair};

/// A connection within TLS, as a caller has it.
pub struct Secret(pub StreamOwned<ClientConnection, TcpStream>);

/// How a caller goes about it.
pub struct Caller {
    config: ClientConfig,
    name: &'static str,
}

impl Caller {
    /// One that trusts this authority, and shows this certificate if any.
    pub fn new(trusts: &Authority, shows: Option<&Pair>) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(trusts));
        let config = match shows {
            Some(pair) => builder.with_client_auth_cert(chain(pair), key(pair)).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self { config, name: "localhost" }
    }

    /// One that wants to reach whoever has this name.
    pub fn asking_for(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// One that wants to speak this inside.
    pub fn speaking(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Connects, and shakes hands.
    pub fn call(&self, to: SocketAddr) -> io::Result<Secret> {
        let tcp = TcpStream::connect(to)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(self.name).unwrap();
        let conn = ClientConnection::new(Arc::new(self.config.clone()), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(conn, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secret(stream))
    }

    /// Connects, sends a GET, and reads all of the answer up to its end.
    pub fn get(&self, to: SocketAddr) -> io::Result<String> {
        self.call(to)?.ask("GET / HTTP/1.1\r\nhost: origin\r\nconnection: close\r\n\r\n")
    }
}

impl Secret {
    /// Sends this, and reads up to the end, which must be an announced one.
    pub fn ask(&mut self, request: &str) -> io::Result<String> {
        self.0.write_all(request.as_bytes())?;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Sends this, and reads the head of what comes.
    pub fn head(&mut self, request: &str) -> io::Result<String> {
        self.0.write_all(request.as_bytes())?;
        let mut came = Vec::new();
        while !came.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut some = [0; 4096];
            match self.0.read(&mut some)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => came.extend_from_slice(&some[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&came).into_owned())
    }
}

/// A server's side; `asks`: callers must show a certificate of this authority.
pub fn server(shows: &Pair, asks: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match asks {
        Some(authority) => {
            let roots = Arc::new(roots(authority));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    Arc::new(builder.with_single_cert(chain(shows), key(shows)).unwrap())
}

/// Serves one connection: answers its first request with this, and ends it; `ends`: says so first.
pub fn serve(config: &Arc<ServerConfig>, tcp: &mut TcpStream, answer: &str, ends: bool) -> io::Result<()> {
    let mut conn = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut conn, tcp);
    let (mut came, mut some) = (Vec::new(), [0; 4096]);
    while !came.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut some)? {
            0 => return Ok(()),
            count => came.extend_from_slice(&some[..count]),
        }
    }
    stream.write_all(answer.as_bytes())?;
    if ends {
        stream.conn.send_close_notify();
    }
    stream.flush()
}

fn roots(of: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(of.pem().as_bytes()).unwrap()).unwrap();
    roots
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.cert.as_bytes()).map(Result::unwrap).collect()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()
}
