//! How many requests may there be? Rate limits in the words of the schema.

use serde_json::{Value, json};

use super::describe_match;
use super::resilience::mode;
use super::upstream::{adaptive, shares};
use crate::model::{Concurrency, KeyBy, PerKey, QueueLimits, RateLimit, RateLimitPolicy, Share, Total};
use crate::raw::{ShareOf, Words};
use crate::scalars::{NonZeroDuration, Rate};

/// A rate limit policy, as in [`describe`](super::describe).
pub fn describe_rate_limit(policy: &RateLimitPolicy) -> Value {
    let priorities = policy.priorities.iter();
    let mut described = json!({
        "name": policy.name.as_str(),
        "mode": mode(policy.mode),
        "direction": policy.direction.word(),
        "hosts": policy.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "matches": policy.matches.iter().map(describe_match).collect::<Vec<_>>(),
        "total": policy.total.as_ref().map(total),
        "perKey": policy.per_key.iter().map(per_key).collect::<Vec<_>>(),
        "concurrency": policy.concurrency.as_ref().map(concurrency),
        "priorities": priorities
            .map(|(found, class)| json!({ "match": describe_match(found), "class": class.word() }))
            .collect::<Vec<_>>(),
        "location": policy.location.to_string(),
    });
    if let Some(Total { share, .. }) = &policy.total {
        described["share"] = match share {
            Share::Replica => json!(ShareOf::Replica.word()),
            Share::Service(_) => json!(ShareOf::Service.word()),
        };
        if let Share::Service(store) = share {
            described["store"] = json!(store.to_string());
        }
    }
    described
}

fn total(total: &Total) -> Value {
    let mut described = rate(&total.limit);
    if let Some(queue) = &total.queue {
        add_queue(&mut described, queue);
    }
    described
}

fn per_key(each: &PerKey) -> Value {
    let mut described = each.limit.as_ref().map_or_else(|| json!({}), rate);
    described["by"] = key(&each.by);
    described["maxConcurrent"] = json!(each.max_concurrent);
    described["maxKeys"] = json!(each.max_keys);
    described
}

fn concurrency(most: &Concurrency) -> Value {
    let fair = most
        .fair_share
        .as_ref()
        .map(|fair| json!({ "by": key(&fair.by), "order": fair.order.word(), "maxKeys": fair.max_keys }));
    let mut described = json!({
        "max": most.max,
        "adaptive": adaptive(most.adaptive.as_ref()),
        "shares": shares(&most.shares),
        "fairShare": fair,
    });
    add_queue(&mut described, &most.queue);
    described
}

fn rate(limit: &RateLimit) -> Value {
    json!({ "rate": Rate::from_per_second(limit.rate).to_string(), "burst": limit.burst })
}

fn add_queue(described: &mut Value, queue: &QueueLimits) {
    described["maxPending"] = json!(queue.capacity);
    described["queueTimeout"] = json!(NonZeroDuration::format(queue.timeout));
}

fn key(by: &KeyBy) -> Value {
    by.parts().map(|part| part.to_string()).collect()
}
