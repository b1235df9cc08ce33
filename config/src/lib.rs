//! What does a policy file say? The schema of Outrigger: YAML in, a checked model out. Pure data, no IO.

pub mod defaults;
pub mod model;
