//! Which policy words may stand in `Defaults`, an `Upstream` and a rule?

use std::fmt;

use http::Method;
use schemars::{Schema, SchemaGenerator, json_schema};

use super::declare::mapping;
use super::read::{Read, text};
use super::similar;
use super::tree::{Node, ScalarKind, Value};
use super::types::{Bytes, List, Whole};
use crate::faults::Faults;
use crate::model::{GrpcStatus, RetryCondition};
use crate::scalars::{NonZeroDuration, Percent, Rate};

mapping! {
    /// One word a clock.
    Timeouts {
        /// The whole exchange with its retries. 15s until the response head if nobody writes one.
        "request" => request: NonZeroDuration;
        /// One attempt, whole response.
        "backendRequest" => backend_request: NonZeroDuration;
        /// One attempt until its response head.
        "responseHeaders" => response_headers: NonZeroDuration;
        /// No byte in either direction.
        "idle" => idle: NonZeroDuration;
        /// The TCP connect of one attempt.
        "connect" => connect: NonZeroDuration;
    }
}

mapping! {
    /// When and how often to try again.
    Retry {
        /// Outcomes that are retried.
        "on" => on: List<RetryCondition>;
        /// Retries after the first attempt; 0 turns them off.
        "attempts" => attempts: Whole<0, 10>;
        /// Waits between attempts, with full jitter.
        "backoff" => backoff: Backoff;
        /// Methods that are retried after something was sent; the idempotent ones unless written.
        "methods" => methods: List<Method>;
        /// Request bodies up to this size are kept for replay.
        "replayBody" => replay_body: Bytes<0, { 16 << 20 }>;
    }
}

mapping! {
    /// The n-th wait is up to base·2ⁿ⁻¹, at most max.
    Backoff {
        /// Of the first retry.
        "base" => base: NonZeroDuration, required;
        /// Of any.
        "max" => max: NonZeroDuration, required;
    }
}

mapping! {
    /// How many retries the traffic earns: a share of the requests, plus a floor. Always on.
    RetryBudget {
        /// Share of the requests of the last interval.
        "percent" => percent: Percent;
        /// Length of the sliding window.
        "interval" => interval: NonZeroDuration;
        /// Retries that are always allowed.
        "minRate" => min_rate: Rate;
    }
}

/// Method names are case-sensitive (RFC 9110 §9.1) and closed here, so that a misspelt one is found.
const METHODS: [(&str, &Method); 9] = [
    ("GET", &Method::GET),
    ("HEAD", &Method::HEAD),
    ("POST", &Method::POST),
    ("PUT", &Method::PUT),
    ("PATCH", &Method::PATCH),
    ("DELETE", &Method::DELETE),
    ("OPTIONS", &Method::OPTIONS),
    ("TRACE", &Method::TRACE),
    ("CONNECT", &Method::CONNECT),
];

impl Read for Method {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        super::read::word(node, &METHODS, faults).cloned()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": METHODS.map(|(name, _)| name) })
    }
}

const CONDITIONS: [(&str, RetryCondition); 12] = [
    ("connect-failure", RetryCondition::ConnectFailure),
    ("refused-stream", RetryCondition::RefusedStream),
    ("reset", RetryCondition::Reset),
    ("timeout", RetryCondition::Timeout),
    ("gateway-error", RetryCondition::GatewayError),
    ("5xx", RetryCondition::ServerError),
    ("retriable-4xx", RetryCondition::Retriable4xx),
    ("cancelled", RetryCondition::Grpc(GrpcStatus::Cancelled)),
    ("deadline-exceeded", RetryCondition::Grpc(GrpcStatus::DeadlineExceeded)),
    ("internal", RetryCondition::Grpc(GrpcStatus::Internal)),
    ("resource-exhausted", RetryCondition::Grpc(GrpcStatus::ResourceExhausted)),
    ("unavailable", RetryCondition::Grpc(GrpcStatus::Unavailable)),
];

impl Read for RetryCondition {
    fn read(node: &Node, faults: &mut Faults<'_>) -> Option<Self> {
        let words = CONDITIONS.map(|(word, _)| word);
        let word = match &node.value {
            Value::Scalar { text, kind: ScalarKind::Number } => text,
            _ => text(node, "a retry condition", faults)?,
        };
        if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == word) {
            return Some(*condition);
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let (from, to) = word.split_once('-').unwrap_or((word, word));
            match (status(from), status(to)) {
                (Some(from), Some(to)) if from <= to => return Some(Self::Status(from, to)),
                _ => faults.at_with(
                    node.span,
                    format!("`{word}` is not a status code or range of status codes"),
                    "codes are 400 to 599: `503`, `500-504`",
                ),
            }
            return None;
        }
        let help = similar::to(word, words.into_iter()).unwrap_or_else(|| {
            format!("expected {}, a status code or a range", similar::list(words.into_iter()))
        });
        faults.at_with(node.span, format!("unknown retry condition `{word}`"), help);
        None
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": CONDITIONS.map(|(word, _)| word) },
            { "type": "integer", "minimum": 400, "maximum": 599 },
            { "type": "string", "pattern": "^[45][0-9]{2}(-[45][0-9]{2})?$" },
        ] })
    }
}

impl fmt::Display for RetryCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Status(from, to) if from == to => write!(f, "{from}"),
            Self::Status(from, to) => write!(f, "{from}-{to}"),
            named => {
                f.write_str(CONDITIONS.iter().find(|(_, known)| *known == named).map_or("", |(word, _)| word))
            }
        }
    }
}

/// Only failures can be retried.
fn status(code: &str) -> Option<u16> {
    code.parse().ok().filter(|code| (400..=599).contains(code))
}
