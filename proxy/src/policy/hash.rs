//! What number stands for a key? The same in every process and version, so that sidecars agree without talking.
//!
//! For choices only, not against an adversary: who may choose keys can choose where they fall. What that could do is
//! bounded where it is used.

/// Of octets: FNV-1a (Fowler, Noll, Vo), finished by [`mix`], since FNV alone leaves the high bits of short keys alike.
pub fn hash(octets: &[u8]) -> u64 {
    let fnv = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    mix(octets.iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// Of a number, so that every bit of it moves every bit of the result; no two give the same. `SplitMix64` (G. Steele,
/// D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Its high half, as a number in `[0, 1)`.
pub fn unit(word: u64) -> f64 {
    let high = u32::try_from(word >> 32).unwrap_or(u32::MAX);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by an independent implementation; a change would move every key of every ring.
    #[test]
    fn lb_10_hashes_are_for_ever() {
        let known: [(&[u8], u64); 3] =
            [(b"", 0xc381_7c01_6ba4_ff30), (b"a", 0x5f29_c2aa_dd9b_8527), (b"user-1", 0xf16d_8d44_0fbb_25d5)];
        for (octets, expected) in known {
            assert_eq!(hash(octets), expected);
        }
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf, "the first output of SplitMix64 seeded with 0");
    }

    #[test]
    fn units_fill_the_line() {
        assert!(unit(0) <= 0.0 && unit(u64::MAX) < 1.0 && unit(u64::MAX) > 0.999_999);
        let mean = (0..10_000).map(|n| unit(mix(n))).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
