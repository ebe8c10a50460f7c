//! Sample size and power for two proportions and two rates.

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// Two success rates with an error rate and a power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoRates {
    /// The control's rate.
    pub control: f64,
    /// The treatment's rate.
    pub treatment: f64,
    /// The error rate.
    pub alpha: f64,
    /// The power.
    pub power: f64,
    /// One side or two.
    pub sides: u32,
}

/// Units per group by several formulas, not rounded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProportionSizes {
    /// With the common rate under no effect: for the pooled z-test, the default.
    pub pooled: f64,
    /// With each group's own rate.
    pub unpooled: f64,
    /// By the arcsine transformation (Cohen 1988).
    pub arcsine: f64,
    /// With the control's rate under no effect.
    pub baseline: f64,
}

impl TwoRates {
    fn check(&self) -> Result<(), StatsError> {
        check_rate("alpha", self.alpha)?;
        check_rate("power", self.power)?;
        check_rate("p1", self.control)?;
        check_rate("p2", self.treatment)?;
        if !(1..=2).contains(&self.sides) {
            return Err(StatsError::invalid("sided", "must be 1 or 2"));
        }
        if (self.control - self.treatment).abs() < f64::EPSILON * self.control {
            return Err(StatsError::NoSolution {
                what: "the sample size",
                why: "the rates are equal",
            });
        }
        Ok(())
    }

    fn z_alpha(&self) -> f64 {
        normal::isf(self.alpha / f64::from(self.sides))
    }

    /// Units per group for the power asked for.
    ///
    /// # Errors
    /// [`StatsError::NoSolution`] for equal rates, or an input error.
    pub fn sample_sizes(&self) -> Result<ProportionSizes, StatsError> {
        self.check()?;
        let (p, q) = (self.control, self.treatment);
        let (za, zb) = (self.z_alpha(), normal::quantile(self.power));
        let (left, right) = (p * (1.0 - p), q * (1.0 - q));
        let mean = 0.5 * (p + q);
        let gap = (q - p).abs();
        let size = |null: f64| ((za * null.sqrt() + zb * (left + right).sqrt()) / gap).powi(2);
        Ok(ProportionSizes {
            pooled: size(2.0 * mean * (1.0 - mean)),
            unpooled: size(left + right),
            arcsine: self.arcsine_size(za, zb)?,
            baseline: size(2.0 * left),
        })
    }

    /// Units per group on the arcsine scale, where the far side of a two-sided test counts too.
    fn arcsine_size(&self, za: f64, zb: f64) -> Result<f64, StatsError> {
        let effect = 2.0 * (self.treatment.sqrt().asin() - self.control.sqrt().asin()).abs();
        let size = 2.0 * ((za + zb) / effect).powi(2);
        if self.sides == 1 {
            return Ok(size);
        }
        let power = |n: f64| {
            let shift = effect * (0.5 * n).sqrt();
            normal::sf(za - shift) + normal::sf(za + shift) - self.power
        };
        if power(0.0) >= 0.0 {
            return Ok(size);
        }
        brent(
            "the sample size",
            Bracket::new(0.0, 2.0 * size + 1.0),
            1e-9,
            power,
        )
    }

    /// The power of the pooled z-test with `n` units per group.
    ///
    /// # Errors
    /// As [`TwoRates::sample_sizes`].
    pub fn power_at(&self, n: f64) -> Result<f64, StatsError> {
        self.check()?;
        check_positive("n", n)?;
        let (p, q) = (self.control, self.treatment);
        let mean = 0.5 * (p + q);
        let null = (2.0 * mean * (1.0 - mean) / n).sqrt();
        let spread = ((p * (1.0 - p) + q * (1.0 - q)) / n).sqrt();
        let (gap, reach) = ((q - p).abs(), self.z_alpha() * null);
        let far = if self.sides == 2 {
            normal::sf((reach + gap) / spread)
        } else {
            0.0
        };
        Ok(normal::sf((reach - gap) / spread) + far)
    }

    /// The treatment's rate above the control's that `n` units per group detect with the power asked for.
    ///
    /// # Errors
    /// [`StatsError::NoSolution`] when even a rate of 1 is not detected.
    pub fn detectable(&self, n: f64) -> Result<f64, StatsError> {
        check_positive("n", n)?;
        let at = |treatment: f64| Self { treatment, ..*self };
        at(0.5 * (1.0 + self.control)).check()?;
        brent(
            "the detectable rate",
            Bracket::new(self.control * (1.0 + 1e-12), 1.0 - 1e-12),
            1e-15,
            |rate| {
                at(rate)
                    .power_at(n)
                    .map_or(-self.power, |power| power - self.power)
            },
        )
    }
}

/// Exposure per group for two Poisson rates, by the variance-stabilising square root.
///
/// # Errors
/// [`StatsError::NoSolution`] for equal rates, or an input error.
pub fn poisson_exposure(control: f64, treatment: f64, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_positive("rate_control", control)?;
    check_positive("rate_treatment", treatment)?;
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?) + normal::quantile(check_rate("power", power)?);
    let gap = (treatment.sqrt() - control.sqrt()).abs();
    if gap <= 0.0 {
        return Err(StatsError::NoSolution {
            what: "the exposure",
            why: "the rates are equal",
        });
    }
    Ok(0.5 * (z / gap).powi(2))
}

/// Units per group for the Mann–Whitney test to detect that the treatment exceeds with a chance of `chance` (Noether 1987).
///
/// # Errors
/// [`StatsError::NoSolution`] for a chance of one half, or an input error.
pub fn rank_test_size(chance: f64, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_rate("chance_greater", chance)?;
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?) + normal::quantile(check_rate("power", power)?);
    let gap = (chance - 0.5).abs();
    if gap <= 0.0 {
        return Err(StatsError::NoSolution {
            what: "the sample size",
            why: "a chance of one half is no effect",
        });
    }
    Ok((z / gap).powi(2) / 6.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(control: f64, treatment: f64, power: f64) -> TwoRates {
        TwoRates {
            control,
            treatment,
            alpha: 0.05,
            power,
            sides: 2,
        }
    }

    #[test]
    fn published_sizes_hold() {
        // R: power.prop.test(p1 = .5, p2 = .75, power = .9) 76.7; Evan Miller: 20 % and 5 points 1 030.
        assert!((plan(0.5, 0.75, 0.9).sample_sizes().unwrap().pooled - 76.7).abs() < 0.05);
        assert!((plan(0.2, 0.25, 0.8).sample_sizes().unwrap().baseline - 1030.0).abs() < 0.6);
    }

    #[test]
    fn size_power_and_rate_invert_each_other() {
        let plan = plan(0.01, 0.012, 0.8);
        let n = plan.sample_sizes().unwrap().pooled;
        assert!((plan.power_at(n).unwrap() - 0.8).abs() < 1e-6);
        assert!((plan.detectable(n).unwrap() - 0.012).abs() < 1e-8);
        assert!(
            TwoRates {
                treatment: 0.01,
                ..plan
            }
            .sample_sizes()
            .is_err()
        );
    }

    #[test]
    fn rates_and_ranks_have_sizes() {
        let exposure = poisson_exposure(1.0, 1.1, 0.05, 0.8).unwrap();
        assert!((exposure / 1_648.0 - 1.0).abs() < 0.01, "{exposure}");
        assert!((rank_test_size(0.6, 0.05, 0.8).unwrap() - 130.8).abs() < 0.1);
    }
}
