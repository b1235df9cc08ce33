//! Is there a place free? An exact count of what is in flight, of an upstream's requests or of one caller's.
//!
//! **Question.** At most so many at a time: may one more go?
//!
//! **States and transitions.** A number. [`InFlight::enter`] adds one while it is below the cap that it is given;
//! [`InFlight::leave`] takes one off. Who entered must leave, once, and the same count: in a table of keys the cell is
//! therefore a shared handle that the request holds on to, since its key may have another cell by then.
//!
//! **Invariants.** Never above the cap of the moment of entry; never below zero.
//!
//! **Time.** None.
//!
//! **On reload.** The number stays; a smaller cap refuses until enough have left.
//!
//! **Source.** A semaphore without its queue. Who waits is [`super::priority`]'s business, how large the cap is may be
//! [`super::concurrency`]'s.

/// How many are in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight(u32);

impl InFlight {
    /// Takes a place if fewer than `cap` are taken.
    pub fn enter(&mut self, cap: u32) -> bool {
        let free = self.0 < cap;
        self.0 += u32::from(free);
        free
    }

    /// Gives a place back.
    pub fn leave(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// How many places are taken.
    pub fn count(self) -> u32 {
        self.0
    }

    /// Whether nothing is in flight, so that forgetting the count loses nothing.
    pub fn at_rest(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::key_table::{Key, KeyTable, Place};

    proptest! {
        #[test]
        fn bh_2_never_above_the_cap_and_never_refused_below_it(
            cap in 0u32..10, steps in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let (mut places, mut inside) = (InFlight::default(), 0);
            for arrives in steps {
                if arrives {
                    prop_assert_eq!(places.enter(cap), inside < cap);
                    inside = (inside + 1).min(cap);
                } else if inside > 0 {
                    places.leave();
                    inside -= 1;
                }
                prop_assert_eq!(places.count(), inside);
                prop_assert!(inside <= cap);
            }
        }
    }

    #[test]
    fn rl_4_one_caller_at_its_cap_takes_no_place_from_another() {
        let mut callers = KeyTable::<InFlight>::new(2);
        let mut enter = |identity| {
            let key = Key { identity: Some(identity), header: None, source: None };
            let (places, place) = callers.cell(&key, |places| places.at_rest());
            (places.enter(50), place)
        };
        assert_eq!((0..60).filter(|_| enter("greedy").0).count(), 50);
        assert_eq!(enter("modest"), (true, Place::Fresh));
        assert_eq!(enter("third"), (true, Place::Overflow), "nobody in flight is forgotten");
        assert_eq!(enter("greedy"), (false, Place::Known));
    }
}
