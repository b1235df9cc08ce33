//! Outrigger: a sidecar proxy that keeps failure from spreading.

pub mod policy;
