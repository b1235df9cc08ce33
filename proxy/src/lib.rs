//! Outrigger: a sidecar proxy that keeps failure from spreading.
pub mod clock;
pub mod http1;
pub mod reload;
