//! What is a caller told of its rate limit? On every answer, so that it can slow down before it is turned away (BP-1).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::http1::push_number;
use crate::http1::encoder::push_field;
use crate::snapshot::limiter::Quota;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Adds it to an answer's fields. Who answered may have a limit of its own and tell of it: then that stays.
pub fn add(fields: &mut HeaderMap, quota: Option<Quota<'_>>) {
    let Some(Quota { fields: told, policy }) = quota.filter(|_| !fields.contains_key(LIMIT)) else { return };
    fields.insert(LIMIT, told.limit.into());
    fields.insert(REMAINING, told.remaining.into());
    fields.insert(RESET, told.reset.into());
    fields.extend(HeaderValue::from_str(policy).ok().map(|policy| (POLICY, policy)));
}

/// The same behind a head of HTTP/1 whose fields are `fields`.
pub fn write(out: &mut Vec<u8>, fields: &HeaderMap, quota: Option<Quota<'_>>) {
    let Some(Quota { fields: told, policy }) = quota.filter(|_| !fields.contains_key(LIMIT)) else { return };
    push_number(out, LIMIT.as_str(), told.limit.into());
    push_number(out, REMAINING.as_str(), told.remaining);
    push_number(out, RESET.as_str(), told.reset);
    push_field(out, POLICY.as_str(), policy.as_bytes());
}
