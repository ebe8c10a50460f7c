//! Samples as methods read them: a count, means to twice the digits of `f64`, and centred second moments.
//!
//! Sums of squares are centred exactly (double-double arithmetic); what the sums themselves have lost is said.

use domain::Moments;
use domain::summary::DoubleDouble;

use crate::error::{StatsError, check_finite};

/// A variance below this many rounding errors of the sum of squares is made of rounding.
const ROUNDING_ERRORS: f64 = 64.0;

/// A centred moment below this share of the terms it is made of is rounding and stands for 0.
const NOTHING_LEFT: f64 = 1e-14;

/// A sample of one value per unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The number of units.
    pub n: u64,
    /// The mean.
    pub mean: DoubleDouble,
    /// The centred second moment Σ(x − mean)².
    pub m2: f64,
    /// Whether the sums it came from have lost the digits that the variance is made of.
    pub ill_conditioned: bool,
}

impl From<Moments> for Sample {
    fn from(moments: Moments) -> Self {
        Self {
            n: moments.n,
            mean: DoubleDouble::from_f64(moments.mean),
            m2: moments.m2,
            ill_conditioned: false,
        }
    }
}

/// Plain sums over units, as tables hold them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlainSums {
    /// The number of units.
    pub n: u64,
    /// Σx.
    pub sum: f64,
    /// Σx².
    pub sum_squares: f64,
}

impl Sample {
    /// The sample behind plain sums; its second moment is negative when they contradict each other.
    ///
    /// # Errors
    /// When a sum is not finite or there is no unit.
    pub fn from_sums(sums: PlainSums) -> Result<Self, StatsError> {
        check_finite("sum", sums.sum)?;
        check_finite("sum_squares", sums.sum_squares)?;
        if sums.n == 0 {
            return Err(too_few("the sample", 0, 1));
        }
        let mean = DoubleDouble::from_f64(sums.sum).divided_by(sums.n as f64);
        let m2 = DoubleDouble::from_f64(sums.sum_squares)
            .minus(mean.times(DoubleDouble::from_f64(sums.sum)))
            .to_f64();
        let noise = f64::EPSILON * sums.sum_squares;
        // Below the precision of the centring itself the rest is nothing, not a tiny negative number.
        let m2 = if m2.abs() <= 1e-28 * sums.sum_squares {
            0.0
        } else {
            m2
        };
        Ok(Self {
            n: sums.n,
            mean,
            m2,
            ill_conditioned: m2 < ROUNDING_ERRORS * noise && m2.abs() > 0.0,
        })
    }

    /// The sample of single values, in two passes: the mean keeps digits that `f64` has not where values share an offset.
    pub fn from_values(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        // Values are taken relative to the first, so that neither sum overflows where they lie close together.
        let first = values.first().copied().unwrap_or(0.0);
        let exact = DoubleDouble::from_f64;
        let sum = values.iter().fold(exact(0.0), |sum, value| {
            sum.plus(exact(*value).minus(exact(first)))
        });
        let shift = sum.divided_by(n);
        let distance = |value: &f64| exact(*value).minus(exact(first)).minus(shift).to_f64();
        Self {
            n: values.len() as u64,
            mean: exact(first).plus(shift),
            m2: values.iter().map(|value| distance(value).powi(2)).sum(),
            ill_conditioned: false,
        }
    }

    /// A sample from its count, mean and unbiased variance.
    pub fn from_variance(n: u64, mean: f64, variance: f64) -> Self {
        Self {
            n,
            mean: DoubleDouble::from_f64(mean),
            m2: variance * (n.max(1) - 1) as f64,
            ill_conditioned: false,
        }
    }

    /// The unbiased variance; 0 for one unit, negative when the sums contradict each other.
    pub fn raw_variance(&self) -> f64 {
        if self.n < 2 {
            0.0
        } else {
            self.m2 / (self.n - 1) as f64
        }
    }

    /// The unbiased variance.
    ///
    /// # Errors
    /// [`StatsError::TooFewUnits`] below two units, [`StatsError::NegativeVariance`] for sums that contradict each other.
    pub fn variance(&self, arm: &'static str) -> Result<f64, StatsError> {
        if self.n < 2 {
            return Err(too_few(arm, self.n, 2));
        }
        check_finite(arm, self.mean.to_f64())?;
        check_finite(arm, self.m2)?;
        if self.m2 < 0.0 {
            return Err(StatsError::NegativeVariance {
                field: arm.to_owned(),
            });
        }
        Ok(self.raw_variance())
    }
}

/// A sample of two values per unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointSample {
    /// The first value: the numerator, or the outcome.
    pub x: Sample,
    /// The second value: the denominator, or the covariate.
    pub y: Sample,
    /// The centred cross moment Σ(x − x̄)(y − ȳ).
    pub cross: f64,
}

impl JointSample {
    /// The sample behind plain sums and Σxy.
    ///
    /// # Errors
    /// When a sum is not finite, there is no unit, or the sums contradict each other.
    pub fn from_sums(x: PlainSums, y: PlainSums, cross_sum: f64) -> Result<Self, StatsError> {
        check_finite("cross_sum", cross_sum)?;
        let (x_sample, y_sample) = (Sample::from_sums(x)?, Sample::from_sums(y)?);
        let cross = DoubleDouble::from_f64(cross_sum)
            .minus(x_sample.mean.times(DoubleDouble::from_f64(y.sum)))
            .to_f64();
        let noise = 1e-28 * (x.sum_squares * y.sum_squares).sqrt();
        Ok(Self {
            x: x_sample,
            y: y_sample,
            cross: if cross.abs() <= noise { 0.0 } else { cross },
        })
    }

    /// The number of units.
    pub fn n(&self) -> u64 {
        self.x.n
    }

    /// The centred second moment of x − factor·y, 0 where nothing but rounding is left.
    pub fn residual_m2(&self, factor: f64) -> f64 {
        let terms = self.x.m2 + factor * factor * self.y.m2;
        let m2 = terms - 2.0 * factor * self.cross;
        if m2.abs() <= NOTHING_LEFT * terms { 0.0 } else { m2 }
    }

    /// The joint sample of both sets of units.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let (left, right) = (self.n() as f64, other.n() as f64);
        let weight = left * right / (left + right);
        let shift_x = other.x.mean.minus(self.x.mean).to_f64();
        let shift_y = other.y.mean.minus(self.y.mean).to_f64();
        Self {
            x: self.x.merged(&other.x),
            y: self.y.merged(&other.y),
            cross: self.cross + other.cross + shift_x * shift_y * weight,
        }
    }
}

impl Sample {
    /// The sample of both sets of units (Chan, Golub, LeVeque 1983).
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        if self.n == 0 || other.n == 0 {
            return if self.n == 0 { *other } else { *self };
        }
        let (left, right) = (self.n as f64, other.n as f64);
        let shift = other.mean.minus(self.mean).to_f64();
        Self {
            n: self.n + other.n,
            mean: self
                .mean
                .plus(DoubleDouble::from_f64(shift * (right / (left + right)))),
            m2: self.m2 + other.m2 + shift * shift * (left * right / (left + right)),
            ill_conditioned: self.ill_conditioned || other.ill_conditioned,
        }
    }
}

/// The reason that `arm` has too few units.
pub fn too_few(arm: &'static str, units: u64, needed: u64) -> StatsError {
    StatsError::TooFewUnits { arm, units, needed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_at_an_offset_of_a_billion_are_centred_exactly() {
        // Two units, 1e9 and 1e9 + 2: the sum of squares is exact here, so the variance is exactly 2.
        let (a, b) = (1e5, 1e5 + 2.0);
        let sums = PlainSums {
            n: 2,
            sum: a + b,
            sum_squares: a * a + b * b,
        };
        let sample = Sample::from_sums(sums).unwrap();
        assert!((sample.raw_variance() - 2.0).abs() < 1e-15);
        assert!(!sample.ill_conditioned);
    }

    #[test]
    fn values_at_an_offset_of_a_billion_keep_the_digits_of_their_mean() {
        // The mean of three is no `f64` at this offset: a third is left over.
        let sample = Sample::from_values(&[1e9, 1e9 + 1.0, 1e9 + 3.0]);
        let rest = sample.mean.minus(DoubleDouble::from_f64(1e9)).to_f64();
        assert!((rest - 4.0 / 3.0).abs() < 1e-15, "{rest}");
        assert!((sample.m2 - 14.0 / 3.0).abs() < 1e-14);
        assert_eq!(Sample::from_values(&[1e300; 3]).m2.to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn sums_that_contradict_each_other_are_named() {
        let sums = PlainSums {
            n: 10,
            sum: 10.0,
            sum_squares: 9.0,
        };
        let sample = Sample::from_sums(sums).unwrap();
        assert!(matches!(
            sample.variance("control"),
            Err(StatsError::NegativeVariance { .. })
        ));
    }
}
