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

use outrigger_config::model::priority::{Class, Shares};

pub use queue::Queue;

/// How many requests may be in flight, all classes together, when one of `class` enters.
pub fn cap(shares: &Shares, class: Class, limit: u32) -> u32 {
    let default = shares.default.clamp(0.0, 1.0);
    let share = match class {
        Class::Critical => return limit,
        Class::Default => default,
        Class::Sheddable => shares.sheddable.clamp(0.0, default),
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and limit")]
    let cap = (f64::from(limit) * share) as u32;
    cap.max(limit.min(1))
}

#[cfg(test)]
mod tests;
