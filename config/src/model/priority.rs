//! What is a request worth, and how much of a limit may it fill? Classes, shares and the order of shedding.

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

/// How much of a limit each class may fill, 0 to 1. Critical requests may fill all of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of requests that no policy names.
    pub default: f64,
    /// Of sheddable ones; no more than `default`.
    pub sheddable: f64,
}

impl Shares {
    /// No partition.
    pub const ALL: Self = Self { default: 1.0, sheddable: 1.0 };
}

impl Default for Shares {
    /// No partition: a queue ordered by class serves the critical ones first and leaves no place empty.
    fn default() -> Self {
        Self::ALL
    }
}

/// Who is shed first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Callers with more than their share (RL-5).
    #[default]
    GreedyFirst,
    /// Callers with the smallest share, so that the main ones keep working (RL-3).
    UncommonFirst,
}
