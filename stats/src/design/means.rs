//! Power of tests on means, and of everything that is nearly a mean: ratios by their unit variance, adjusted means by
//! the variance that adjustment leaves, capped means, equivalence.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate, is_positive};
use crate::frequentist::contrast::Alternative;
use crate::special::roots::{Bracket, brent};
use crate::special::{noncentral, normal, student_t};

/// Two groups whose means are compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TwoMeans {
    /// The variance of one unit's value in the control.
    pub variance_control: f64,
    /// The variance of one unit's value in the treatment.
    pub variance_treatment: f64,
    /// Treatment units per control unit.
    pub allocation: f64,
    /// The error rate.
    pub alpha: f64,
    /// Two-sided, or one direction.
    pub alternative: Alternative,
}

/// The largest number of units per group that is looked for.
const MOST_UNITS: f64 = 1e15;

impl TwoMeans {
    /// Two equal groups with one variance, two-sided.
    pub fn equal(variance: f64, alpha: f64) -> Self {
        Self {
            variance_control: variance,
            variance_treatment: variance,
            allocation: 1.0,
            alpha,
            alternative: Alternative::TwoSided,
        }
    }

    /// The same comparison after adjustment for covariates that correlate with the outcome by `correlation`.
    ///
    /// # Errors
    /// When the correlation lies outside −1 to 1.
    pub fn adjusted(self, correlation: f64) -> Result<Self, StatsError> {
        if !is_positive(1.0 - correlation.abs()) {
            return Err(StatsError::invalid("correlation", "must lie between -1 and 1"));
        }
        let left = (1.0 - correlation) * (1.0 + correlation);
        Ok(Self {
            variance_control: self.variance_control * left,
            variance_treatment: self.variance_treatment * left,
            ..self
        })
    }

    fn check(&self) -> Result<(), StatsError> {
        check_rate("alpha", self.alpha)?;
        check_positive("variance", self.variance_control)?;
        check_positive("variance", self.variance_treatment)?;
        check_positive("allocation", self.allocation)?;
        Ok(())
    }

    /// The standard error with `n` units in the control.
    fn standard_error(&self, n: f64) -> f64 {
        ((self.variance_control + self.variance_treatment / self.allocation) / n).sqrt()
    }

    /// The error rate of each side that is tested.
    fn side_alpha(&self) -> f64 {
        if self.alternative == Alternative::TwoSided {
            0.5 * self.alpha
        } else {
            self.alpha
        }
    }

    /// The effect in the tested direction.
    fn directed(&self, effect: f64) -> f64 {
        if self.alternative == Alternative::Less {
            -effect
        } else {
            effect
        }
    }

    fn degrees_of_freedom(&self, n: f64) -> f64 {
        let (left, right) = (self.variance_control, self.variance_treatment / self.allocation);
        let total = left + right;
        let (left, right) = (left / total, right / total);
        let parts = [
            left * left / (n - 1.0),
            right * right / (n * self.allocation - 1.0),
        ];
        if (self.variance_control / self.variance_treatment - 1.0).abs() < 1e-12 {
            // With one variance the pooled test applies.
            return n * (1.0 + self.allocation) - 2.0;
        }
        1.0 / (parts[0] + parts[1])
    }

    /// The power of the t-test with `n` units in the control: the chance to detect `effect`.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] for a value out of range, also fewer than two units.
    pub fn power(&self, n: f64, effect: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_finite("effect", effect)?;
        if !(n > 1.0 && n * self.allocation > 1.0 && n.is_finite()) {
            return Err(StatsError::invalid("n", "must be above 1 in each group"));
        }
        Ok(self.power_unchecked(n, effect))
    }

    fn power_unchecked(&self, n: f64, effect: f64) -> f64 {
        let df = self.degrees_of_freedom(n);
        let critical = student_t::isf(self.side_alpha(), df);
        let shift = self.directed(effect) / self.standard_error(n);
        let near = noncentral::t_sf(critical, df, shift);
        if self.alternative == Alternative::TwoSided {
            (near + noncentral::t_sf(critical, df, -shift)).min(1.0)
        } else {
            near
        }
    }

    /// The power of the normal test, which large samples may use.
    ///
    /// # Errors
    /// As [`TwoMeans::power`].
    pub fn power_normal(&self, n: f64, effect: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_finite("effect", effect)?;
        check_positive("n", n)?;
        let critical = normal::isf(self.side_alpha());
        let shift = self.directed(effect) / self.standard_error(n);
        let near = normal::sf(critical - shift);
        if self.alternative == Alternative::TwoSided {
            return Ok(near + normal::sf(critical + shift));
        }
        Ok(near)
    }

    /// Units in the control, at least 2 and not rounded, for the t-test to detect `effect` with the given power.
    ///
    /// # Errors
    /// [`StatsError::NoSolution`] for an effect of 0 or against the tested direction.
    pub fn sample_size(&self, effect: f64, power: f64) -> Result<f64, StatsError> {
        let guess = self.sample_size_normal(effect, power)?;
        let least = (1.0 / self.allocation).max(1.0) * (1.0 + 1e-6);
        let gap = |n: f64| self.power_unchecked(n, effect) - power;
        let low = (0.5 * guess).max(least);
        let low = if gap(low) < 0.0 { low } else { least };
        if gap(low) >= 0.0 {
            // Even the smallest groups that have a variance are enough.
            return Ok(low.max(2.0));
        }
        let mut high = (2.0 * guess).max(4.0 * least);
        while gap(high) < 0.0 {
            high *= 2.0;
            if high > MOST_UNITS {
                return Err(too_small());
            }
        }
        // A group of one unit has no variance, whatever the effect.
        Ok(brent("the sample size", Bracket::new(low, high), 1e-9, gap)?.max(2.0))
    }

    /// Units in the control by the normal approximation, not rounded.
    ///
    /// # Errors
    /// As [`TwoMeans::sample_size`].
    pub fn sample_size_normal(&self, effect: f64, power: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_finite("effect", effect)?;
        check_rate("power", power)?;
        let z = normal::isf(self.side_alpha()) + normal::quantile(power);
        let directed = if self.alternative == Alternative::TwoSided {
            effect.abs()
        } else {
            self.directed(effect)
        };
        if !is_positive(directed) || z <= 0.0 {
            return Err(too_small());
        }
        let n = (z * self.standard_error(1.0) / directed).powi(2);
        if n.is_finite() && n < MOST_UNITS {
            Ok(n)
        } else {
            Err(too_small())
        }
    }

    /// The effect that `n` units in the control detect with the given power, by the normal approximation.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] for a value out of range.
    pub fn detectable_effect(&self, n: f64, power: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_positive("n", n)?;
        check_rate("power", power)?;
        let z = normal::isf(self.side_alpha()) + normal::quantile(power);
        Ok(z * self.standard_error(n))
    }

    /// The power of two one-sided tests to show that a true difference of `effect` lies within ±margin.
    ///
    /// # Errors
    /// [`StatsError::InvalidInput`] for a value out of range.
    pub fn equivalence_power(&self, n: f64, effect: f64, margin: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_positive("n", n)?;
        check_positive("margin", margin)?;
        check_finite("effect", effect)?;
        let critical = normal::isf(self.alpha);
        let standard_error = self.standard_error(n);
        let upper = (margin - effect) / standard_error - critical;
        let lower = (-margin - effect) / standard_error + critical;
        Ok(normal::ln_between(lower, upper).exp())
    }
}

fn too_small() -> StatsError {
    StatsError::NoSolution {
        what: "the sample size",
        why: "the effect is 0, against the tested direction, or too small for any number of units",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_powers_and_sizes_hold() {
        // R: power.t.test(n = 20, delta = 1) 0.8689528; (power = .90, delta = 1, one-sided) 17.84713.
        let equal = TwoMeans::equal(1.0, 0.05);
        assert!((equal.power(20.0, 1.0).unwrap() - 0.868_952_8).abs() < 1e-6);
        let one_sided = TwoMeans {
            alternative: Alternative::Greater,
            ..equal
        };
        assert!((one_sided.sample_size(1.0, 0.9).unwrap() - 17.847_13).abs() < 1e-4);
    }

    #[test]
    fn size_power_and_effect_invert_each_other() {
        let plan = TwoMeans {
            variance_treatment: 3.0,
            allocation: 0.25,
            ..TwoMeans::equal(2.0, 0.01)
        };
        let n = plan.sample_size(0.1, 0.9).unwrap();
        assert!((plan.power(n, 0.1).unwrap() - 0.9).abs() < 1e-6);
        let normal = plan.sample_size_normal(0.1, 0.9).unwrap();
        assert!((plan.detectable_effect(normal, 0.9).unwrap() - 0.1).abs() < 1e-12);
        assert!(plan.sample_size(0.0, 0.9).is_err());
    }

    #[test]
    fn adjustment_saves_the_square_of_the_correlation() {
        let plan = TwoMeans::equal(2.0, 0.05);
        let ratio = plan.adjusted(0.6).unwrap().sample_size_normal(0.1, 0.8).unwrap()
            / plan.sample_size_normal(0.1, 0.8).unwrap();
        assert!((ratio - 0.64).abs() < 1e-12);
        assert!(plan.adjusted(1.0).is_err());
    }

    #[test]
    fn equivalence_needs_room() {
        let plan = TwoMeans::equal(1.0, 0.05);
        assert!(plan.equivalence_power(2_000.0, 0.0, 0.1).unwrap() > 0.85);
        assert!(plan.equivalence_power(2_000.0, 0.1, 0.1).unwrap() < 0.051);
    }
}
