//! Does gRPC work through sidecars as it does without? tonic at both ends, and each promise on each way between them.

mod balancing;
mod cancellation;
mod changes;
mod client;
mod deadlines;
mod failures;
mod kinds;
mod octets;
mod retries;
mod server;
mod service;
mod statuses;
mod streams;
mod ways;
