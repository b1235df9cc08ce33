//! Shall this attempt be followed by another? Asked after every attempt; the answer names what forbids it.
//!
//! In order: the outcome must be one that the policy lists, no hop below may have done the retrying already, attempts
//! must be left, a second sending must be harmless and possible, no breaker may forbid it, the wait must fit the
//! deadline, and the budget must pay. The budget is asked last, so that only retries which are really made are paid for.
//!
//! Two kinds of further attempts are no policy's business, since nobody's work is done twice (see [`Kind`]): the repair
//! of a connection that turned out to be closed, and the replacement of an attempt that an endpoint on its way out has
//! left undone. For both the body must be there once more.

use std::time::{Duration, Instant};

use http::Method;
use outrigger_config::model::{Retry, RetryCondition};

use super::backoff;
use super::grpc::Pushback;
use super::outcome::{ConnectFailure, Outcome, TlsFailure};

/// How many attempts of one request are replaced. An endpoint that leaves after 50 requests, with 100 under way, leaves
/// half of them undone; nobody is among those 64 times running, unless it is no accident.
const REPLACEMENTS: u32 = 64;
/// How many of them at once. Whoever meets more than that is in a crowd, which is better spread.
const AT_ONCE: u32 = 3;
/// Over how long the others are spread.
const SPREAD: Duration = Duration::from_millis(10);

/// The exchange as it stands when an attempt has ended.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all combinations are possible"
)]
pub struct Standing<'a> {
    /// The request's.
    pub method: &'a Method,
    /// It carries an `Idempotency-Key`: its sender vouches that it may arrive twice.
    pub idempotency_key: bool,
    /// What became of its body.
    pub body: Body,
    /// Some of it has left us on this attempt. Those before don't matter: after an attempt at which nobody worked, the
    /// next is as harmless as that one was.
    pub sent: bool,
    /// Attempts so far of [`Kind::Retry`].
    pub retries: u32,
    /// There was one of [`Kind::Repair`].
    pub repaired: bool,
    /// Attempts so far of [`Kind::Replacement`].
    pub replaced: u32,
    /// A breaker or health forbids another attempt: the outcome that there is says more than our refusal would.
    pub closed_off: bool,
    /// Now.
    pub now: Instant,
    /// No attempt begins at or after this.
    pub deadline: Instant,
}

/// What became of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none, it is kept whole, or none of it was taken yet.
    Replayable,
    /// Some of it was sent and not kept.
    Gone,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Another attempt; its cause is the outcome's label.
    Again {
        /// What it counts as in the next [`Standing`].
        kind: Kind,
        /// How long to wait first.
        after: Duration,
    },
    /// The outcome stands.
    Stop(Refused),
}

/// What a further attempt is, and so what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The policy lists the outcome: at most `attempts` times, after the back-off, from the budget. At another endpoint
    /// if there is one.
    Retry,
    /// The connection was closed before we knew ([`Outcome::Stale`]), or by an endpoint that did nothing on it: once, at
    /// once, from the budget, and on a fresh connection.
    Repair,
    /// The endpoint has worked for others on that connection and left ours undone: at most 64 times, three of them at
    /// once, and free, as no endpoint does any work for it (RFC 9113 §6.8).
    Replacement,
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The policy asks for none: the outcome is not in `on`, or `attempts` is 0. Not worth a count.
    NotListed,
    /// A hop below has retried already (RT-10).
    SettledBelow,
    /// The endpoint asks for none ([`Pushback::Never`]).
    PushedBack,
    /// `attempts` are used up.
    Exhausted,
    /// It was sent, and twice could do harm.
    NotIdempotent,
    /// The body cannot be sent again.
    BodyGone,
    /// A breaker is open, or no endpoint is fit.
    ClosedOff,
    /// The wait would pass the deadline.
    Deadline,
    /// The traffic has not earned it.
    Budget,
}

impl Refused {
    /// All, in the order in which they are checked.
    pub const ALL: [Self; 9] = [
        Self::NotListed,
        Self::SettledBelow,
        Self::PushedBack,
        Self::Exhausted,
        Self::NotIdempotent,
        Self::BodyGone,
        Self::ClosedOff,
        Self::Deadline,
        Self::Budget,
    ];

    /// The value of `retries_refused_total{reason}`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::SettledBelow => "settled-below",
            Self::PushedBack => "pushed-back",
            Self::Exhausted => "exhausted",
            Self::NotIdempotent => "not-idempotent",
            Self::BodyGone => "body-gone",
            Self::ClosedOff => "breaker-open",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }

    /// Whether our answer must tell the hops above that retrying is done with (RT-10): it came marked, or retries were
    /// wanted and we made those that endpoint, time and budget allow. Where our policy or the request merely forbade
    /// them, a hop above may know better.
    pub fn settles(self, outcome: &Outcome) -> bool {
        match self {
            Self::SettledBelow
            | Self::PushedBack
            | Self::Exhausted
            | Self::ClosedOff
            | Self::Deadline
            | Self::Budget => true,
            Self::NotListed | Self::NotIdempotent | Self::BodyGone => outcome.is_settled_below(),
        }
    }
}

/// What follows the attempt that ended in `outcome`. `draw` is uniform in `[0, 1]`; `budget` withdraws one retry and
/// is called only when all else agrees.
pub fn decide(
    policy: &Retry,
    standing: &Standing<'_>,
    outcome: &Outcome,
    draw: f64,
    budget: impl FnOnce() -> bool,
) -> Decision {
    let kind = kind(standing, outcome);
    let after = match wait(policy, standing, outcome, kind, draw) {
        Ok(after) => after,
        Err(refused) => return Decision::Stop(refused),
    };
    if standing.closed_off {
        return Decision::Stop(Refused::ClosedOff);
    }
    if standing.now.checked_add(after).is_none_or(|start| start >= standing.deadline) {
        return Decision::Stop(Refused::Deadline);
    }
    if kind != Kind::Replacement && !budget() {
        return Decision::Stop(Refused::Budget);
    }
    Decision::Again { kind, after }
}

/// What the next attempt would be. An endpoint that leaves and leaves without any work done could go on for ever, so
/// that is repaired like a stale connection: once, and paid for.
fn kind(standing: &Standing<'_>, outcome: &Outcome) -> Kind {
    match outcome {
        Outcome::GoneAway { progressed: true } if standing.replaced < REPLACEMENTS => Kind::Replacement,
        Outcome::Stale | Outcome::GoneAway { progressed: false } if !standing.repaired => Kind::Repair,
        _ => Kind::Retry,
    }
}

/// How long to wait before the next attempt, if time and budget allow one.
fn wait(
    policy: &Retry,
    standing: &Standing<'_>,
    outcome: &Outcome,
    kind: Kind,
    draw: f64,
) -> Result<Duration, Refused> {
    if kind == Kind::Retry {
        permitted(policy, standing, outcome)?;
    }
    harmless(policy, standing, outcome)?;
    Ok(match kind {
        Kind::Retry => {
            let own = backoff::jittered(&policy.backoff, standing.retries + 1, draw);
            outcome.asked_wait().map_or(own, |asked| own.max(backoff::guided(asked, draw)))
        }
        Kind::Replacement if standing.replaced >= AT_ONCE => SPREAD.mul_f64(draw),
        Kind::Replacement | Kind::Repair => Duration::ZERO,
    })
}

/// Do policy, hops below and endpoint agree to a retry?
fn permitted(policy: &Retry, standing: &Standing<'_>, outcome: &Outcome) -> Result<(), Refused> {
    if *policy.attempts == 0 || !policy.on.iter().any(|condition| covers(*condition, outcome)) {
        return Err(Refused::NotListed);
    }
    if outcome.is_settled_below() {
        return Err(Refused::SettledBelow);
    }
    if matches!(outcome, Outcome::Grpc { pushback: Some(Pushback::Never), .. }) {
        return Err(Refused::PushedBack);
    }
    if standing.retries >= *policy.attempts {
        return Err(Refused::Exhausted);
    }
    Ok(())
}

/// May the request arrive once more (RFC 9110 §9.2.2), and can it? NGINX's rule: what was never sent may always be
/// sent. A response proves that it was sent, and the endpoint's word that it has not begun with it counts as much as if
/// it was not (RFC 9113 §8.7).
///
/// `methods` are not asked about gRPC: each call is a POST, so who lists a gRPC status by its name means POST. So do
/// Envoy and Linkerd.
fn harmless(policy: &Retry, standing: &Standing<'_>, outcome: &Outcome) -> Result<(), Refused> {
    let doubtful = match outcome {
        Outcome::Response { .. } => true,
        Outcome::Grpc { .. } | Outcome::Refused | Outcome::GoneAway { .. } => false,
        _ => standing.sent,
    };
    if doubtful && !standing.idempotency_key && !policy.methods.contains(standing.method) {
        return Err(Refused::NotIdempotent);
    }
    match standing.body {
        Body::Replayable => Ok(()),
        Body::Gone => Err(Refused::BodyGone),
    }
}

/// Whether a condition lists an outcome. As with Envoy, `gateway-error` and `5xx` also mean that no usable response
/// came (the caller would get a 502 or 504 for it), a refused stream is reset too, and a gRPC status is meant by nothing
/// but its name.
fn covers(condition: RetryCondition, outcome: &Outcome) -> bool {
    use RetryCondition as On;
    match outcome {
        Outcome::Response { status, .. } => {
            let status = status.as_u16();
            match condition {
                On::GatewayError => (502..=504).contains(&status),
                On::ServerError => (500..=599).contains(&status),
                On::Retriable4xx => status == 409,
                On::Status(first, last) => (first..=last).contains(&status),
                On::ConnectFailure | On::RefusedStream | On::Reset | On::Timeout | On::Grpc(_) => false,
            }
        }
        Outcome::Grpc { status, .. } => {
            matches!(condition, On::Grpc(listed) if listed as u8 == status.code())
        }
        Outcome::ConnectFailure(failure) if failure != &ConnectFailure::Tls(TlsFailure::Expired) => {
            matches!(condition, On::ConnectFailure | On::GatewayError | On::ServerError)
        }
        // After its repair, or 64 replacements, GOAWAY refuses like any other refusal.
        Outcome::Refused | Outcome::GoneAway { .. } => {
            matches!(condition, On::RefusedStream | On::Reset | On::GatewayError | On::ServerError)
        }
        // After its repair a second stale connection is a reset like any other.
        Outcome::Reset { responded: false } | Outcome::Stale => {
            matches!(condition, On::Reset | On::GatewayError | On::ServerError)
        }
        Outcome::AttemptTimeout => matches!(condition, On::Timeout | On::GatewayError | On::ServerError),
        Outcome::Garbage => matches!(condition, On::GatewayError | On::ServerError),
        // The response is on its way, nobody waits for it, or there is nowhere to go: whoever looks at a certificate refuses
        // one that has expired.
        Outcome::Reset { responded: true }
        | Outcome::DeadlineExceeded { .. }
        | Outcome::Canceled
        | Outcome::ConnectFailure(_)
        | Outcome::Unresolved => false,
    }
}

#[cfg(test)]
mod tests;
