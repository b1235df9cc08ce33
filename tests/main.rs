//! Does the whole thing hold what it promises? The real binary between scripted peers, one file a topic.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(
    clippy::float_cmp,
    clippy::cast_precision_loss,
    reason = "metrics are floats that hold small whole numbers"
)]

mod authz;
mod availability;
mod balancing;
mod bulkheads;
mod capture;
mod chain;
mod classification;
mod commands;
mod deadlines;
mod deploy;
mod drain;
mod fallbacks;
mod grpc;
mod guards;
mod http2;
mod identity;
mod ids;
mod image;
mod keep_alive;
mod layers;
mod lifecycle;
mod reload;
mod retries;

mod store;
mod support;
mod tcp;
mod telemetry;
mod timeouts;
mod tls;
mod tunnels;
mod wire;
