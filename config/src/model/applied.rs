//! Does a policy act, or only report? Every policy block of a document has a `mode`.

use std::ops::Deref;

/// Whether a policy acts. One that is `off` is not in the model at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It decides, counts what it would have done, and changes no octet on the wire.
    DryRun,
}

/// A policy and whether it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied<T> {
    /// Whether it acts.
    pub mode: Mode,
    /// What it says.
    pub policy: T,
}

impl<T> Applied<T> {
    /// A policy that acts.
    pub const fn enforced(policy: T) -> Self {
        Self { mode: Mode::Enforce, policy }
    }
}

impl<T> Deref for Applied<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.policy
    }
}
