//! Design of Dunnett's test: several treatments of one size against one control.

use serde::Serialize;

use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_positive, check_rate};
use crate::frequentist::contrast::Alternative;
use crate::multiple::dunnett::power::{Reach, reach};
use crate::multiple::dunnett::{Shape, critical_value};

/// The most units of one arm per unit of another: beyond, the integration would need finer steps.
const MOST_UNEVEN: f64 = 100.0;

/// Which success is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Success {
    /// A given treatment is found.
    One,
    /// At least one treatment is found, when all have the effect.
    Any,
    /// Every treatment is found, when all have the effect.
    All,
}

/// Several treatments against a control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ManyToOne {
    /// How many treatments.
    pub treatments: usize,
    /// The variance of one unit's value, the same in all arms.
    pub variance: f64,
    /// Units of each treatment per control unit.
    pub allocation: f64,
    /// The error rate over all comparisons.
    pub alpha: f64,
    /// Two-sided, or an effect above 0.
    pub alternative: Alternative,
    /// Which success is planned for.
    pub success: Success,
}

/// What was found, with the other two powers at the same units and effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ManyToOneDesign {
    /// Units, effect and the power that was planned for.
    #[serde(flatten)]
    pub solved: Solved,
    /// All three powers.
    pub reach: Reach,
    /// The critical value of the statistic.
    pub critical: f64,
}

impl ManyToOne {
    fn shape(&self, units: f64) -> Shape {
        let arms = self.treatments as f64;
        Shape {
            treatments: self.treatments,
            df: units * (1.0 + arms * self.allocation) - arms - 1.0,
            rho: self.allocation / (1.0 + self.allocation),
            alternative: self.alternative,
        }
    }

    fn reach(&self, units: f64, effect: f64) -> Result<(Reach, f64), StatsError> {
        let shape = self.shape(units);
        let critical = critical_value(shape, self.alpha)?;
        let error = (self.variance * (1.0 + 1.0 / self.allocation) / units).sqrt();
        let directed = match self.alternative {
            Alternative::TwoSided => effect.abs(),
            Alternative::Greater => effect,
            Alternative::Less => -effect,
        };
        let up = match self.alternative {
            Alternative::Less => Alternative::Greater,
            other => other,
        };
        let turned = Shape {
            alternative: up,
            ..shape
        };
        Ok((reach(turned, critical, directed / error), critical))
    }

    /// Finds what is left out of units, effect and power.
    ///
    /// # Errors
    /// As the crate's other designs: an input out of range, or no solution.
    pub fn solve(&self, known: Known) -> Result<ManyToOneDesign, StatsError> {
        check_rate("alpha", self.alpha)?;
        check_positive("variance", self.variance)?;
        if !(1.0 / MOST_UNEVEN..=MOST_UNEVEN).contains(&self.allocation) {
            return Err(StatsError::invalid(
                "ratio_n2_over_n1",
                "must lie between 0.01 and 100",
            ));
        }
        // The count is checked by the critical value.
        let chosen = |reach: Reach| match self.success {
            Success::One => reach.one,
            Success::Any => reach.any,
            Success::All => reach.all,
        };
        let curve = Curve {
            at: &|units, effect| self.reach(units, effect).map(|(reach, _)| chosen(reach)),
            least_units: 2.0 / self.allocation.min(1.0),
            most_units: MOST_UNITS,
            small_effect: 1e-3 * (self.variance / known.units.unwrap_or(1.0)).sqrt(),
            most_effect: f64::INFINITY,
            whole: false,
        };
        let solved = curve.solve(known)?;
        let (reach, critical) = self.reach(solved.units, solved.effect)?;
        Ok(ManyToOneDesign {
            solved,
            reach,
            critical,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::means::TwoMeans;

    const THREE: ManyToOne = ManyToOne {
        treatments: 3,
        variance: 4.0,
        allocation: 1.0,
        alpha: 0.05,
        alternative: Alternative::TwoSided,
        success: Success::One,
    };

    const SIZE: Known = Known {
        units: None,
        effect: Some(0.5),
        power: Some(0.8),
    };

    #[test]
    fn one_treatment_is_the_t_test() {
        let one = ManyToOne {
            treatments: 1,
            ..THREE
        };
        let sized = one.solve(SIZE).unwrap().solved.units;
        let test = TwoMeans::equal(4.0, 0.05).sample_size(0.5, 0.8).unwrap();
        assert!((sized / test - 1.0).abs() < 1e-6, "{sized} {test}");
    }

    #[test]
    fn size_and_effect_invert_each_other_for_every_success() {
        let mut sizes = Vec::new();
        for success in [Success::Any, Success::One, Success::All] {
            let plan = ManyToOne { success, ..THREE };
            let sized = plan.solve(SIZE).unwrap().solved;
            assert!((sized.power - 0.8).abs() < 1e-8, "{sized:?}");
            let back = Known {
                units: Some(sized.units),
                effect: None,
                power: Some(0.8),
            };
            let found = plan.solve(back).unwrap().solved.effect;
            assert!((found / 0.5 - 1.0).abs() < 1e-8, "{found}");
            sizes.push(sized.units);
        }
        // To find any is easier than one, and one than all.
        assert!(sizes.is_sorted_by(|left, right| left < right), "{sizes:?}");
        // Dunnett's needs less than Bonferroni's.
        let bonferroni = TwoMeans::equal(4.0, 0.05 / 3.0).sample_size(0.5, 0.8).unwrap();
        assert!(
            sizes[1] < bonferroni && sizes[1] > 0.9 * bonferroni,
            "{sizes:?} {bonferroni}"
        );
    }

    #[test]
    fn direction_counts_where_one_side_is_tested() {
        let less = ManyToOne {
            alternative: Alternative::Less,
            ..THREE
        };
        let down = Known {
            effect: Some(-0.5),
            ..SIZE
        };
        assert!(less.solve(down).is_ok());
        assert!(matches!(less.solve(SIZE), Err(StatsError::NoSolution { .. })));
    }
}
