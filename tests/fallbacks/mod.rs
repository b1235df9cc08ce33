//! What gets a caller whose upstream fails, by itself or on purpose? Chains of fallbacks, what the cache has, faults.

mod breaker;
mod cache;
mod chain;
mod faults;
mod protocols;

use super::support::rig::upstream;
use std::net::SocketAddr;

/// A route `prices` for the authority `up`, with further keys of its one rule.
fn route(rule: &str) -> String {
    let rule = rule.replace('\n', "\n  ");
    format!(
        "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: prices\nhosts: [up]\nrules:\n\
         - backendRefs: [{{name: up}}]\n  {rule}\n"
    )
}

/// The upstream `up` without retries, and with further settings.
fn up(endpoint: SocketAddr, settings: &str) -> String {
    upstream("up", &[endpoint], &format!("retry: {{attempts: 0}}\n{settings}"))
}
