//! Shall this attempt be followed by another? Asked after every attempt; the answer names what forbids it.
//!
//! In order: the outcome must be one that the policy lists, no hop below may have done the retrying already, attempts
//! must be left, a second sending must be harmless and possible, the wait must fit the deadline, and the budget must
//! pay. The budget is asked last, so that only retries which are really made are paid for.
//!
//! One retry is no policy's business: the repair of a stale connection (see [`Outcome::Stale`]) happens once, at once
//! and on a fresh connection, beside `attempts`, but by the same rules of safety and from the same budget.

use std::time::{Duration, Instant};

use http::Method;
use outrigger_config::model::{Retry, RetryCondition};

use super::backoff;
use super::outcome::Outcome;

/// The exchange as it stands when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The request's.
    pub method: &'a Method,
    /// It carries an `Idempotency-Key`: its sender vouches that it may arrive twice.
    pub idempotency_key: bool,
    /// What became of its body.
    pub body: Body,
    /// Some of it has left us, on any attempt.
    pub sent: bool,
    /// Retries made so far, repairs not counted.
    pub retries: u32,
    /// A stale connection was repaired already.
    pub repaired: bool,
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
    /// Another attempt, paid for; its cause is the outcome's label.
    Retry {
        /// How long to wait first.
        after: Duration,
        /// Not on a reused connection.
        fresh: bool,
    },
    /// The outcome stands.
    Stop(Refused),
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The policy asks for none: the outcome is not in `on`, or `attempts` is 0. Not worth a count.
    NotListed,
    /// A hop below has retried already (RT-10).
    SettledBelow,
    /// `attempts` are used up.
    Exhausted,
    /// It was sent, and twice could do harm.
    NotIdempotent,
    /// The body cannot be sent again.
    BodyGone,
    /// The wait would pass the deadline.
    Deadline,
    /// The traffic has not earned it.
    Budget,
}

impl Refused {
    /// All, in the order in which they are checked.
    pub const ALL: [Self; 7] = [
        Self::NotListed,
        Self::SettledBelow,
        Self::Exhausted,
        Self::NotIdempotent,
        Self::BodyGone,
        Self::Deadline,
        Self::Budget,
    ];

    /// The value of `retries_refused_total{reason}`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::SettledBelow => "settled-below",
            Self::Exhausted => "exhausted",
            Self::NotIdempotent => "not-idempotent",
            Self::BodyGone => "body-gone",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }

    /// Whether our answer must tell the hops above that retrying is done with (RT-10): it came marked, or retries were
    /// wanted and we made those that time and budget allow. Where our policy or the request merely forbade them, a hop
    /// above may know better.
    pub fn settles(self, outcome: &Outcome) -> bool {
        let marked = matches!(outcome, Outcome::Response { settled_below: true, .. });
        match self {
            Self::SettledBelow | Self::Exhausted | Self::Deadline | Self::Budget => true,
            Self::NotListed | Self::NotIdempotent | Self::BodyGone => marked,
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
    let wait = match wait(policy, standing, outcome, draw) {
        Ok(wait) => wait,
        Err(refused) => return Decision::Stop(refused),
    };
    if standing.now.checked_add(wait).is_none_or(|start| start >= standing.deadline) {
        return Decision::Stop(Refused::Deadline);
    }
    if !budget() {
        return Decision::Stop(Refused::Budget);
    }
    Decision::Retry { after: wait, fresh: *outcome == Outcome::Stale }
}

/// How long to wait before the next attempt, if time and budget allow one.
fn wait(policy: &Retry, standing: &Standing<'_>, outcome: &Outcome, draw: f64) -> Result<Duration, Refused> {
    if *outcome == Outcome::Stale && !standing.repaired {
        return harmless(policy, standing, outcome).map(|()| Duration::ZERO);
    }
    if *policy.attempts == 0 || !policy.on.iter().any(|condition| covers(*condition, outcome)) {
        return Err(Refused::NotListed);
    }
    if matches!(outcome, Outcome::Response { settled_below: true, .. }) {
        return Err(Refused::SettledBelow);
    }
    if standing.retries >= *policy.attempts {
        return Err(Refused::Exhausted);
    }
    harmless(policy, standing, outcome)?;
    let own = backoff::jittered(&policy.backoff, standing.retries + 1, draw);
    Ok(match outcome {
        Outcome::Response { retry_after: Some(asked), .. } => own.max(backoff::guided(*asked, draw)),
        _ => own,
    })
}

/// May the request arrive once more (RFC 9110 §9.2.2), and can it? NGINX's rule: what was never sent may always be
/// sent; a response, too, proves that it was sent.
fn harmless(policy: &Retry, standing: &Standing<'_>, outcome: &Outcome) -> Result<(), Refused> {
    let sent = standing.sent || matches!(outcome, Outcome::Response { .. });
    if sent && !standing.idempotency_key && !policy.methods.contains(standing.method) {
        return Err(Refused::NotIdempotent);
    }
    match standing.body {
        Body::Replayable => Ok(()),
        Body::Gone => Err(Refused::BodyGone),
    }
}

/// Whether a condition lists an outcome. As with Envoy, `gateway-error` and `5xx` also mean that no usable response
/// came: the caller would get a 502 or 504 for it.
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
                On::ConnectFailure | On::Reset | On::Timeout => false,
            }
        }
        Outcome::ConnectFailure(_) => {
            matches!(condition, On::ConnectFailure | On::GatewayError | On::ServerError)
        }
        // After its repair a second stale connection is a reset like any other.
        Outcome::Reset { responded: false } | Outcome::Stale => {
            matches!(condition, On::Reset | On::GatewayError | On::ServerError)
        }
        Outcome::AttemptTimeout => matches!(condition, On::Timeout | On::GatewayError | On::ServerError),
        Outcome::Garbage => matches!(condition, On::GatewayError | On::ServerError),
        // The response is on its way, nobody waits for it, or there is nowhere to go.
        Outcome::Reset { responded: true }
        | Outcome::DeadlineExceeded
        | Outcome::Canceled
        | Outcome::Unresolved => false,
    }
}

#[cfg(test)]
mod tests;
