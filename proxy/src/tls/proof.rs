//! What did a handshake prove, and does it still hold? Shared by a connection and all that goes over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::credentials::Credentials;
use super::peer::PeerCert;
use super::refusal::Refusal;
use super::trust::Usage;

/// Whom a handshake proved, and by what.
#[derive(Debug)]
pub struct Proof {
    peer: PeerCert,
    /// Which end the peer is.
    usage: Usage,
    marks: Marks,
    /// Of the roots and lists that the peer was last judged by.
    trust: AtomicU64,
}

/// Our own credentials as a handshake begins; without any, nothing of ours ever changes.
#[derive(Debug)]
pub(super) struct Marks {
    ours: Option<Arc<Credentials>>,
    generation: u64,
    trust: u64,
}

impl Marks {
    /// Of now.
    pub(super) fn of(ours: Option<&Arc<Credentials>>) -> Self {
        let (generation, trust) = ours.map_or((0, 0), |ours| (ours.generation(), ours.trust_generation()));
        Self { ours: ours.cloned(), generation, trust }
    }
}

impl Proof {
    pub(super) fn new(peer: PeerCert, usage: Usage, marks: Marks) -> Arc<Self> {
        Arc::new(Self { peer, usage, trust: AtomicU64::new(marks.trust), marks })
    }

    /// Whom.
    pub fn peer(&self) -> &PeerCert {
        &self.peer
    }

    /// The handshake was made with the identity in use. A few nanoseconds.
    pub fn is_current(&self) -> bool {
        self.marks.ours.as_ref().is_none_or(|ours| ours.generation() == self.marks.generation)
    }

    /// Whether the peer would still be believed. Costs one load while roots and lists stay.
    pub fn holds(&self) -> Result<(), Refusal> {
        let Some(ours) = &self.marks.ours else { return Ok(()) };
        let trust = ours.trust_generation();
        if self.trust.load(Relaxed) != trust {
            self.peer.judged_by(&ours.identity().trust, self.usage)?;
            self.trust.store(trust, Relaxed);
        }
        Ok(())
    }
}
