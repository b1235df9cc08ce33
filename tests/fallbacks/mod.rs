//! What gets a caller whose upstream fails, by itself or on purpose? Chains of fallbacks, what the cache has, faults.

mod cache;
mod chain;
mod faults;

use super::support::rig::upstream;
use std::net::SocketAddr;

/// A route `prices` for the authority `up`, with further keys of its one rule.
fn route(rule: &str) -> String {
    format!(
        "apiVersion: outrigger/v1\nkind: HTTPRoute\nname: prices\nhosts: [up]\nrules:\n\
         - backendRefs: [{{name: up}}]\n{}\n",
        rule.lines().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

/// The upstream `up` without retries, and with further settings.
fn up(endpoint: SocketAddr, settings: &str) -> String {
    upstream("up", &[endpoint], &format!("retry: {{attempts: 0}}\n{settings}"))
}
