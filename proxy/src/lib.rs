//! Outrigger: a sidecar proxy that keeps failure from spreading.
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod downstream;
pub mod http1;
pub mod pipeline;
pub mod policy;
pub mod reload;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
pub mod worker;
