//! Whom may a request go to when few endpoints are fit? To those that are, to everyone, or to nobody; said aloud.
//!
//! **Question.** Health checks, ejections and breakers take endpoints away. Below some share it is likelier that the
//! judgement is wrong than that all of them are bad, and those left cannot bear the load of all. Ignore the judgement?
//!
//! **States and transitions.** None; a function of two numbers. Fit endpoints below `panicThreshold` of all: everyone.
//! Above it, or with the default threshold of 0 %: the fit ones, and nobody if there are none.
//!
//! **Invariants.** [`Candidates::Everyone`] is never a consequence of the default. [`Candidates::Fit`] means that there
//! is one. What was chosen is a value, so that the caller meters it (LB-6): Envoy's panic, on by default at 50 %, was a
//! surprise because nothing said that it had begun (envoyproxy/envoy#12997).
//!
//! **Time.** None.
//!
//! **On reload.** Nothing is kept.
//!
//! **Source.** Envoy's panic threshold, off by default as in Istio (`minHealthPercent: 0`).

use super::share::Share;

/// Among whom an endpoint is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidates {
    /// Those that are fit; there is one at least.
    Fit,
    /// All, fit or not: panic.
    Everyone,
    /// None is fit, and panic is off: 503.
    Nobody,
}

/// Among whom to pick, when `fit` of `all` endpoints are.
pub fn candidates(fit: usize, all: usize, panic_threshold: Share) -> Candidates {
    if all > 0 && !panic_threshold.is_reached(fit as u64, all as u64) {
        Candidates::Everyone
    } else if fit > 0 {
        Candidates::Fit
    } else {
        Candidates::Nobody
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lb_6_without_a_threshold_there_is_no_panic(fit in 0usize..50, more in 0usize..50) {
            let expected = if fit > 0 { Candidates::Fit } else { Candidates::Nobody };
            prop_assert_eq!(candidates(fit, fit + more, Share::new(0.0)), expected);
        }

        #[test]
        fn lb_6_nobody_only_where_nobody_is_fit(fit in 0usize..50, more in 0usize..50, threshold in 0.0..=1.0f64) {
            match candidates(fit, fit + more, Share::new(threshold)) {
                Candidates::Nobody => prop_assert!(fit == 0),
                Candidates::Fit => prop_assert!(fit > 0),
                Candidates::Everyone => prop_assert!(more > 0, "panic among the fit"),
            }
        }
    }

    #[test]
    fn lb_6_panic_begins_below_the_threshold() {
        let half = Share::new(0.5);
        assert_eq!(candidates(2, 4, half), Candidates::Fit);
        assert_eq!(candidates(1, 4, half), Candidates::Everyone);
        assert_eq!(candidates(0, 4, half), Candidates::Everyone);
        assert_eq!(candidates(0, 0, half), Candidates::Nobody);
    }
}
