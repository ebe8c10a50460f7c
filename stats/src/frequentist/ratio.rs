//! Ratio metrics, Σ numerator over Σ denominator with several of both per unit, by the delta method.
//!
//! The unit is what was randomised, so that clusters of events within a user are accounted for (Deng, Knoblich and Lu
//! 2018). A ratio's noise is that of numerator − ratio·denominator per unit, centred before it is squared.

use super::contrast::{ArmValue, Contrast, Question};
use super::sample::{JointSample, too_few};
use crate::error::{StatsError, is_positive};
use crate::estimate::Estimate;

/// What the delta method rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units, not their events, are independent of each other",
    "many units in each arm, and a denominator that is far from 0 against its noise",
    "looked at once, when the planned number of units is reached",
];

/// Numerator and denominator of an arm, x and y of the sample.
pub type RatioSample = JointSample;

/// The ratio in one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmRatio {
    /// The ratio with its variance.
    pub arm: ArmValue,
    /// The variance of one unit's part, n times the variance of the ratio.
    pub unit_variance: f64,
}

/// The ratio of an arm.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two units, [`StatsError::UndefinedDenominator`] for a denominator of 0,
/// [`StatsError::NegativeVariance`] for sums that contradict each other.
pub fn arm_ratio(sample: &RatioSample, arm: &'static str) -> Result<ArmRatio, StatsError> {
    let n = sample.n();
    if n < 2 {
        return Err(too_few(arm, n, 2));
    }
    let denominator = sample.y.mean.to_f64();
    if !is_positive(denominator.abs()) {
        return Err(StatsError::UndefinedDenominator { arm });
    }
    let ratio = sample.x.mean.to_f64() / denominator;
    let m2 = sample.residual_m2(ratio);
    if m2 < 0.0 || sample.x.m2 < 0.0 || sample.y.m2 < 0.0 {
        return Err(StatsError::NegativeVariance {
            field: arm.to_owned(),
        });
    }
    let unit_variance = m2 / (n - 1) as f64 / (denominator * denominator);
    Ok(ArmRatio {
        arm: ArmValue {
            value: ratio,
            variance: unit_variance / n as f64,
            df: (n - 1) as f64,
            units: n,
        },
        unit_variance,
    })
}

/// The difference of the ratios, treatment minus control, with Welch's degrees of freedom.
///
/// # Errors
/// As [`arm_ratio`], and [`StatsError::ZeroVariance`] when neither arm varies.
pub fn contrast(control: &RatioSample, treatment: &RatioSample) -> Result<Contrast, StatsError> {
    let left = arm_ratio(control, "control")?.arm;
    let right = arm_ratio(treatment, "treatment")?.arm;
    Contrast::welch(left, right, right.value - left.value)
}

/// The whole answer.
///
/// # Errors
/// As [`contrast`], and when alpha does not lie between 0 and 1.
pub fn estimate(
    control: &RatioSample,
    treatment: &RatioSample,
    question: Question,
) -> Result<Estimate, StatsError> {
    let mut answer = contrast(control, treatment)?.estimate("ratio_delta", question)?;
    answer.assumptions = ASSUMPTIONS;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::sample::PlainSums;

    fn sample(pairs: &[(f64, f64)]) -> RatioSample {
        let of = |value: fn(&(f64, f64)) -> f64| PlainSums {
            n: pairs.len() as u64,
            sum: pairs.iter().map(value).sum(),
            sum_squares: pairs.iter().map(|pair| value(pair).powi(2)).sum(),
        };
        let cross = pairs.iter().map(|(x, y)| x * y).sum();
        RatioSample::from_sums(of(|pair| pair.0), of(|pair| pair.1), cross).unwrap()
    }

    #[test]
    fn a_denominator_of_one_is_a_mean() {
        let pairs: Vec<(f64, f64)> = [3.0, 1.0, 4.0, 1.0, 5.0].iter().map(|x| (*x, 1.0)).collect();
        let ratio = arm_ratio(&sample(&pairs), "control").unwrap();
        assert!((ratio.arm.value - 2.8).abs() < 1e-15);
        assert!((ratio.unit_variance - 3.2).abs() < 1e-14);
    }

    #[test]
    fn repeating_a_users_events_changes_nothing() {
        // What must never change: a user with twice the events is one user.
        let once = arm_ratio(&sample(&[(1.0, 2.0), (0.0, 1.0), (3.0, 4.0)]), "control").unwrap();
        let twice = arm_ratio(&sample(&[(2.0, 4.0), (0.0, 2.0), (6.0, 8.0)]), "control").unwrap();
        assert!((once.arm.value - twice.arm.value).abs() < 1e-15);
        assert!((once.arm.variance - twice.arm.variance).abs() < 1e-15);
    }

    #[test]
    fn what_has_no_answer_has_a_reason() {
        let none = arm_ratio(&sample(&[(1.0, 0.0), (0.0, 0.0)]), "control");
        assert_eq!(none, Err(StatsError::UndefinedDenominator { arm: "control" }));
        let flat = sample(&[(1.0, 2.0), (2.0, 4.0)]);
        assert_eq!(contrast(&flat, &flat), Err(StatsError::ZeroVariance));
    }
}
