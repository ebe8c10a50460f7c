//! The chance that a posterior decides: that its credible interval leaves 0 out on the side of the effect.
//!
//! The estimate is normal with a standard error that falls with the units, the prior of the difference is normal. Exact
//! for that model; with a design prior on the effect it is the assurance (O'Hagan, Stevens and Campbell 2005).

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_finite, check_not_negative, check_positive, check_rate};
use crate::special::normal;

/// What is believed and what would be decided on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Belief {
    /// The variance of one unit's value.
    pub variance: f64,
    /// Treatment units per control unit.
    pub allocation: f64,
    /// The analysis prior of the difference: its mean.
    pub prior_mean: f64,
    /// Its standard deviation; flat when absent.
    pub prior_sd: Option<f64>,
    /// One minus the level of the credible interval.
    pub alpha: f64,
    /// The standard deviation of what the effect itself is believed to be when planning; 0 for a known effect.
    pub effect_sd: f64,
}

impl Belief {
    /// The chance that the interval lies above 0 for a positive effect, below for a negative one.
    fn power(&self, units: f64, effect: f64) -> f64 {
        let variance = self.variance * (1.0 + 1.0 / self.allocation) / units;
        let critical = normal::isf(0.5 * self.alpha);
        let sign = if effect < 0.0 { -1.0 } else { 1.0 };
        // The interval leaves 0 out when the estimate exceeds this.
        let least = match self.prior_sd {
            None => critical * variance.sqrt(),
            Some(sd) => {
                let prior = sd * sd;
                critical * (variance * (variance + prior) / prior).sqrt()
                    - sign * self.prior_mean * variance / prior
            }
        };
        let spread = (variance + self.effect_sd * self.effect_sd).sqrt();
        normal::sf((least - sign * effect) / spread)
    }

    /// Finds what is left out of units, effect and power.
    ///
    /// # Errors
    /// As the crate's other designs: an input out of range, or no solution, also where a prior against the effect or an
    /// uncertain effect keeps the chance below what is asked for.
    pub fn solve(&self, known: Known) -> Result<Solved, StatsError> {
        check_positive("variance", self.variance)?;
        check_positive("ratio_n2_over_n1", self.allocation)?;
        check_rate("alpha", self.alpha)?;
        check_finite("prior_mean", self.prior_mean)?;
        check_not_negative("effect_sd", self.effect_sd)?;
        if let Some(sd) = self.prior_sd {
            check_positive("prior_sd", sd)?;
        }
        let curve = Curve {
            at: &|units, effect| Ok(self.power(units, effect)),
            least_units: 2.0,
            most_units: MOST_UNITS,
            small_effect: 1e-3 * (self.variance / known.units.unwrap_or(1.0)).sqrt(),
            most_effect: f64::INFINITY,
            whole: false,
        };
        curve.solve(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bayes::effect::{EffectPrior, posterior};

    const FLAT: Belief = Belief {
        variance: 4.0,
        allocation: 1.0,
        prior_mean: 0.0,
        prior_sd: None,
        alpha: 0.05,
        effect_sd: 0.0,
    };

    #[test]
    fn a_flat_prior_needs_what_the_normal_test_needs() {
        let known = Known {
            units: None,
            effect: Some(0.2),
            power: Some(0.8),
        };
        let sized = FLAT.solve(known).unwrap();
        let test = crate::design::means::TwoMeans::equal(4.0, 0.05);
        assert!((sized.units / test.sample_size_normal(0.2, 0.8).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_threshold_is_where_the_analysis_interval_leaves_0_out() {
        // What must never change: planning and analysis use the same posterior.
        let belief = Belief {
            prior_mean: 0.05,
            prior_sd: Some(0.1),
            ..FLAT
        };
        for (units, effect) in [(300.0, 0.2), (2_000.0, -0.3)] {
            let power = belief.power(units, effect);
            let error = f64::sqrt(8.0 / units);
            let sign = f64::signum(effect);
            let least = effect - sign * error * normal::quantile(power);
            let prior = EffectPrior::Normal {
                mean: 0.05,
                variance: 0.01,
            };
            let found = posterior(least, error, prior, 0.05).unwrap();
            let interval = found.interval;
            let end = if effect > 0.0 {
                interval.lower
            } else {
                interval.upper
            };
            assert!(end.unwrap().abs() < 1e-9, "{units} {effect} {interval:?}");
        }
    }

    #[test]
    fn assurance_stays_below_the_chance_that_the_effect_is_good() {
        let unsure = Belief {
            effect_sd: 0.2,
            ..FLAT
        };
        let at = |units| Known {
            units: Some(units),
            effect: Some(0.2),
            power: None,
        };
        let limit = unsure.solve(at(1e12)).unwrap().power;
        assert!((limit - normal::cdf(1.0)).abs() < 1e-4, "{limit}");
        let asked = Known {
            units: None,
            effect: Some(0.2),
            power: Some(0.9),
        };
        assert!(matches!(unsure.solve(asked), Err(StatsError::NoSolution { .. })));
    }
}
