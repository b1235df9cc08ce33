//! Which documents does a test start from? The least of each kind; a test appends what it is about.

#![allow(dead_code, reason = "no test needs every document")]

use outrigger_config::model::Config;
use outrigger_config::{Errors, Source, parse};

pub const SIDECAR: &str = "\
apiVersion: outrigger/v1
kind: Sidecar
name: holdings
inbound: [{port: 8080, forwardTo: 127.0.0.1:8081}]
outbound: {}
";

pub const UPSTREAM: &str = "---
apiVersion: outrigger/v1
kind: Upstream
name: market-data
discovery: {static: [10.0.0.5:8000]}
";

pub const ROUTE: &str = "---
apiVersion: outrigger/v1
kind: HTTPRoute
name: prices
hosts: [market-data]
rules:
  - backendRefs: [{name: market-data}]
";

pub const DEFAULTS: &str = "---
apiVersion: outrigger/v1
kind: Defaults
name: house
";

/// The documents as one file, `policy.yaml`.
pub fn read(documents: &[&str]) -> Result<Config, Errors> {
    parse(&[Source { name: "policy.yaml".to_owned(), text: documents.concat() }])
}

/// What they mean.
pub fn config(documents: &[&str]) -> Config {
    read(documents).unwrap_or_else(|errors| panic!("{errors}"))
}
