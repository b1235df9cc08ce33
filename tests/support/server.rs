//! What does an upstream that speaks HTTP/2 do? Whatever its script says, connection by connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::link::{Exchange, Link};
use super::peer::Peer;
use super::scripted::Upstream;

/// A server on a port of its own. It lives as long as the test process.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Exchange>>>,
    below: Upstream,
}

impl Server {
    /// Runs `script` for each connection, which begins with these settings and ends with the script.
    pub fn scripted(settings: &[(u16, u32)], script: impl Fn(&mut Link) + Send + Sync + 'static) -> Self {
        let settings = settings.to_vec();
        let below = Upstream::new(move |call| {
            let Ok(stream) = call.peer.stream.try_clone() else { return };
            if let Ok(mut link) = Link::accept(Peer::new(stream), &settings) {
                script(&mut link);
            }
        });
        Self { addr: below.addr, seen: Arc::default(), below }
    }

    /// Reads whole requests and treats each so.
    pub fn treating(treat: impl Fn(&mut Link, u32, &Exchange) + Send + Sync + 'static) -> Self {
        Self::treating_with(&[], treat)
    }

    /// The same, with these settings.
    pub fn treating_with(
        settings: &[(u16, u32)],
        treat: impl Fn(&mut Link, u32, &Exchange) + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::<Mutex<Vec<Exchange>>>::default();
        let ledger = Arc::clone(&seen);
        let server = Self::scripted(settings, move |link| {
            while let Ok((stream, request)) = link.any() {
                ledger.lock().unwrap().push(request.clone());
                treat(link, stream, &request);
            }
        });
        Self { seen, ..server }
    }

    /// Reads whole requests and gives each the same answer.
    pub fn answering(fields: &'static [(&str, &str)], body: &'static str) -> Self {
        Self::treating(move |link, stream, _| link.answer(stream, fields, body.as_bytes()))
    }

    /// The whole requests so far.
    pub fn seen(&self) -> Vec<Exchange> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.below.connections()
    }
}
