//! Mergeable sufficient statistics: what `pipeline` counts and `stats` reads.
//!
//! [`Sums`] is the running form: a count, Σx and Σx², the sums held as unevaluated pairs of `f64` (about 106 bits
//! of mantissa). Adding, removing and merging in any order agree to a relative error of n·2⁻¹⁰⁴ of Σ|x| and Σx²,
//! so the centred second moment keeps at least nine digits for values at an offset of 1e9 with unit variance,
//! where a plain `f64` sum of squares keeps none. [`Moments`] is the reported form: n, mean and centred second moment.

use serde::{Deserialize, Serialize};

/// An unevaluated sum of two `f64`, the second at most half a unit in the last place of the first (Dekker 1971).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct DoubleDouble {
    /// The leading part: the sum rounded to `f64`.
    pub high: f64,
    /// What rounding left over.
    pub low: f64,
}

/// The exact sum of two `f64` as a pair (Knuth's TwoSum).
fn two_sum(left: f64, right: f64) -> DoubleDouble {
    let high = left + right;
    let right_part = high - left;
    let left_part = high - right_part;
    DoubleDouble {
        high,
        low: (left - left_part) + (right - right_part),
    }
}

/// The exact product of two `f64` as a pair.
fn two_product(left: f64, right: f64) -> DoubleDouble {
    let high = left * right;
    DoubleDouble {
        high,
        low: left.mul_add(right, -high),
    }
}

impl DoubleDouble {
    /// The pair that stands for one `f64`.
    pub fn from_f64(value: f64) -> Self {
        Self {
            high: value,
            low: 0.0,
        }
    }

    /// The exact product of two `f64`.
    pub fn product(left: f64, right: f64) -> Self {
        two_product(left, right)
    }

    /// The sum of two pairs; relative error below 2⁻¹⁰⁴ (accurate variant of Dekker's addition).
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let high = two_sum(self.high, other.high);
        let low = two_sum(self.low, other.low);
        let first = two_sum(high.high, high.low + low.high);
        two_sum(first.high, first.low + low.low)
    }

    /// The difference of two pairs.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self {
            high: -other.high,
            low: -other.low,
        })
    }

    /// The product of two pairs.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        let product = two_product(self.high, other.high);
        two_sum(
            product.high,
            product.low + (self.high * other.low + self.low * other.high),
        )
    }

    /// The quotient of a pair and an `f64` that is not zero.
    #[must_use]
    pub fn divided_by(self, divisor: f64) -> Self {
        let first = self.high / divisor;
        let rest = self.minus(two_product(first, divisor));
        two_sum(first, (rest.high + rest.low) / divisor)
    }

    /// The pair rounded to one `f64`.
    pub fn to_f64(self) -> f64 {
        self.high + self.low
    }
}

/// A count with Σx and Σx² over units, in the form that can be added to, taken from and merged.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// The number of units with a value.
    pub units: u64,
    /// Σx.
    pub sum: DoubleDouble,
    /// Σx².
    pub sum_of_squares: DoubleDouble,
}

impl Sums {
    /// Counts one more unit with value `x`.
    pub fn add(&mut self, x: f64) {
        self.units += 1;
        self.sum = self.sum.plus(DoubleDouble::from_f64(x));
        self.sum_of_squares = self.sum_of_squares.plus(two_product(x, x));
    }

    /// Takes one unit with value `x` out again.
    pub fn remove(&mut self, x: f64) {
        self.units = self.units.saturating_sub(1);
        self.sum = self.sum.minus(DoubleDouble::from_f64(x));
        self.sum_of_squares = self.sum_of_squares.minus(two_product(x, x));
    }

    /// Moves one unit from value `before` to value `after`.
    pub fn replace(&mut self, before: f64, after: f64) {
        self.sum = self.sum.plus(two_sum(after, -before));
        self.sum_of_squares = self
            .sum_of_squares
            .plus(two_product(after, after))
            .minus(two_product(before, before));
    }

    /// Adds all units of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.units += other.units;
        self.sum = self.sum.plus(other.sum);
        self.sum_of_squares = self.sum_of_squares.plus(other.sum_of_squares);
    }

    /// Mean and centred second moment over the counted units.
    pub fn moments(&self) -> Moments {
        self.moments_over(self.units)
    }

    /// Mean and centred second moment over `total` units, of which those never counted have the value 0.
    ///
    /// `total` is at least the number of counted units.
    pub fn moments_over(&self, total: u64) -> Moments {
        if total == 0 {
            return Moments::default();
        }
        let n = total as f64;
        let mean = self.sum.divided_by(n);
        let m2 = self.sum_of_squares.minus(self.sum.times(mean)).to_f64();
        // Rounding can leave a tiny negative number where all values agree; a centred moment has none.
        Moments {
            n: total,
            mean: mean.to_f64(),
            m2: m2.max(0.0),
        }
    }
}

/// Number of units, mean and centred second moment Σ(x − mean)².
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Moments {
    /// The number of units.
    pub n: u64,
    /// The mean.
    pub mean: f64,
    /// The centred second moment.
    pub m2: f64,
}

impl Moments {
    /// The moments of `values`, by Welford's update.
    pub fn from_values(values: &[f64]) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.n += 1;
            let delta = value - moments.mean;
            moments.mean += delta / moments.n as f64;
            moments.m2 += delta * (value - moments.mean);
        }
        moments
    }

    /// The moments of both sets of units together (Chan, Golub, LeVeque 1983).
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        if self.n == 0 {
            return other;
        }
        if other.n == 0 {
            return self;
        }
        let (left, right) = (self.n as f64, other.n as f64);
        let total = left + right;
        let delta = other.mean - self.mean;
        Self {
            n: self.n + other.n,
            mean: self.mean + delta * (right / total),
            m2: self.m2 + other.m2 + delta * delta * (left * right / total),
        }
    }

    /// The unbiased variance, or none for fewer than two units.
    pub fn variance(&self) -> Option<f64> {
        (self.n >= 2).then(|| self.m2 / (self.n - 1) as f64)
    }
}

/// Joint sums of a pair (x, y) per unit, for ratio metrics and covariate adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CrossSums {
    /// Sums of the first value: the numerator, or the outcome.
    pub x: Sums,
    /// Sums of the second value: the denominator, or the covariate.
    pub y: Sums,
    /// Σxy.
    pub sum_xy: DoubleDouble,
}

impl CrossSums {
    /// Counts one more unit with the pair (x, y).
    pub fn add(&mut self, x: f64, y: f64) {
        self.x.add(x);
        self.y.add(y);
        self.sum_xy = self.sum_xy.plus(two_product(x, y));
    }

    /// Takes one unit with the pair (x, y) out again.
    pub fn remove(&mut self, x: f64, y: f64) {
        self.x.remove(x);
        self.y.remove(y);
        self.sum_xy = self.sum_xy.minus(two_product(x, y));
    }

    /// Adds all units of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.x.merge(&other.x);
        self.y.merge(&other.y);
        self.sum_xy = self.sum_xy.plus(other.sum_xy);
    }

    /// The centred cross moment Σ(x − x̄)(y − ȳ) over `total` units, those never counted being (0, 0).
    pub fn cross_moment_over(&self, total: u64) -> f64 {
        if total == 0 {
            return 0.0;
        }
        self.sum_xy
            .minus(self.x.sum.times(self.y.sum.divided_by(total as f64)))
            .to_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(left: f64, right: f64, tolerance: f64) -> bool {
        (left - right).abs() <= tolerance * left.abs().max(right.abs()).max(1.0)
    }

    #[test]
    fn nine_digits_survive_an_offset_of_a_billion() {
        // What must never change: variance does not drown in the square of the mean.
        let mut sums = Sums::default();
        for index in 0..100_000 {
            sums.add(1e9 + f64::from(index % 2));
        }
        assert!(close(sums.moments().m2, 25_000.0, 1e-9), "{:?}", sums.moments());
    }

    #[test]
    fn nobody_counted_is_no_units_and_not_a_number_out_of_nothing() {
        assert_eq!(Sums::default().moments(), Moments::default());
        assert_eq!(Moments::default().variance(), None);
    }

    proptest! {
        #[test]
        fn any_order_of_merging_gives_the_same_moments(
            values in prop::collection::vec(-1e6_f64..1e6, 2..200), cut in 0_usize..200, seed in 0_u64..100,
        ) {
            // What must never change: merged parts equal the whole, in whatever order they come.
            let mut whole = Sums::default();
            values.iter().for_each(|value| whole.add(*value));
            let mut shuffled = values.clone();
            let length = shuffled.len();
            for index in 0..length {
                shuffled.swap(index, (index * 7 + seed as usize * 13) % length);
            }
            let (left, right) = shuffled.split_at(cut.min(length));
            let (mut first, mut second) = (Sums::default(), Sums::default());
            left.iter().for_each(|value| first.add(*value));
            right.iter().for_each(|value| second.add(*value));
            second.merge(&first);
            let (a, b, c) = (whole.moments(), second.moments(), Moments::from_values(&values));
            prop_assert_eq!(a.n, b.n);
            prop_assert!(close(a.mean, b.mean, 1e-15) && close(a.m2, b.m2, 1e-15));
            prop_assert!(close(a.mean, c.mean, 1e-10) && close(a.m2, c.m2, 1e-10));
        }

        #[test]
        fn what_is_taken_out_leaves_no_trace(values in prop::collection::vec(-1e3_f64..1e3, 1..50), extra in -1e9_f64..1e9) {
            let mut sums = Sums::default();
            values.iter().for_each(|value| sums.add(*value));
            let before = sums.moments();
            sums.add(extra);
            sums.replace(extra, extra / 2.0);
            sums.remove(extra / 2.0);
            let after = sums.moments();
            prop_assert!(close(before.mean, after.mean, 1e-12) && close(before.m2, after.m2, 1e-9));
        }

        #[test]
        fn merged_moments_equal_moments_of_all(left in prop::collection::vec(-1e3_f64..1e3, 0..50), right in prop::collection::vec(-1e3_f64..1e3, 0..50)) {
            let merged = Moments::from_values(&left).merged(Moments::from_values(&right));
            let all = Moments::from_values(&[left, right].concat());
            prop_assert_eq!(merged.n, all.n);
            prop_assert!(close(merged.mean, all.mean, 1e-12) && close(merged.m2, all.m2, 1e-10));
        }
    }
}
