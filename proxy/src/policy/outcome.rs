//! How did an attempt end? Classified once; breaker, retry, balancer and metrics share the answer.
//!
//! Only what an attempt met is an outcome. What we refuse ourselves (breaker open, limit reached, budget spent) never
//! reached anybody, so it has no outcome and cannot feed back into the breaker that caused it (EC-1, EC-2).

use std::time::Duration;

use http::StatusCode;

use super::grpc::{Pushback, Status};

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
    /// A 200 whose gRPC status, in its head or in trailers, is not OK (EC-4).
    Grpc {
        /// What it said.
        status: Status,
        /// What the endpoint says about retries, from the moment it arrived.
        pushback: Option<Pushback>,
        /// As with a response.
        settled_below: bool,
    },
    /// The endpoint has reset the stream with `REFUSED_STREAM`: it has not begun with the request (RFC 9113 §8.7).
    Refused,
    /// The endpoint left in peace (GOAWAY with `NO_ERROR`) and has not begun with the request (RFC 9113 §6.8).
    GoneAway {
        /// It had worked on other requests of that connection; if not, it may be one that never does.
        progressed: bool,
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
    DeadlineExceeded {
        /// The endpoint was asked, and had a fair chance to answer ([`Patience`](super::patience::Patience)).
        fair: bool,
    },
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
    /// It is there, but not within TLS.
    Tls(TlsFailure),
}

/// Why there is no TLS with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// We don't believe its certificate.
    Untrusted,
    /// Its certificate is right, and belongs to somebody else.
    WrongIdentity,
    /// It doesn't believe ours.
    Refused,
    /// Nothing in common: no TLS at all, or another version.
    Failed,
    /// It took longer than `connect`.
    TimedOut,
    /// It doesn't speak inside what we want to speak (RFC 7301).
    Alpn,
    /// It doesn't believe our certificate, whose time is over. So would everybody: that is no fault of the endpoint's, and
    /// none of the others would be better.
    Expired,
}

impl TlsFailure {
    const LABELS: [&'static str; 7] = [
        "tls-untrusted",
        "tls-wrong-identity",
        "tls-refused",
        "tls-failed",
        "tls-timeout",
        "tls-alpn",
        "tls-own-expired",
    ];

    /// The word for metrics and reasons.
    pub fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

/// Whose doing an outcome was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1xx, 2xx, 3xx.
    Success,
    /// 4xx: the request's own doing. Never opens a breaker, never lowers availability (EC-1).
    Customer,
    /// 429, `RESOURCE_EXHAUSTED`: healthy but asks for less. Lowers the endpoint's share, opens no breaker (EC-3).
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
    pub const LABELS: [&'static str; 40] = [
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
        "refused-stream",
        "goaway",
        "grpc-cancelled",
        "grpc-unknown",
        "grpc-invalid-argument",
        "grpc-deadline-exceeded",
        "grpc-not-found",
        "grpc-already-exists",
        "grpc-permission-denied",
        "grpc-resource-exhausted",
        "grpc-failed-precondition",
        "grpc-aborted",
        "grpc-out-of-range",
        "grpc-unimplemented",
        "grpc-internal",
        "grpc-unavailable",
        "grpc-data-loss",
        "grpc-unauthenticated",
        TlsFailure::LABELS[0],
        TlsFailure::LABELS[1],
        TlsFailure::LABELS[2],
        TlsFailure::LABELS[3],
        TlsFailure::LABELS[4],
        TlsFailure::LABELS[5],
        TlsFailure::LABELS[6],
    ];
    /// Where the label of the first gRPC status, OK, would be.
    const GRPC: usize = 16;
    /// Where the first label of a failure of TLS is.
    const TLS: usize = 33;

    /// Whose doing it was.
    ///
    /// A deadline that ran out counts against the upstream if the endpoint had a fair chance, whoever set it: where
    /// deadlines are passed on, one that hangs would otherwise never be noticed. It had one if it was waited for twice as
    /// long as its good answers usually take, more where they vary; or for what the route itself allows; or for however
    /// short a time, if it has answered nobody for five seconds although it was asked. A deadline that was used up in our
    /// own queues, in a back-off, or by a caller that is less patient than the endpoint is quick, is nobody's fault.
    pub fn class(&self) -> Class {
        match self {
            Self::Response { status, .. } => match status.as_u16() {
                ..400 => Class::Success,
                429 => Class::Throttled,
                400..500 => Class::Customer,
                // RFC 9110 §15: a status outside the five classes is taken as a 5xx.
                500.. => Class::System,
            },
            Self::Grpc { status, .. } => status.class(),
            Self::ConnectFailure(ConnectFailure::Tls(TlsFailure::Expired)) => Class::Neutral,
            Self::ConnectFailure(_)
            | Self::Unresolved
            | Self::Refused
            | Self::Reset { .. }
            | Self::AttemptTimeout
            | Self::DeadlineExceeded { fair: true }
            | Self::Garbage => Class::System,
            Self::Stale | Self::GoneAway { .. } | Self::Canceled | Self::DeadlineExceeded { fair: false } => {
                Class::Neutral
            }
        }
    }

    /// How long the endpoint wants to be left alone.
    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Response { retry_after, .. } => *retry_after,
            Self::Grpc { pushback: Some(Pushback::After(wait)), .. } => Some(*wait),
            _ => None,
        }
    }

    /// It bears the mark of a hop below us that has already done what retries can do (RT-10).
    pub fn is_settled_below(&self) -> bool {
        matches!(self, Self::Response { settled_below: true, .. } | Self::Grpc { settled_below: true, .. })
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
            Self::ConnectFailure(ConnectFailure::Tls(failure)) => Self::TLS + *failure as usize,
            Self::Unresolved => 7,
            Self::Reset { responded: false } => 8,
            Self::Reset { responded: true } => 9,
            Self::Stale => 10,
            Self::AttemptTimeout => 11,
            Self::DeadlineExceeded { .. } => 12,
            Self::Garbage => 13,
            Self::Canceled => 14,
            Self::Refused => 15,
            Self::GoneAway { .. } => 16,
            Self::Grpc { status: Status::Ok, .. } => 0,
            Self::Grpc { status, .. } => Self::GRPC + usize::from(status.code()),
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

    const TLS: [TlsFailure; 7] = [
        TlsFailure::Untrusted,
        TlsFailure::WrongIdentity,
        TlsFailure::Refused,
        TlsFailure::Failed,
        TlsFailure::TimedOut,
        TlsFailure::Alpn,
        TlsFailure::Expired,
    ];

    /// A gRPC answer without pushback.
    pub(crate) fn grpc(status: Status) -> Outcome {
        Outcome::Grpc { status, pushback: None, settled_below: false }
    }

    /// Every gRPC failure.
    pub(crate) fn grpc_failures() -> impl Iterator<Item = Outcome> {
        Status::ALL.into_iter().filter(|status| *status != Status::Ok).map(grpc)
    }

    /// Every outcome that is no response.
    pub(crate) const SILENT: [Outcome; 15] = [
        Outcome::ConnectFailure(ConnectFailure::Refused),
        Outcome::ConnectFailure(ConnectFailure::Unreachable),
        Outcome::ConnectFailure(ConnectFailure::TimedOut),
        Outcome::Unresolved,
        Outcome::Reset { responded: false },
        Outcome::Reset { responded: true },
        Outcome::Stale,
        Outcome::AttemptTimeout,
        Outcome::DeadlineExceeded { fair: true },
        Outcome::DeadlineExceeded { fair: false },
        Outcome::Garbage,
        Outcome::Canceled,
        Outcome::Refused,
        Outcome::GoneAway { progressed: true },
        Outcome::GoneAway { progressed: false },
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
        let tls = TLS.map(|failure| Outcome::ConnectFailure(ConnectFailure::Tls(failure)));
        let all = responses.into_iter().chain(SILENT).chain(grpc_failures()).chain(tls);
        let mut seen: Vec<_> = all.map(|outcome| outcome.label()).collect();
        seen.dedup();
        assert_eq!(seen, Outcome::LABELS, "the index follows the list");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), Outcome::LABELS.len(), "no two share a label");
    }

    #[test]
    fn se_3_a_certificate_of_ours_that_has_expired_is_no_endpoints_fault() {
        for failure in TLS {
            let class = Outcome::ConnectFailure(ConnectFailure::Tls(failure)).class();
            assert_eq!(class == Class::Neutral, failure == TlsFailure::Expired, "{failure:?}");
        }
    }

    #[test]
    fn ec_4_a_grpc_failure_is_its_statuss_doing_and_has_its_name() {
        for outcome in grpc_failures() {
            let Outcome::Grpc { status, .. } = outcome else { unreachable!() };
            assert_eq!(outcome.class(), status.class());
            assert_eq!(outcome.label().strip_prefix("grpc-"), Some(status.name()));
        }
        assert_eq!(grpc(Status::Ok).label(), "success");
    }

    #[test]
    fn a_stale_connection_and_a_caller_who_left_are_nobodys_fault() {
        for outcome in SILENT {
            let blameless = matches!(
                outcome,
                Outcome::Stale
                    | Outcome::Canceled
                    | Outcome::GoneAway { .. }
                    | Outcome::DeadlineExceeded { fair: false }
            );
            assert_eq!(
                outcome.class(),
                if blameless { Class::Neutral } else { Class::System },
                "{outcome:?}"
            );
        }
    }
}
