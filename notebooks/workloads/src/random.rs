//! Random numbers that any language can make again.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, 2014): number `i`, from 0, of a seed is
//! `mix(seed + (i + 1) · 0x9E3779B97F4A7C15)`, all in 64-bit integers that wrap. As each number
//! follows from its index alone, threads can fill their parts in any order. In numpy:
//!
//! ```python
//! def splitmix64(seed, count):
//!     z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
//!     z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
//!     z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
//!     return z ^ (z >> np.uint64(31))
//! ```
//!
//! All reals are computed in f64 and rounded to f32 once, at the end. Uniform numbers are exact in
//! every language. Normal ones go through `ln`, `sin` and `cos`, which two mathematics libraries may
//! round apart in the last of 53 bits; after rounding to 24 bits that shows in about one number of
//! 10⁸ (`tests/reference/training.py` and the test beside it agree in every bit of 110 000).

use std::f64::consts::TAU;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number `index` of `seed`'s sequence, all 64 bits random.
fn number(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// In `[0, 1)` with 53 bits.
fn unit(seed: u64, index: u64) -> f64 {
    (number(seed, index) >> 11) as f64 / (1u64 << 53) as f64
}

/// In `[0, 1)` with 24 bits, as many as an f32 holds: what `rand` fills tensors with.
pub(crate) fn unit_f32(seed: u64, index: u64) -> f32 {
    (number(seed, index) >> 40) as f32 / (1u32 << 24) as f32
}

/// `len` numbers of the standard normal distribution, like `torch.randn`.
///
/// Box–Muller: the pair of numbers `2k` and `2k + 1` comes from the uniform `u` and `v` with these
/// indices, as `r·cos(2πv)` and `r·sin(2πv)` with `r = √(−2 ln(1 − u))`. The module's source shows
/// the generator in numpy.
///
/// ```
/// let numbers = memtrack_workloads::seeded_normal(7, 1000);
/// let mean = numbers.iter().sum::<f32>() / 1000.0;
/// assert!(mean.abs() < 0.1);
/// ```
pub fn seeded_normal(seed: u64, len: usize) -> Vec<f32> {
    (0..len as u64)
        .map(|index| {
            let first = index & !1;
            let radius = (-2.0 * (1.0 - unit(seed, first)).ln()).sqrt();
            let angle = TAU * unit(seed, first + 1);
            let turn = if index == first {
                angle.cos()
            } else {
                angle.sin()
            };
            (radius * turn) as f32
        })
        .collect()
}

/// `len` numbers, uniform in `[−bound, bound)` up to rounding.
pub fn seeded_uniform(seed: u64, len: usize, bound: f64) -> Vec<f32> {
    uniform_from(seed, 0, len, bound)
}

fn uniform_from(seed: u64, first: u64, len: usize, bound: f64) -> Vec<f32> {
    (first..first + len as u64)
        .map(|index| ((2.0 * unit(seed, index) - 1.0) * bound) as f32)
        .collect()
}

/// The first values of a linear layer, as [`linear_init`] makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearInit {
    /// `outputs` rows of `inputs` numbers, row after row.
    pub weight: Vec<f32>,
    /// `outputs` numbers.
    pub bias: Vec<f32>,
}

/// First values for a linear layer, distributed as `torch.nn.Linear` does by default: weights and
/// biases uniform in ±1/√`inputs`.
///
/// The weights are the first `outputs · inputs` numbers of the seed, the biases the next `outputs`.
/// A layer of no inputs has no weights, and biases of 0.
pub fn linear_init(seed: u64, inputs: usize, outputs: usize) -> LinearInit {
    let bound = if inputs == 0 {
        0.0
    } else {
        1.0 / (inputs as f64).sqrt()
    };
    let weights = inputs * outputs;
    LinearInit {
        weight: uniform_from(seed, 0, weights, bound),
        bias: uniform_from(seed, weights as u64, outputs, bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // The first numbers of seed 1234567, as published with the generator's other ports.
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (index, expected) in published.into_iter().enumerate() {
            assert_eq!(number(1_234_567, index as u64), expected);
        }
    }

    #[test]
    fn units_stay_below_one() {
        assert!((0..100_000).all(|index| (0.0..1.0).contains(&unit_f32(1, index))));
        assert!((0..100_000).all(|index| (0.0..1.0).contains(&unit(1, index))));
    }

    #[test]
    fn an_odd_length_is_the_beginning_of_an_even_one() {
        assert_eq!(seeded_normal(3, 7), seeded_normal(3, 8)[..7]);
    }
}
