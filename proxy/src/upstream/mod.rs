//! The side we call.

pub mod discovery;
