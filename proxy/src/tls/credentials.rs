//! Which identity is in use? One at a time, replaced whole; whoever shakes hands next uses the new one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use arc_swap::{ArcSwap, Guard};

use super::identity::Identity;
use super::provider::Alpn;

/// The identity in use, for all threads.
#[derive(Debug)]
pub struct Credentials {
    current: ArcSwap<Current>,
    trust: AtomicU64,
}

/// An identity with its number.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) generation: u64,
    pub(super) identity: Arc<Identity>,
}

impl Credentials {
    /// The first identity.
    pub fn new(identity: Identity) -> Arc<Self> {
        let current = ArcSwap::from_pointee(Current { generation: 1, identity: Arc::new(identity) });
        Arc::new(Self { current, trust: AtomicU64::new(1) })
    }

    /// From now on handshakes use this one. For one thread at a time.
    pub fn replace(&self, identity: Identity) {
        let old = self.current();
        let trusts_anew = old.identity.trust_fingerprint != identity.trust_fingerprint;
        self.current
            .store(Arc::new(Current { generation: old.generation + 1, identity: Arc::new(identity) }));
        if trusts_anew {
            self.trust.fetch_add(1, Release);
        }
    }

    /// The identity in use.
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.current().identity)
    }

    /// Counts how often roots or lists of revoked certificates changed: while it stays the same, so does
    /// what they say of a live connection's peer. One load; whoever reads a count also sees the identity that it counts.
    pub fn trust_generation(&self) -> u64 {
        self.trust.load(Acquire)
    }

    /// Counts the identities.
    pub fn generation(&self) -> u64 {
        self.current().generation
    }

    pub(super) fn current(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }
}

/// rustls configurations that are made anew for each identity, when somebody first needs one.
pub(super) struct Following<C>(ArcSwap<(u64, [Arc<C>; Alpn::ALL.len()])>);

impl<C> Following<C> {
    /// Those of this identity.
    pub(super) fn new(current: &Current, make: impl Fn(&Identity) -> [Arc<C>; Alpn::ALL.len()]) -> Self {
        Self(ArcSwap::from_pointee((current.generation, make(&current.identity))))
    }

    /// The one for this protocol and the identity in use. Threads that come at the same time agree on one, since each
    /// has keys of its own for tickets.
    pub(super) fn get(
        &self,
        current: &Current,
        alpn: Alpn,
        make: impl Fn(&Identity) -> [Arc<C>; Alpn::ALL.len()],
    ) -> Arc<C> {
        let known = self.0.load();
        if known.0 >= current.generation {
            return Arc::clone(&known.1[alpn as usize]);
        }
        let fresh = Arc::new((current.generation, make(&current.identity)));
        let newer = |known: &Arc<(u64, _)>| {
            if known.0 >= fresh.0 { Arc::clone(known) } else { Arc::clone(&fresh) }
        };
        self.0.rcu(newer);
        Arc::clone(&self.0.load().1[alpn as usize])
    }
}

impl<C> fmt::Debug for Following<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Following({})", self.0.load().0)
    }
}
