//! How many requests may there be? What `RateLimitPolicy` documents mean.

use super::concurrency::Most;
use super::layers::Layers;
use super::route::listened_to;
use super::{matches, unique};
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::{
    Concurrency, Direction, FairSharing, HostPattern, KeyBy, Mode, PerKey, QueueLimits, RateLimit,
    RateLimitPolicy, Share, Total,
};
use crate::raw::{self, KeyPart, ShareOf, Spanned, items, or};
use crate::scalars::{NonZeroDuration, Rate};

/// All policies that are not switched off.
pub(super) fn resolve(
    written: &[Spanned<raw::RateLimitPolicy>],
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Vec<RateLimitPolicy> {
    let names = written.iter().filter_map(|policy| policy.value.name.as_ref());
    unique(names.map(|name| (name.value.as_str(), name.span)), "rate limit policy", faults);
    written.iter().filter_map(|policy| one(policy, sidecar, faults)).collect()
}

fn one(
    Spanned { value: written, span }: &Spanned<raw::RateLimitPolicy>,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Option<RateLimitPolicy> {
    let direction = or(written.direction, Direction::Inbound);
    listened_to(direction, written.direction.map_or(*span, |d| d.span), "policy", sidecar, faults);
    unique(items(written.hosts.as_ref()).map(|host| (host.value.to_string(), host.span)), "host", faults);
    let hosts = written.hosts.as_ref().map(|hosts| hosts.value.values().cloned().collect());
    let priorities = items(written.priorities.as_ref()).filter_map(|priority| {
        let found = matches::resolve(&priority.value.found.as_ref()?.value, faults);
        Some((found?, priority.value.class?.value))
    });
    let priorities = priorities.collect();
    let matches = matches::any(written.matches.as_ref(), *span, faults);
    let share = share(written, *span, faults);
    let policy = RateLimitPolicy {
        name: written.name.as_ref()?.value.clone(),
        mode: match or(written.mode, raw::Mode::Enforce) {
            raw::Mode::DryRun => Mode::DryRun,
            raw::Mode::Enforce | raw::Mode::Off => Mode::Enforce,
        },
        direction,
        hosts: hosts.unwrap_or_else(|| vec![HostPattern::Any]),
        matches: matches.into_iter().map(|(found, _)| found).collect(),
        total: written.total.as_ref().and_then(|total| self::total(&total.value, share, faults)),
        per_key: callers(written, faults),
        concurrency: written.concurrency.as_ref().and_then(|most| concurrency(&most.value, faults)),
        priorities,
        location: faults.locate(*span),
    };
    let raw::RateLimitPolicy { total, per_identity, per_key, concurrency, priorities, .. } = written;
    let callers = per_identity.is_some() || per_key.is_some();
    if !callers && total.is_none() && concurrency.is_none() && priorities.is_none() && written.whole {
        let help = "write `total`, `perIdentity`, `perKey`, `concurrency` or `priorities`";
        faults.at_with(*span, "the policy limits nothing", help);
    }
    let off = written.mode.is_some_and(|mode| mode.value == raw::Mode::Off);
    (!off).then_some(policy)
}

fn share(written: &raw::RateLimitPolicy, document: Span, faults: &mut Faults<'_>) -> Share {
    let service = written.share.filter(|share| share.value == ShareOf::Service);
    match (service, &written.store) {
        (Some(_), Some(store)) => {
            if written.total.is_none() && written.whole {
                faults.at_with(document, "`share: service` without `total`", "it says whose rate `total` is");
            }
            return Share::Service(store.value.clone());
        }
        (Some(share), None) if written.whole => {
            let help = "replicas count together in a server such as `store: redis://redis.internal:6379`";
            faults.at_with(share.span, "`share: service` without `store`", help);
        }
        (None, Some(store)) if written.whole => {
            let help = "a replica counts for itself; write `share: service` as well";
            faults.at_with(store.span, "`store` without `share: service`", help);
        }
        _ => {}
    }
    Share::Replica
}

fn total(written: &raw::Total, share: Share, faults: &mut Faults<'_>) -> Option<Total> {
    let limit = rate_limit(written.rate, written.burst.map(|burst| burst.value.into()), faults)?;
    if let (Some(pending), None) = (written.max_pending, written.queue_timeout)
        && written.whole
    {
        let help = "`queueTimeout` says how long a request may wait";
        faults.at_with(pending.span, "`maxPending` without `queueTimeout`", help);
    }
    let queue = written.queue_timeout.map(|timeout| QueueLimits {
        capacity: or(written.max_pending, defaults::MAX_PENDING),
        timeout: timeout.value.into(),
    });
    Some(Total { limit, queue, share })
}

fn rate_limit(rate: Option<Spanned<Rate>>, burst: Option<u32>, faults: &mut Faults<'_>) -> Option<RateLimit> {
    let Spanned { value: rate, span } = rate?;
    let rate = rate.per_second();
    if rate <= 0.0 {
        faults.at_with(span, "a rate of 0 would deny every request", "the least is `0.001/s`");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is above 0")]
    let one_second = rate.ceil() as u32;
    Some(RateLimit { rate, burst: burst.unwrap_or(one_second) })
}

/// `perIdentity` first, then `perKey` in the order of writing.
fn callers(written: &raw::RateLimitPolicy, faults: &mut Faults<'_>) -> Vec<PerKey> {
    let by_identity = KeyBy { identity: true, ..KeyBy::default() };
    let identity = written.per_identity.as_ref().map(|each| {
        let raw::Each { rate, burst, max_concurrent, max_keys, whole } = each.value;
        let limits = raw::PerKey { by: None, rate, burst, max_concurrent, max_keys, whole };
        per_key(by_identity, &limits, each.span, faults)
    });
    let mut callers: Vec<_> = identity.into_iter().collect();
    for each in items(written.per_key.as_ref()) {
        let by = key_by(items(each.value.by.as_ref()), faults);
        callers.push(per_key(by, &each.value, each.span, faults));
    }
    callers
}

fn per_key(by: KeyBy, written: &raw::PerKey, span: Span, faults: &mut Faults<'_>) -> PerKey {
    if written.rate.is_none() && written.max_concurrent.is_none() && written.whole {
        let help = "a caller has a rate, requests in flight, or both";
        faults.at_with(span, "missing `rate` or `maxConcurrent`", help);
    }
    if let (Some(burst), None) = (written.burst, written.rate)
        && written.whole
    {
        faults.at_with(burst.span, "`burst` without `rate`", "it is what may come at once at that rate");
    }
    PerKey {
        by,
        limit: rate_limit(written.rate, written.burst.map(|burst| burst.value.into()), faults),
        max_concurrent: written.max_concurrent.map(|most| most.value.into()),
        max_keys: or(written.max_keys, defaults::RATE_LIMIT_KEYS),
    }
}

fn key_by<'a>(parts: impl Iterator<Item = &'a Spanned<KeyPart>> + Clone, faults: &mut Faults<'_>) -> KeyBy {
    unique(parts.clone().map(|part| (part.value.to_string(), part.span)), "part of a key", faults);
    let mut by = KeyBy::default();
    for part in parts {
        match &part.value {
            KeyPart::Identity => by.identity = true,
            KeyPart::Source => by.source = true,
            KeyPart::Header(name) if by.header.as_ref().is_none_or(|first| first == name) => {
                by.header = Some(name.clone());
            }
            KeyPart::Header(_) => {
                let help = "write another entry of `perKey`, or let callers send one field";
                faults.at_with(part.span, "a key has one header field at most", help);
            }
        }
    }
    by
}

fn concurrency(written: &raw::Concurrency, faults: &mut Faults<'_>) -> Option<Concurrency> {
    let most = written.max?;
    let own = written.shares.as_ref().map(|shares| &shares.value);
    let bound = Most { requests: most.value.into(), key: "concurrency.max" };
    Some(Concurrency {
        max: most.value.into(),
        adaptive: Layers { defaults: None, own: written.adaptive.as_ref() }.adaptive(&bound, faults),
        shares: Layers { defaults: None, own }.shares(faults),
        queue: QueueLimits {
            capacity: or(written.max_pending, defaults::MAX_PENDING),
            timeout: or::<NonZeroDuration, _>(written.queue_timeout, defaults::QUEUE_TIMEOUT),
        },
        fair_share: written.fair_share.as_ref().map(|fair| FairSharing {
            by: key_by(items(fair.value.by.as_ref()), faults),
            order: or(fair.value.order, defaults::SHED_FIRST),
            max_keys: or(fair.value.max_keys, defaults::FAIR_SHARE_KEYS),
        }),
    })
}
