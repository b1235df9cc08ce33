//! Which faults are injected on purpose? A rule's experiment, and the bounds on all of them.

use std::time::Duration;

use http::StatusCode;

use super::Mode;

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holds the attempt up.
    Delay(Duration),
    /// Answers instead of the upstream.
    Abort(StatusCode),
    /// Resets the connection in place of an answer.
    Reset,
    /// Lets so many bytes of the body through, then breaks off.
    PartialBody(u64),
    /// Lets so many bytes of the body through in a second.
    Throttle(u64),
    /// Refuses to connect.
    Sever,
    /// Takes so many endpoints out of sight.
    Hide(usize),
}

/// What an experiment says.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Makes the choice of victims repeatable.
    pub seed: u64,
    /// How long it runs.
    pub lasts: Duration,
    /// The most faults at work at a time.
    pub max_active: u32,
    /// A share of matches, 0 to 1, and what happens to them. Never empty; [`Kind::Hide`] has the share 1.
    pub faults: Vec<(f64, Kind)>,
}

/// Bounds on all experiments together: `faults` of the `Sidecar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultCaps {
    /// `None`: the one switch is off, and no rule has an experiment.
    pub mode: Option<Mode>,
    /// The most faults at work at a time, of all experiments.
    pub max_active: u32,
    /// None runs longer.
    pub max_duration: Duration,
}
