//! Why did an exchange not end as its caller wished? One closed enum, in Envoy's letters, for metrics and log.

use std::fmt;

/// Envoy's response flags, as far as we have what they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// `-`: nothing to explain.
    None,
    /// `UH`: no healthy endpoint.
    NoHealthyUpstream,
    /// `UF`: no connection to the upstream.
    UpstreamConnectionFailure,
    /// `UO`: a limit or the breaker of the upstream.
    UpstreamOverflow,
    /// `NR`: no route.
    NoRoute,
    /// `URX`: the attempts are used up.
    UpstreamRetryLimit,
    /// `UC`: the upstream closed or broke the connection, or spoke nonsense.
    UpstreamConnectionTermination,
    /// `UT`: a deadline.
    UpstreamTimeout,
    /// `DC`: the downstream peer went away.
    DownstreamConnectionTermination,
    /// `RL`: a rate limit.
    RateLimited,
    /// `UAEX`: authorization refused.
    Unauthorized,
    /// `DPE`: the downstream peer broke the protocol.
    DownstreamProtocolError,
    /// `DI`: a delay was injected.
    DelayInjected,
    /// `FI`: a fault was injected.
    FaultInjected,
}

impl Flag {
    /// The letters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamOverflow => "UO",
            Self::NoRoute => "NR",
            Self::UpstreamRetryLimit => "URX",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamTimeout => "UT",
            Self::DownstreamConnectionTermination => "DC",
            Self::RateLimited => "RL",
            Self::Unauthorized => "UAEX",
            Self::DownstreamProtocolError => "DPE",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
