//! How did an attempt end? Classified once; breaker, retry, balancer and metrics share the answer.
//!
//! Only what an attempt met is an outcome. What we refuse ourselves (breaker open, limit reached, budget spent) never
//! reached anybody, so it has no outcome and cannot feed back into the breaker that caused it (EC-1, EC-2).

use std::time::Duration;

use http::StatusCode;

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came.
    Response {
        /// What it said.
        status: StatusCode,
        /// Its `Retry-After`, from the moment it arrived (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
        /// It bears the mark of a hop below us that has already done what retries can do (RT-10).
        settled_below: bool,
    },
    /// No connection; nothing was sent.
    ConnectFailure(ConnectFailure),
    /// Discovery knows no address; nothing was sent, to nobody.
    Unresolved,
    /// The connection or stream broke.
    Reset {
        /// A response head had come before.
        responded: bool,
    },
    /// A reused connection was closed before any byte of a response: the other side's idle limit met our request on
    /// the way, and says nothing about its health.
    Stale,
    /// The limit of one attempt ran out before a response head.
    AttemptTimeout,
    /// The deadline of the exchange ran out during the attempt.
    DeadlineExceeded,
    /// What came is no response head: unreadable, or over a limit.
    Garbage,
    /// Downstream left.
    Canceled,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens.
    Refused,
    /// No way there.
    Unreachable,
    /// No answer within `connect`.
    TimedOut,
}

/// Whose doing an outcome was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1xx, 2xx, 3xx.
    Success,
    /// 4xx: the request's own doing. Never opens a breaker, never lowers availability (EC-1).
    Customer,
    /// 429: healthy but asks for less. Lowers the endpoint's share, opens no breaker (EC-3).
    Throttled,
    /// The upstream's doing.
    System,
    /// Says nothing about the upstream.
    Neutral,
}

impl Class {
    /// The word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Customer => "customer",
            Self::Throttled => "throttled",
            Self::System => "system",
            Self::Neutral => "neutral",
        }
    }
}

impl Outcome {
    /// Every [`label`](Self::label), by [`index`](Self::index): metric handles can lie in an array.
    pub const LABELS: [&'static str; 15] = [
        "success",
        "4xx",
        "429",
        "5xx",
        "connect-refused",
        "connect-unreachable",
        "connect-timeout",
        "no-address",
        "reset",
        "reset-in-body",
        "stale",
        "timeout",
        "deadline",
        "garbage",
        "canceled",
    ];

    /// Whose doing it was.
    ///
    /// A deadline that ran out counts against the upstream even when the caller set it: where deadlines are passed
    /// on, an upstream that hangs would otherwise never be noticed.
    pub fn class(&self) -> Class {
        match self {
            Self::Response { status, .. } => match status.as_u16() {
                ..400 => Class::Success,
                429 => Class::Throttled,
                400..500 => Class::Customer,
                // RFC 9110 §15: a status outside the five classes is taken as a 5xx.
                500.. => Class::System,
            },
            Self::ConnectFailure(_)
            | Self::Unresolved
            | Self::Reset { .. }
            | Self::AttemptTimeout
            | Self::DeadlineExceeded
            | Self::Garbage => Class::System,
            Self::Stale | Self::Canceled => Class::Neutral,
        }
    }

    /// The value of `attempts_total{outcome}` and `retries_total{cause}`: one of [`LABELS`](Self::LABELS).
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Position of the label in [`LABELS`](Self::LABELS).
    pub fn index(&self) -> usize {
        match self {
            Self::Response { .. } => match self.class() {
                Class::Success | Class::Neutral => 0,
                Class::Customer => 1,
                Class::Throttled => 2,
                Class::System => 3,
            },
            Self::ConnectFailure(ConnectFailure::Refused) => 4,
            Self::ConnectFailure(ConnectFailure::Unreachable) => 5,
            Self::ConnectFailure(ConnectFailure::TimedOut) => 6,
            Self::Unresolved => 7,
            Self::Reset { responded: false } => 8,
            Self::Reset { responded: true } => 9,
            Self::Stale => 10,
            Self::AttemptTimeout => 11,
            Self::DeadlineExceeded => 12,
            Self::Garbage => 13,
            Self::Canceled => 14,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plain response.
    pub(crate) fn status(code: u16) -> Outcome {
        let status = StatusCode::from_u16(code).unwrap();
        Outcome::Response { status, retry_after: None, settled_below: false }
    }

    /// Every outcome that is no response.
    pub(crate) const SILENT: [Outcome; 11] = [
        Outcome::ConnectFailure(ConnectFailure::Refused),
        Outcome::ConnectFailure(ConnectFailure::Unreachable),
        Outcome::ConnectFailure(ConnectFailure::TimedOut),
        Outcome::Unresolved,
        Outcome::Reset { responded: false },
        Outcome::Reset { responded: true },
        Outcome::Stale,
        Outcome::AttemptTimeout,
        Outcome::DeadlineExceeded,
        Outcome::Garbage,
        Outcome::Canceled,
    ];

    #[test]
    fn ec_1_ec_3_every_status_has_its_class() {
        for code in 100..=999 {
            let expected = match code {
                429 => Class::Throttled,
                400..=499 => Class::Customer,
                100..=399 => Class::Success,
                _ => Class::System,
            };
            assert_eq!(status(code).class(), expected, "{code}");
        }
    }

    #[test]
    fn ec_2_every_way_to_end_has_its_own_label() {
        let responses = [200, 404, 429, 503].map(status);
        let mut seen: Vec<_> = responses.iter().chain(&SILENT).map(Outcome::label).collect();
        assert_eq!(seen, Outcome::LABELS, "the index follows the list");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), Outcome::LABELS.len(), "no two share a label");
    }

    #[test]
    fn a_stale_connection_and_a_caller_who_left_are_nobodys_fault() {
        for outcome in SILENT {
            let blameless = matches!(outcome, Outcome::Stale | Outcome::Canceled);
            assert_eq!(
                outcome.class(),
                if blameless { Class::Neutral } else { Class::System },
                "{outcome:?}"
            );
        }
    }
}
