//! Why did we answer ourselves? One closed enum of causes; each says status, flag and reason, without exceptions.

use http::StatusCode;

use crate::message::{HeadError, Malformation};
use crate::policy::grpc;
use crate::policy::outcome::ConnectFailure;
use crate::telemetry::Flag;

/// Why an exchange has no answer of its upstream, or not a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request head is refused.
    BadRequest(HeadError),
    /// The request head took too long.
    SlowHead,
    /// The request's content is malformed.
    BadBody(Malformation),
    /// CONNECT, where the policy allows none.
    ConnectNotAllowed,
    /// A change of protocol that the policy does not allow, and that cannot be left away.
    UpgradeNotAllowed,
    /// The upstream answers a change of protocol with something that would be taken for it.
    UpgradeRefused,
    /// A deadline that is no number.
    BadDeadline,
    /// Nobody named this authority or path.
    NoRoute,
    /// The upstream has no endpoint.
    NoEndpoint,
    /// All endpoints of the upstream are down, not ready or ejected.
    NoHealthyEndpoint,
    /// A circuit breaker is open.
    BreakerOpen {
        /// After how many seconds it may be worth while to ask again.
        retry_after: u32,
    },
    /// No connection to the upstream.
    Connect(ConnectFailure),
    /// A rate limit.
    RateLimit {
        /// Seconds until it passes another one.
        retry_after: u32,
    },
    /// The caller has as many requests in flight as it may.
    CallerLimit,
    /// The upstream's own rate limit, which its answers tell, has no room for it soon enough.
    Paced {
        /// Seconds until there would be.
        retry_after: u32,
    },
    /// There is more to do than can be done, and others come first.
    Overload,
    /// The upstream has as many requests in flight as it may.
    RequestLimit,
    /// The upstream has as many connections as it may, and none is free.
    ConnectionLimit,
    /// Too many requests wait for a place or a connection already.
    PendingLimit,
    /// We have no file descriptor or port left for a connection.
    Exhausted,
    /// The upstream broke the connection before its answer.
    Reset,
    /// The upstream refused to begin with the request.
    Refused,
    /// The upstream closes its connections before it begins with the request.
    GoneAway {
        /// It has begun with others.
        progressed: bool,
    },
    /// The upstream's answer is no response head, or over a limit.
    Garbage(HeadError),
    /// One attempt took too long.
    AttemptTimeout,
    /// The exchange took too long.
    Deadline,
    /// The deadline had passed when the request arrived.
    Expired,
    /// The caller wants nothing but what the cache has, and it has nothing (RFC 9111 §5.2.1.7).
    NotCached,
    /// The content stood still for too long.
    BodyIdle,
    /// The answer's content broke off, or is malformed.
    BrokenBody,
    /// A fault that is injected on purpose answers in the upstream's place.
    Injected(StatusCode),
    /// The downstream left.
    Canceled,
}

impl Failure {
    /// What the downstream is told; [`Canceled`](Self::Canceled) and broken content tell nobody.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(error) => error.status(),
            Self::BadBody(_) | Self::BadDeadline => StatusCode::BAD_REQUEST,
            Self::SlowHead | Self::BodyIdle => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectNotAllowed | Self::UpgradeNotAllowed => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::RateLimit { .. } | Self::CallerLimit | Self::Paced { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoEndpoint
            | Self::NoHealthyEndpoint
            | Self::BreakerOpen { .. }
            | Self::Overload
            | Self::RequestLimit
            | Self::ConnectionLimit
            | Self::PendingLimit
            | Self::Exhausted
            | Self::Refused => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_)
            | Self::Reset
            | Self::GoneAway { .. }
            | Self::UpgradeRefused
            | Self::Garbage(_)
            | Self::BrokenBody => StatusCode::BAD_GATEWAY,
            Self::AttemptTimeout | Self::Deadline | Self::Expired | Self::NotCached => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Injected(status) => status,
            // Nobody reads it; nginx's number for the log.
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        }
    }

    /// What a gRPC caller is told (gRPC's `statuscodes.md`): what it may try again is UNAVAILABLE.
    pub fn grpc_status(self) -> grpc::Status {
        match self {
            Self::BadRequest(_) | Self::BadBody(_) | Self::BadDeadline => grpc::Status::Internal,
            Self::NoRoute => grpc::Status::Unimplemented,
            Self::ConnectNotAllowed | Self::UpgradeNotAllowed => grpc::Status::PermissionDenied,
            Self::RateLimit { .. } | Self::CallerLimit | Self::Paced { .. } => {
                grpc::Status::ResourceExhausted
            }
            Self::NoEndpoint
            | Self::NoHealthyEndpoint
            | Self::BreakerOpen { .. }
            | Self::Connect(_)
            | Self::Overload
            | Self::RequestLimit
            | Self::ConnectionLimit
            | Self::PendingLimit
            | Self::Exhausted
            | Self::Reset
            | Self::Refused
            | Self::GoneAway { .. }
            | Self::UpgradeRefused
            | Self::Garbage(_)
            | Self::NotCached
            | Self::BrokenBody => grpc::Status::Unavailable,
            Self::SlowHead | Self::AttemptTimeout | Self::Deadline | Self::Expired | Self::BodyIdle => {
                grpc::Status::DeadlineExceeded
            }
            Self::Injected(status) => grpc::Status::of_http(status),
            Self::Canceled => grpc::Status::Cancelled,
        }
    }

    /// Envoy's letters.
    pub fn flag(self) -> Flag {
        match self {
            Self::BadRequest(_)
            | Self::SlowHead
            | Self::BadBody(_)
            | Self::ConnectNotAllowed
            | Self::UpgradeNotAllowed
            | Self::BadDeadline => Flag::DownstreamProtocolError,
            Self::NoRoute => Flag::NoRoute,
            Self::NotCached => Flag::None,
            Self::NoEndpoint | Self::NoHealthyEndpoint => Flag::NoHealthyUpstream,
            Self::Connect(_) => Flag::UpstreamConnectionFailure,
            Self::RateLimit { .. } | Self::CallerLimit | Self::Paced { .. } => Flag::RateLimited,
            Self::BreakerOpen { .. }
            | Self::Overload
            | Self::RequestLimit
            | Self::ConnectionLimit
            | Self::PendingLimit
            | Self::Exhausted => Flag::UpstreamOverflow,
            Self::Reset
            | Self::Refused
            | Self::GoneAway { .. }
            | Self::UpgradeRefused
            | Self::Garbage(_)
            | Self::BrokenBody => Flag::UpstreamConnectionTermination,
            Self::AttemptTimeout | Self::Deadline | Self::Expired | Self::BodyIdle => Flag::UpstreamTimeout,
            Self::Injected(_) => Flag::FaultInjected,
            Self::Canceled => Flag::DownstreamConnectionTermination,
        }
    }

    /// The cause in `x-outrigger-reason`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::BadRequest(HeadError::Syntax) => "malformed-request",
            Self::BadRequest(HeadError::Version) => "unsupported-version",
            Self::BadRequest(HeadError::Framing) => "ambiguous-framing",
            Self::BadRequest(HeadError::TransferCoding) => "unsupported-transfer-coding",
            Self::BadRequest(HeadError::Host) => "bad-host",
            Self::BadRequest(HeadError::TooLarge) => "request-head-too-large",
            Self::BadRequest(HeadError::TooManyFields) => "too-many-request-fields",
            Self::BadRequest(HeadError::TargetTooLong) => "request-target-too-long",
            Self::SlowHead => "request-head-timeout",
            Self::BadBody(_) => "malformed-request-body",
            Self::ConnectNotAllowed => "connect-not-allowed",
            Self::UpgradeNotAllowed => "upgrade-not-allowed",
            Self::UpgradeRefused => "upstream-refused-upgrade",
            Self::BadDeadline => "malformed-deadline",
            Self::NoRoute => "no-route",
            Self::NoEndpoint => "no-endpoint",
            Self::NoHealthyEndpoint => "no-healthy-endpoint",
            Self::BreakerOpen { .. } => "breaker-open",
            Self::Connect(ConnectFailure::Refused) => "connect-refused",
            Self::Connect(ConnectFailure::Unreachable) => "connect-unreachable",
            Self::Connect(ConnectFailure::TimedOut) => "connect-timeout",
            Self::RateLimit { .. } => "rate-limit",
            Self::CallerLimit => "limit-caller",
            Self::Paced { .. } => "paced",
            Self::Overload => "overload",
            Self::RequestLimit => "limit-requests",
            Self::ConnectionLimit => "limit-connections",
            Self::PendingLimit => "limit-pending",
            Self::Exhausted => "limit-descriptors",
            Self::Reset => "upstream-reset",
            Self::Refused => "upstream-refused-stream",
            Self::GoneAway { .. } => "upstream-going-away",
            Self::Garbage(HeadError::TooLarge | HeadError::TooManyFields) => "upstream-head-too-large",
            Self::Garbage(
                HeadError::Syntax
                | HeadError::Version
                | HeadError::Framing
                | HeadError::TransferCoding
                | HeadError::Host
                | HeadError::TargetTooLong,
            ) => "upstream-malformed",
            Self::AttemptTimeout => "attempt-timeout",
            Self::Deadline => "deadline-exceeded",
            Self::Expired => "deadline-expired-on-arrival",
            Self::NotCached => "only-if-cached",
            Self::BodyIdle => "body-idle-timeout",
            Self::BrokenBody => "upstream-body-broken",
            Self::Injected(_) => "fault-injected",
            Self::Canceled => "downstream-left",
        }
    }

    /// The caller may well try again, after so many seconds.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::BreakerOpen { retry_after }
            | Self::RateLimit { retry_after }
            | Self::Paced { retry_after } => Some(retry_after),
            Self::NoEndpoint
            | Self::NoHealthyEndpoint
            | Self::CallerLimit
            | Self::Overload
            | Self::RequestLimit
            | Self::ConnectionLimit
            | Self::PendingLimit
            | Self::Exhausted
            | Self::Refused => Some(1),
            Self::BadRequest(_)
            | Self::SlowHead
            | Self::BadBody(_)
            | Self::ConnectNotAllowed
            | Self::UpgradeNotAllowed
            | Self::UpgradeRefused
            | Self::BadDeadline
            | Self::NoRoute
            | Self::NotCached
            | Self::Connect(_)
            | Self::Reset
            | Self::GoneAway { .. }
            | Self::Garbage(_)
            | Self::AttemptTimeout
            | Self::Deadline
            | Self::Expired
            | Self::BodyIdle
            | Self::BrokenBody
            | Self::Injected(_)
            | Self::Canceled => None,
        }
    }

    /// Which limit of the policy was hit, for `limit_exceeded_total`.
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::BadRequest(HeadError::TooLarge) => Some("request-head"),
            Self::BadRequest(HeadError::TooManyFields) => Some("request-fields"),
            Self::BadRequest(HeadError::TargetTooLong) => Some("request-target"),
            Self::SlowHead => Some("head-timeout"),
            Self::BadBody(Malformation::Extensions) => Some("chunk-extensions"),
            Self::BadBody(Malformation::TrailersTooLarge) => Some("trailers"),
            Self::RequestLimit => Some("requests"),
            Self::ConnectionLimit => Some("upstream-connections"),
            Self::PendingLimit => Some("pending"),
            Self::Exhausted => Some("file-descriptors"),
            Self::Garbage(HeadError::TooLarge) => Some("response-head"),
            Self::Garbage(HeadError::TooManyFields) => Some("response-fields"),
            Self::BodyIdle => Some("body-idle"),
            Self::BadRequest(_)
            | Self::BadBody(_)
            | Self::ConnectNotAllowed
            | Self::UpgradeNotAllowed
            | Self::UpgradeRefused
            | Self::BadDeadline
            | Self::NoRoute
            | Self::NotCached
            | Self::RateLimit { .. }
            | Self::CallerLimit
            | Self::Paced { .. }
            | Self::Overload
            | Self::NoEndpoint
            | Self::NoHealthyEndpoint
            | Self::BreakerOpen { .. }
            | Self::Connect(_)
            | Self::Reset
            | Self::Refused
            | Self::GoneAway { .. }
            | Self::Garbage(_)
            | Self::AttemptTimeout
            | Self::Deadline
            | Self::Expired
            | Self::BrokenBody
            | Self::Injected(_)
            | Self::Canceled => None,
        }
    }
}
