//! Seeds for everything random in training: each is a function of numbers such as the run's seed, the step and the
//! sample, so that no result depends on the order in which threads ask for them.

/// The increment of SplitMix64 (Steele, Lea & Flood 2014): 2⁶⁴ divided by the golden ratio.
const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;

/// One seed from three numbers. Different numbers, or the same numbers in another order, give unrelated seeds.
pub fn mix(parts: [u64; 3]) -> u64 {
    parts.into_iter().fold(INCREMENT, |state, part| scramble((state ^ part).wrapping_add(INCREMENT)))
}

/// The `counter`-th 64 random bits of the stream that belongs to `seed`.
pub(crate) fn random_bits(seed: u64, counter: u64) -> u64 {
    scramble(seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(INCREMENT)))
}

/// SplitMix64's finaliser.
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are the reference implementation's for the seed 1234567.
    #[test]
    fn the_stream_is_splitmix64() {
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([0, 1, 2].map(|counter| random_bits(1_234_567, counter)), expected);
    }

    #[test]
    fn the_order_of_the_parts_matters() {
        assert_ne!(mix([1, 2, 3]), mix([2, 1, 3]));
        assert_eq!(mix([1, 2, 3]), mix([1, 2, 3]));
    }
}
