//! Who may take one of the last places? Priority classes, and how much of a limit each may fill.
//!
//! **Question.** A limit is nearly reached, and requests differ in what they are worth. Which may still enter?
//!
//! **States and transitions.** None of its own: the count is one [`super::in_flight::InFlight`] for all classes, entered
//! with the cap of the class: the whole limit for [`Class::Critical`], the [`Shares`] of it for the others. What finds no
//! place may wait in a [`Queue`].
//!
//! **Invariants.** Caps never exceed the limit, so the sum of all classes does not. What others may not fill is the
//! partition of the critical ones: nobody else can hold it. A lower class never has a higher cap; each has at least one
//! place of a limit that has one.
//!
//! **Time.** None here.
//!
//! **On reload.** New shares hold from the next request on; those inside stay.
//!
//! **Source.** Trunk reservation in telephony: one count with a threshold a class wastes fewer places than pools apart,
//! and protects the upper class as well. Kubernetes' API priority and fairness and the SRE book's criticality (§21) have
//! the classes.

pub mod queue;

pub use queue::Queue;

/// What a request is worth, the worthiest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Users notice at once.
    Critical,
    /// What no policy names.
    #[default]
    Default,
    /// May be retried later or never.
    Sheddable,
}

impl Class {
    /// All classes, the worthiest first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::Sheddable];
}

/// What a policy says: how much of a limit each class may fill, 0 to 1. Critical requests may fill all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of requests that no policy names.
    pub default: f64,
    /// Of sheddable ones.
    pub sheddable: f64,
}

impl Default for Shares {
    /// No partition: a queue ordered by class serves the critical ones first and leaves no place empty.
    fn default() -> Self {
        Self { default: 1.0, sheddable: 1.0 }
    }
}

impl Shares {
    /// How many requests may be in flight, all classes together, when one of `class` enters.
    pub fn cap(&self, class: Class, limit: u32) -> u32 {
        let default = self.default.clamp(0.0, 1.0);
        let share = match class {
            Class::Critical => return limit,
            Class::Default => default,
            Class::Sheddable => self.sheddable.clamp(0.0, default),
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and limit")]
        let cap = (f64::from(limit) * share) as u32;
        cap.max(limit.min(1))
    }
}

#[cfg(test)]
mod tests;
