//! What happened to a circuit, and why? Said in words that metrics and logs share (CB-7).

use std::time::Duration;

/// A state, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// All is admitted.
    Closed = 0,
    /// Trials are admitted.
    HalfOpen = 1,
    /// Nothing is.
    Open = 2,
}

impl Phase {
    /// The word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// What happened to the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It opened.
    Opened {
        /// Why.
        cause: Cause,
        /// For how long.
        penalty: Duration,
    },
    /// The penalty is served, trials may begin.
    HalfOpened,
    /// The trials succeeded.
    Closed,
}

/// Why a circuit opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// So many failures in a row.
    Consecutive(u32),
    /// So many failures of so many in the window.
    FailureRate(Tally),
    /// A trial failed.
    Trial,
}

/// Outcomes of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that were failures.
    pub failures: u32,
    /// All.
    pub total: u32,
}

impl Transition {
    /// The state that was left.
    pub fn from(&self) -> Phase {
        match self {
            Self::Opened { cause: Cause::Consecutive(_) | Cause::FailureRate(_), .. } => Phase::Closed,
            Self::Opened { cause: Cause::Trial, .. } | Self::Closed => Phase::HalfOpen,
            Self::HalfOpened => Phase::Open,
        }
    }

    /// The state that was entered.
    pub fn to(&self) -> Phase {
        match self {
            Self::Opened { .. } => Phase::Open,
            Self::HalfOpened => Phase::HalfOpen,
            Self::Closed => Phase::Closed,
        }
    }

    /// The word for metrics and logs.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Opened { cause: Cause::Consecutive(_), .. } => "consecutive-failures",
            Self::Opened { cause: Cause::FailureRate(_), .. } => "failure-rate",
            Self::Opened { cause: Cause::Trial, .. } => "trial-failed",
            Self::HalfOpened => "penalty-served",
            Self::Closed => "trials-succeeded",
        }
    }
}

#[cfg(test)]
mod tests;
