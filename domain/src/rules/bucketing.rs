//! Buckets: which of 100 000 places a unit falls into under a salt.
//!
//! The formula is frozen, because a change would reshuffle every running experiment, and golden vectors hold
//! it (`fixtures/evaluation/bucketing.json`): murmur3_x86_32 with seed 0 over the UTF-8 bytes of `salt + ":"
//! + unit`, then a multiply-shift, which has no modulo bias and needs no floating point.

/// How many buckets there are: a step of a share is 0.001 percent.
pub const BUCKETS: u32 = 100_000;

const BLOCK_FACTOR_1: u32 = 0xcc9e_2d51;
const BLOCK_FACTOR_2: u32 = 0x1b87_3593;

/// The bucket of a unit under a salt, 0 to 99 999.
///
/// ```
/// assert_eq!(domain::rules::bucket("checkout", "user-1"), 81_466);
/// ```
pub fn bucket(salt: &str, unit: &str) -> u32 {
    Bucketer::new(salt).bucket(unit)
}

/// murmur3_x86_32 with seed 0 (Austin Appleby, public domain).
pub fn murmur3_x86_32(bytes: &[u8]) -> u32 {
    let mut hash = Murmur3::default();
    hash.write(bytes);
    hash.finish()
}

/// A salt whose part of the hash is done already, so that a decision hashes the unit alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucketer {
    prefix: Murmur3,
}

impl Bucketer {
    /// Takes the salt in.
    pub(crate) fn new(salt: &str) -> Self {
        let mut prefix = Murmur3::default();
        prefix.write(salt.as_bytes());
        prefix.write(b":");
        Self { prefix }
    }

    /// The bucket of a unit.
    pub(crate) fn bucket(self, unit: &str) -> u32 {
        let mut hash = self.prefix;
        hash.write(unit.as_bytes());
        // The product's upper half is below `BUCKETS`, so it fits.
        let place = u64::from(hash.finish()).wrapping_mul(u64::from(BUCKETS)) >> 32;
        u32::try_from(place).unwrap_or(0)
    }
}

/// A murmur3 that takes its bytes in pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Murmur3 {
    state: u32,
    /// The bytes that do not fill a block yet, the first in the lowest place.
    pending: u64,
    /// How many bits of `pending` are filled: 0, 8, 16 or 24.
    pending_bits: u32,
    /// Bytes taken so far; the hash is defined on lengths modulo 2³².
    length: u32,
}

impl Murmur3 {
    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<4>();
        for block in blocks {
            self.pending |= u64::from(u32::from_le_bytes(*block)) << self.pending_bits;
            self.mix_block();
        }
        for byte in rest {
            self.pending |= u64::from(*byte) << self.pending_bits;
            self.pending_bits = self.pending_bits.wrapping_add(8);
            if self.pending_bits == 32 {
                self.mix_block();
                self.pending_bits = 0;
            }
        }
        // Only the lowest 32 bits of the length enter the hash.
        self.length = self.length.wrapping_add((bytes.len() & 0xffff_ffff) as u32);
    }

    /// Mixes the lowest 32 bits of `pending` in and drops them.
    fn mix_block(&mut self) {
        let block = (self.pending & 0xffff_ffff) as u32;
        self.pending >>= 32;
        self.state ^= scramble(block);
        self.state = self
            .state
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }

    fn finish(self) -> u32 {
        let mut hash = self.state;
        if self.pending_bits > 0 {
            hash ^= scramble((self.pending & 0xffff_ffff) as u32);
        }
        hash ^= self.length;
        hash ^= hash >> 16;
        hash = hash.wrapping_mul(0x85eb_ca6b);
        hash ^= hash >> 13;
        hash = hash.wrapping_mul(0xc2b2_ae35);
        hash ^ (hash >> 16)
    }
}

fn scramble(block: u32) -> u32 {
    block
        .wrapping_mul(BLOCK_FACTOR_1)
        .rotate_left(15)
        .wrapping_mul(BLOCK_FACTOR_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // What must never change: the hash. The values are those of the reference implementation's test set.
        for (text, expected) in [
            ("", 0),
            ("test", 0xba6b_d213),
            ("Hello, world!", 0xc036_3e43),
            ("The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
        ] {
            assert_eq!(murmur3_x86_32(text.as_bytes()), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn pieces_hash_like_the_whole(first in ".*", second in ".*", third in ".*") {
            // What must never change: a salt hashed beforehand gives the same buckets.
            let mut pieces = Murmur3::default();
            for piece in [&first, &second, &third] {
                pieces.write(piece.as_bytes());
            }
            let whole = format!("{first}{second}{third}");
            proptest::prop_assert_eq!(pieces.finish(), murmur3_x86_32(whole.as_bytes()));
            proptest::prop_assert!(bucket(&first, &second) < BUCKETS);
        }
    }

    const UNITS: u32 = 1_000_000;
    const CELLS: usize = 1_000;

    /// Pearson's statistic of counts that should be equal.
    fn chi_square(counts: &[u32]) -> f64 {
        let expected = counts.iter().copied().map(f64::from).sum::<f64>() / counts.len() as f64;
        counts
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn a_million_ids_fall_evenly_into_the_buckets() {
        // What must never change: every bucket is equally likely, for ids that differ by a digit and for
        // several salts.
        for salt in ["checkout", "checkout/variant", "", "ü"] {
            let bucketer = Bucketer::new(salt);
            let mut counts = vec![0_u32; CELLS];
            for unit in 0..UNITS {
                counts[bucketer.bucket(&format!("user-{unit}")) as usize / (BUCKETS as usize / CELLS)] += 1;
            }
            // 999 degrees of freedom: mean 999, deviation 44.7. The bounds are 4.5 deviations away, so a
            // sound hash stays inside with probability 0.99999 and a lumpy one is far outside.
            let statistic = chi_square(&counts);
            assert!((800.0..1_200.0).contains(&statistic), "{salt}: {statistic}");
        }
    }

    #[test]
    fn buckets_under_different_salts_are_independent() {
        // What must never change: being in one experiment says nothing about another, however alike the
        // salts.
        for (first, second) in [
            ("a", "b"),
            ("exp-1", "exp-2"),
            ("x/traffic", "x/variant"),
            ("", ":"),
        ] {
            let (first_bucketer, second_bucketer) = (Bucketer::new(first), Bucketer::new(second));
            let mut counts = vec![0_u32; 400];
            for unit in 0..UNITS {
                let unit = format!("u{unit}");
                let row = first_bucketer.bucket(&unit) as usize / 5_000;
                let column = second_bucketer.bucket(&unit) as usize / 5_000;
                counts[row * 20 + column] += 1;
            }
            // 20 × 20 cells with known margins: 399 degrees of freedom, deviation 28.2; 4.5 deviations.
            let statistic = chi_square(&counts);
            assert!(
                (272.0..526.0).contains(&statistic),
                "{first} {second}: {statistic}"
            );
        }
    }
}
