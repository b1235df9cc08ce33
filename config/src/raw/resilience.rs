//! What may a document say of when an endpoint or an upstream is left alone?

use schemars::{Schema, SchemaGenerator, json_schema};

use super::declare::{mapping, words};
use super::policy::Backoff;
use super::read::{Read, text};
use super::tree::{Node, ScalarKind, Value};
use super::types::{Lasting, Text, Whole};
use crate::faults::Faults;
use crate::model::BreakerScope;
use crate::scalars::{NonZeroDuration, Percent};

mapping! {
    /// How endpoints are checked, beside the requests that they get. One of `http`, `tcp` and `grpc`.
    HealthCheck {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// `GET` of this path; 2xx is life.
        "http" => http: Target;
        /// A connect is life.
        "tcp" => tcp: True;
        /// `grpc.health.v1` of this service; `""`: of the server as a whole.
        "grpc" => grpc: Text;
        /// `GET` of this path, beside `http` or `tcp`; what is not 2xx means "alive, but not ready".
        "readiness" => readiness: Target;
        /// From the end of one check to the beginning of the next, in the mean.
        "interval" => interval: Lasting<100, 3_600_000>;
        /// Of one check, with its connect.
        "timeout" => timeout: NonZeroDuration;
        /// Failures in a row after which an endpoint is down.
        "unhealthyAfter" => unhealthy_after: Whole<1, 100>;
        /// Signs of life in a row after which it is up again.
        "healthyAfter" => healthy_after: Whole<1, 100>;
    }
}

mapping! {
    /// When an endpoint is left alone because it fails real requests. On unless `mode: off`.
    OutlierDetection {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Failures in a row.
        "consecutiveFailures" => consecutive_failures: Whole<1, 10_000>;
        /// The first ejection; each relapse doubles it.
        "baseEjectionTime" => base_ejection_time: NonZeroDuration;
        /// The longest, but for jitter.
        "maxEjectionTime" => max_ejection_time: NonZeroDuration;
        /// Share of the endpoints that may be out at one time, rounded down, and never all of them.
        "maxEjectionPercent" => max_ejection_percent: Percent;
    }
}

mapping! {
    /// When requests are refused at once. Opens at `failureRate`, after `consecutive` failures, or at either.
    CircuitBreaker {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// What it stands before: the upstream as a whole unless written.
        "scope" => scope: BreakerScope;
        /// Length of the sliding window of `failureRate`.
        "window" => window: Lasting<1000, 3_600_000>;
        /// Share of failures in the window.
        "failureRate" => failure_rate: Percent;
        /// Requests in the window below which the rate says nothing.
        "minRequests" => min_requests: Whole<1, 1_000_000>;
        /// Failures in a row.
        "consecutive" => consecutive: Whole<1, 10_000>;
        /// A call that takes as long is a failure.
        "slowCallDuration" => slow_call_duration: NonZeroDuration;
        /// Trials that must succeed before it closes, and the most at one time.
        "trialRequests" => trial_requests: Whole<1, 1000>;
        /// How long it stays open: `base` at first, twice as long after each failed trial, up to half more by chance.
        "backoff" => backoff: Backoff;
    }
}

mapping! {
    /// Keeps requests to the rate limit that the upstream's answers tell: `RateLimit` fields, `Retry-After`, 429.
    Pacing {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// How long a request may wait for its turn; one that would wait longer gets 429 at once.
        "maxWait" => max_wait: Lasting<1, 60_000>;
    }
}

words!(BreakerScope { "upstream" => Self::Upstream, "endpoint" => Self::Endpoint, "both" => Self::Both, });

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Enforce,
    DryRun,
    Off,
}

words!(Mode { "enforce" => Self::Enforce, "dryRun" => Self::DryRun, "off" => Self::Off, });

/// A request target in origin form.
#[derive(Debug, Clone)]
pub(crate) struct Target(pub(crate) String);

impl Read for Target {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let target = text(node, "a path such as `/ping`", faults)?;
        if target.starts_with('/') && target.bytes().all(|c| c.is_ascii_graphic() && c != b'#') {
            return Some(Self(target.to_owned()));
        }
        let help = "it starts with `/` and has no space, no `#` and nothing beyond ASCII";
        faults.at_with(node.span, format!("`{target}` is not a path"), help);
        None
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^/[!\"$-~]*$" })
    }
}

/// `true`, where to leave the key out is the only alternative.
#[derive(Debug, Clone, Copy)]
pub(crate) struct True;

impl Read for True {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, kind: ScalarKind::Bool } if text.eq_ignore_ascii_case("true") => Some(Self),
            _ => {
                let help = "leave the key out if it is not meant";
                faults.at_with(node.span, format!("expected `true`, found {}", node.describe()), help);
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": true })
    }
}
