//! May it? Each authorization policy of the direction is asked; the first that says no, and acts, ends it.

use super::error::Failure;
use super::exchange::Exchange;
use crate::policy::authz::{Caller, Verdict};
use crate::snapshot::authorizer::Authorizer;
use crate::snapshot::request;

/// Whether all policies let the request pass.
pub fn check(exchange: &mut Exchange<'_>) -> Result<(), Failure> {
    let snapshot = exchange.snapshot;
    for authorizer in snapshot.authorizers(exchange.listener.direction) {
        let verdict = judge(authorizer, exchange);
        match verdict {
            Verdict::Allowed => authorizer.metrics.allowed(exchange.worker.id),
            Verdict::Denied { .. } => authorizer.metrics.denied(exchange.worker.id),
        }
        if let (Verdict::Denied { rule }, true) = (verdict, authorizer.acts) {
            exchange.denied_by = Some(&authorizer.name);
            exchange.denied_rule = rule;
            return Err(Failure::Unauthorized);
        }
    }
    Ok(())
}

fn judge<'s>(authorizer: &'s Authorizer, exchange: &Exchange<'s>) -> Verdict<'s> {
    let head = &exchange.head;
    let caller = Caller { identity: exchange.identity(), source: exchange.peer.ip().to_canonical() };
    if exchange.is_opaque() {
        return authorizer.policy.judge_connection(&caller);
    }
    let mut request = request(head.host(), head);
    // A dry run changes nothing, so where it is alone in looking at paths this one is as it came.
    if !authorizer.looks_at_paths || authorizer.acts {
        return authorizer.policy.judge(&caller, &request);
    }
    match exchange.snapshot.seen(exchange.listener, head) {
        Ok(seen) => {
            request.path = &seen;
            authorizer.policy.judge(&caller, &request)
        }
        Err(_) => Verdict::Denied { rule: None },
    }
}
