//! How long before the next attempt? Full jitter under an exponential ceiling, or what the server asked for.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): of the jitters, the full one
//! makes the fewest calls and spreads them evenly.

use std::time::Duration;

use outrigger_config::model::Backoff;

/// The longest wait before retry `n` (from 1): `min(base·2^(n-1), max)`. Exact up to n = 32, constant from there.
pub fn ceiling(backoff: &Backoff, n: u32) -> Duration {
    let doublings = n.saturating_sub(1).min(31);
    backoff.base.saturating_mul(1 << doublings).min(backoff.max)
}

/// The wait before retry `n` (from 1): `draw`, uniform in `[0, 1]`, of the [`ceiling`].
pub fn jittered(backoff: &Backoff, n: u32, draw: f64) -> Duration {
    ceiling(backoff, n).mul_f64(draw)
}

/// The wait that a server asked for with `Retry-After` (RFC 9110 §10.2.3): never less, up to half more by `draw`
/// (uniform in `[0, 1]`), so that those who were turned away together don't come back together. Envoy's formula.
pub fn guided(retry_after: Duration, draw: f64) -> Duration {
    retry_after.saturating_add((retry_after / 2).mul_f64(draw))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff() -> impl Strategy<Value = Backoff> {
        (0u64..3_600_000_000, 0u64..3_600_000_000).prop_map(|(base, max)| Backoff {
            base: Duration::from_micros(base),
            max: Duration::from_micros(max),
        })
    }

    proptest! {
        #[test]
        fn rt_2_without_jitter_gaps_double_up_to_the_cap(b in backoff(), n in 1u32..=32) {
            let exact = (b.base.as_nanos() << (n - 1)).min(b.max.as_nanos());
            prop_assert_eq!(jittered(&b, n, 1.0).as_nanos(), exact);
        }

        #[test]
        fn rt_2_no_n_overflows_or_shrinks(b in backoff(), n in any::<u32>()) {
            prop_assert!(ceiling(&b, n) <= ceiling(&b, n.saturating_add(1)));
            prop_assert!(ceiling(&b, n) <= b.max);
        }

        #[test]
        fn rt_13_nobody_comes_back_sooner_than_the_server_said(micros in 0u64..300_000_000, draw in 0.0..=1.0) {
            let asked = Duration::from_micros(micros);
            let wait = guided(asked, draw);
            prop_assert!(asked <= wait && wait <= asked + asked / 2, "{wait:?}");
        }
    }

    /// χ² over 50 bins of the back-off window: 49 degrees of freedom, p = 0.01 at 74.9.
    #[test]
    fn rt_3_retries_of_one_moment_spread_evenly() {
        const BINS: usize = 50;
        const N: usize = 1000;
        let b = Backoff { base: Duration::from_millis(250), max: Duration::from_millis(250) };
        let mut rng = fastrand::Rng::with_seed(7);
        let mut bins = [0.0f64; BINS];
        for _ in 0..N {
            let gap = jittered(&b, 1, rng.f64());
            bins[usize::try_from(gap.as_millis()).unwrap() / 5] += 1.0;
        }
        let mean = 20.0;
        let chi: f64 = bins.iter().map(|n| (n - mean).powi(2) / mean).sum();
        assert!(chi < 74.9, "χ² = {chi}");
        assert!(bins.iter().all(|n| *n < 3.0 * mean), "the busiest 5 ms: {bins:?}");
    }

    #[test]
    fn extremes() {
        let huge = Backoff { base: Duration::MAX, max: Duration::MAX };
        assert_eq!(ceiling(&huge, u32::MAX), Duration::MAX);
        assert_eq!(
            ceiling(&Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250) }, 0)
                .as_millis(),
            25
        );
        assert!(guided(Duration::MAX, 1.0) == Duration::MAX);
    }
}
