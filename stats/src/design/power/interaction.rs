//! Power of the test of interaction: do the effects in several segments differ at all?
//!
//! Cochran's Q over k segments is noncentral chi-square with k − 1 degrees of freedom and λ = Σ wᵢ(θᵢ − θ̄)², w being the
//! precisions of the segments' effects (Hedges and Pigott, Psychological Methods 2001). With one variance per unit that
//! is the number of units times the squared spread of effects, their standard deviation weighted by the segments' shares.

use super::sample_ratio::noncentral_sf;
use super::{Curve, Known, MOST_UNITS, Solved};
use crate::error::{StatsError, check_not_negative, check_positive, check_rate};
use crate::special::chi2;

/// Segments beyond which nobody would call the answer one test.
pub const MAX_SEGMENTS: u64 = 10_000;

/// A test of interaction that is to be planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interaction {
    /// The number of segments.
    pub segments: u64,
    /// The variance of one unit's value.
    pub variance: f64,
    /// Treatment units per control unit.
    pub allocation: f64,
    /// The error rate.
    pub alpha: f64,
}

impl Interaction {
    /// Finds what is left out of the control's units over all segments, the spread of effects, and power.
    ///
    /// # Errors
    /// As the crate's other designs: an input out of range, or no solution.
    pub fn solve(&self, known: Known) -> Result<Solved, StatsError> {
        check_positive("variance", self.variance)?;
        check_positive("ratio_n2_over_n1", self.allocation)?;
        check_rate("alpha", self.alpha)?;
        if !(2..=MAX_SEGMENTS).contains(&self.segments) {
            return Err(StatsError::invalid("segments", "must be from 2 to 10000"));
        }
        let df = (self.segments - 1) as f64;
        let critical = chi2::isf(self.alpha, df);
        // The difference of two means has the variance of a unit times 1 + 1/allocation over the control's units.
        let unit_variance = self.variance * (1.0 + 1.0 / self.allocation);
        let curve = Curve {
            at: &|units, spread| {
                check_not_negative("effect", spread)?;
                Ok(noncentral_sf(
                    critical,
                    df,
                    units * (spread * (spread / unit_variance)),
                ))
            },
            least_units: 2.0 * self.segments as f64,
            most_units: MOST_UNITS,
            small_effect: 1e-3 * (unit_variance / known.units.unwrap_or(1.0)).sqrt(),
            most_effect: f64::INFINITY,
            whole: false,
        };
        curve.solve(known)
    }
}

/// The spread of effects: their standard deviation weighted by the segments' shares of units.
///
/// # Errors
/// [`StatsError::InvalidInput`] when effects and shares are not as many, or a share is below 0.
pub fn spread(effects: &[f64], shares: &[f64]) -> Result<f64, StatsError> {
    if effects.len() != shares.len() {
        return Err(StatsError::invalid("shares", "must be one per effect"));
    }
    for share in shares {
        check_not_negative("shares", *share)?;
    }
    let total = check_positive("shares", shares.iter().sum())?;
    let weighted = |value: &dyn Fn(f64) -> f64| -> f64 {
        let pairs = effects.iter().zip(shares);
        pairs.map(|(effect, share)| share / total * value(*effect)).sum()
    };
    let mean = weighted(&|effect| effect);
    Ok(weighted(&|effect| (effect - mean) * (effect - mean)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heterogeneity::pooling::{Effect, analyze};
    use crate::random::SplitMix;
    use crate::special::normal;

    const PLAN: Interaction = Interaction {
        segments: 2,
        variance: 1.0,
        allocation: 1.0,
        alpha: 0.05,
    };

    #[test]
    fn two_segments_need_four_times_the_units_of_one_difference() {
        // Half of the units each, and twice the variance: the contrast of two effects of ±d/2 needs four times the units
        // that a main effect of d needs (Brookes et al. 2004).
        let known = Known {
            units: None,
            effect: Some(spread(&[0.0, 0.2], &[1.0, 1.0]).unwrap()),
            power: Some(0.8),
        };
        let solved = PLAN.solve(known).unwrap();
        let main = crate::design::means::TwoMeans::equal(1.0, 0.05)
            .sample_size_normal(0.2, 0.8)
            .unwrap();
        assert!(
            (solved.units / main / 4.0 - 1.0).abs() < 1e-5,
            "{solved:?} {main}"
        );
        let back = PLAN.solve(Known {
            units: Some(solved.units),
            effect: None,
            power: Some(0.8),
        });
        assert!((back.unwrap().effect - 0.1).abs() < 1e-9);
    }

    #[test]
    fn the_test_of_interaction_finds_as_often_as_planned() {
        let (effects, shares) = ([0.0, 0.05, 0.3, -0.1], [0.4, 0.3, 0.2, 0.1]);
        let plan = Interaction {
            segments: 4,
            allocation: 0.5,
            ..PLAN
        };
        let known = Known {
            units: Some(1_200.0),
            effect: Some(spread(&effects, &shares).unwrap()),
            power: None,
        };
        let promised = plan.solve(known).unwrap().power;
        let mut random = SplitMix::new(5);
        let runs = 4_000;
        let mut found = 0;
        for _ in 0..runs {
            let seen: Vec<Effect> = effects
                .iter()
                .zip(&shares)
                .map(|(effect, share)| {
                    let standard_error = (3.0 / (1_200.0 * share)).sqrt();
                    let noise = normal::quantile(random.uniform());
                    Effect {
                        estimate: effect + standard_error * noise,
                        standard_error,
                    }
                })
                .collect();
            found += usize::from(analyze(&seen, 0.05).unwrap().p_value < 0.05);
        }
        let measured = found as f64 / f64::from(runs);
        // Four standard errors of the simulation.
        assert!((measured - promised).abs() < 4.0 * 0.008, "{measured} {promised}");
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        let none = Known {
            units: None,
            effect: Some(0.0),
            power: Some(0.8),
        };
        assert!(matches!(PLAN.solve(none), Err(StatsError::NoSolution { .. })));
        let one = Interaction { segments: 1, ..PLAN };
        assert!(matches!(one.solve(none), Err(StatsError::InvalidInput { .. })));
        assert!(spread(&[1.0], &[]).is_err() && spread(&[1.0], &[0.0]).is_err());
    }
}
