//! How far is a sidecar in its life? One phase, known to all threads, that only ever moves on.

use tokio::sync::watch;

/// A part of a sidecar's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It listens, but has not yet learnt where its upstreams are.
    #[default]
    Starting,
    /// It wants traffic.
    Serving,
    /// Callers are told to go elsewhere; the service's own calls are served as ever.
    Draining,
    /// No caller is left, or their time is up.
    Drained,
}

impl Phase {
    /// As readiness and the admin pages call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

/// The phase of now, and how to wait for a later one.
#[derive(Debug, Default)]
pub struct Life(watch::Sender<Phase>);

impl Life {
    /// The phase of now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Moves on to `phase`, unless it is further already.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let moves = *now < phase;
            *now = phase.max(*now);
            moves
        });
    }

    /// Until it is as far as `phase`.
    pub async fn reaches(&self, phase: Phase) {
        // The sender outlives the wait, so there is no other end.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u_2_who_drains_never_wants_traffic_again() {
        let life = Life::default();
        for (wanted, phase) in [
            (Phase::Draining, Phase::Draining),
            (Phase::Serving, Phase::Draining),
            (Phase::Drained, Phase::Drained),
            (Phase::Draining, Phase::Drained),
        ] {
            life.advance(wanted);
            assert_eq!(life.phase(), phase);
        }
    }
}
