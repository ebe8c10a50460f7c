//! Design of the exact tests of two proportions, for whole units; the effect is the treatment's rate less the control's.
//!
//! Exact power moves in a saw over units: a size that is found has the power and one unit less has not, but a larger one
//! may dip below by a tooth again (Chernick and Liu 2002).

use super::{Curve, Known, Solved};
use crate::error::{StatsError, check_positive, check_rate};
use crate::frequentist::exact::power::{ExactTest, power};

/// Two proportions that are tested exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactDesign {
    /// The test.
    pub test: ExactTest,
    /// The control's rate.
    pub control: f64,
    /// Treatment units per control unit.
    pub allocation: f64,
    /// The error rate.
    pub alpha: f64,
}

impl ExactDesign {
    fn units(&self, control: f64) -> [u64; 2] {
        let whole = (control + 1e-9).floor();
        [whole as u64, (whole * self.allocation).round().max(1.0) as u64]
    }

    /// Finds what is left out of units, effect and power.
    ///
    /// # Errors
    /// [`StatsError::TooLarge`] and [`StatsError::NoSolution`] beyond [`ExactTest::most_units`], or an input error.
    pub fn solve(&self, known: Known) -> Result<Solved, StatsError> {
        check_rate("baseline", self.control)?;
        check_positive("ratio_n2_over_n1", self.allocation)?;
        let most = self.test.most_units() as f64;
        let curve = Curve {
            at: &|units, effect| {
                let rates = [self.control, self.control + effect];
                power(self.test, self.alpha, self.units(units), rates)
            },
            least_units: 2.0,
            most_units: ((most - 1.0) / (1.0 + self.allocation)).floor().max(2.0),
            small_effect: 1e-3 * (1.0 - self.control),
            most_effect: (1.0 - self.control) * (1.0 - 1e-9),
            whole: true,
        };
        curve.solve(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FISHER: ExactDesign = ExactDesign {
        test: ExactTest::Fisher,
        control: 0.1,
        allocation: 1.0,
        alpha: 0.05,
    };

    #[test]
    fn the_size_found_is_enough_and_one_less_is_not() {
        for test in [ExactTest::Fisher, ExactTest::Barnard, ExactTest::Boschloo] {
            let plan = ExactDesign { test, ..FISHER };
            let size = Known {
                units: None,
                effect: Some(0.4),
                power: Some(0.8),
            };
            let sized = plan.solve(size).unwrap();
            assert!(sized.power >= 0.8, "{sized:?}");
            let less = Known {
                units: Some(sized.units - 1.0),
                effect: Some(0.4),
                power: None,
            };
            assert!(plan.solve(less).unwrap().power < 0.8, "{sized:?}");
            let back = Known {
                units: Some(sized.units),
                effect: None,
                power: Some(0.8),
            };
            assert!(plan.solve(back).unwrap().effect <= 0.4 + 1e-9);
        }
    }

    #[test]
    fn the_normal_size_is_near() {
        // Fisher's test needs about 2/|difference| units more per arm than the pooled z (Casagrande et al. 1978).
        let size = Known {
            units: None,
            effect: Some(0.1),
            power: Some(0.8),
        };
        let exact = FISHER.solve(size).unwrap().units;
        let rates = crate::design::proportions::TwoRates {
            control: 0.1,
            treatment: 0.2,
            alpha: 0.05,
            power: 0.8,
            sides: 2,
        };
        let pooled = rates.sample_sizes().unwrap().pooled;
        assert!((exact - pooled - 20.0).abs() < 8.0, "{exact} {pooled}");
    }
}
