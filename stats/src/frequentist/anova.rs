//! Several means at once: the analysis of variance, and Welch's form of it for arms whose variances differ.

use serde::Serialize;

use super::mean;
use super::sample::{Sample, too_few};
use crate::error::StatsError;
use crate::estimate::PValue;
use crate::special::beta::{Share, ln_beta_tails};

/// What comparing several means rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units are independent of each other",
    "the mean of each arm is nearly normal: many units, and no single unit that dominates",
    "looked at once, when the planned number of units is reached",
];

/// A test of "all means are equal" by an F statistic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FTest {
    /// The statistic.
    pub f: f64,
    /// Degrees of freedom between arms: their number less one.
    pub df_between: f64,
    /// Degrees of freedom within arms.
    pub df_within: f64,
    /// P(F > f).
    pub p_value: PValue,
}

/// The analysis of variance (Fisher 1925): all arms have the same variance.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two arms or for an arm without a unit, [`StatsError::ZeroVariance`] when no arm
/// varies, [`StatsError::NegativeVariance`] for sums that contradict each other.
///
/// # Example
/// ```
/// use domain::Moments;
/// use stats::frequentist::anova;
///
/// let arms = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [5.0, 6.0, 7.0]].map(|arm| Moments::from_values(&arm).into());
/// let answer = anova::one_way(&arms)?;
/// assert!((answer.f - 13.0).abs() < 1e-12);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn one_way(arms: &[Sample]) -> Result<FTest, StatsError> {
    check_arms(arms)?;
    let mut units = 0.0;
    let mut within = 0.0;
    for arm in arms {
        if arm.n == 0 {
            return Err(too_few("an arm", 0, 1));
        }
        if arm.n > 1 {
            arm.variance("an arm")?;
            within += arm.m2;
        }
        units += arm.n as f64;
    }
    let df_within = units - arms.len() as f64;
    if df_within < 1.0 {
        return Err(too_few("all arms together", units as u64, arms.len() as u64 + 1));
    }
    if within <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let shifts = shifts(arms);
    let grand = weighted(arms.iter().map(|arm| arm.n as f64), &shifts) / units;
    let between: f64 = arms
        .iter()
        .zip(&shifts)
        .map(|(arm, shift)| arm.n as f64 * (shift - grand) * (shift - grand))
        .sum();
    let df_between = (arms.len() - 1) as f64;
    f_test(
        (between / df_between) / (within / df_within),
        df_between,
        df_within,
    )
}

/// Welch's analysis of variance (Biometrika 1951): variances may differ; with two arms it is Welch's t-test.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two arms or two units in an arm, [`StatsError::ZeroVariance`] when an arm of
/// several does not vary or no arm of two does, [`StatsError::NegativeVariance`] for sums that contradict each other.
pub fn welch(arms: &[Sample]) -> Result<FTest, StatsError> {
    check_arms(arms)?;
    if let [control, treatment] = arms {
        // Two arms need no weight for each, so that one of them may be without variance.
        let contrast = mean::welch_contrast(control, treatment)?;
        let statistic = contrast.statistic();
        return f_test(statistic * statistic, 1.0, contrast.df);
    }
    let mut weights = Vec::with_capacity(arms.len());
    for arm in arms {
        let variance = arm.variance("an arm")?;
        if variance <= 0.0 {
            return Err(StatsError::ZeroVariance);
        }
        weights.push(arm.n as f64 / variance);
    }
    let total: f64 = weights.iter().sum();
    let shifts = shifts(arms);
    let grand = weighted(weights.iter().copied(), &shifts) / total;
    let between: f64 = weights
        .iter()
        .zip(&shifts)
        .map(|(weight, shift)| weight * (shift - grand) * (shift - grand))
        .sum();
    let spread: f64 = weights
        .iter()
        .zip(arms)
        .map(|(weight, arm)| (1.0 - weight / total).powi(2) / (arm.n - 1) as f64)
        .sum();
    let count = arms.len() as f64;
    let square = (count - 1.0) * (count + 1.0);
    let correction = 1.0 + 2.0 * (count - 2.0) / square * spread;
    f_test(
        between / (count - 1.0) / correction,
        count - 1.0,
        square / (3.0 * spread),
    )
}

/// The test from its statistic and degrees of freedom.
///
/// # Errors
/// [`StatsError::NotConverged`] where the tail cannot be computed.
pub fn f_test(f: f64, df_between: f64, df_within: f64) -> Result<FTest, StatsError> {
    let share = Share::of(df_between * f, df_within);
    let ln_p = ln_beta_tails(0.5 * df_between, 0.5 * df_within, share).upper;
    Ok(FTest {
        f,
        df_between,
        df_within,
        p_value: PValue::known("the tail of F", ln_p)?,
    })
}

fn check_arms(arms: &[Sample]) -> Result<(), StatsError> {
    if arms.len() < 2 {
        return Err(too_few("the list of arms", arms.len() as u64, 2));
    }
    Ok(())
}

/// Each mean less the first, with the digits that both share cancelled exactly.
fn shifts(arms: &[Sample]) -> Vec<f64> {
    arms.iter().map(|arm| mean::difference(&arms[0], arm)).collect()
}

fn weighted(weights: impl Iterator<Item = f64>, values: &[f64]) -> f64 {
    weights.zip(values).map(|(weight, value)| weight * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::contrast::Alternative;

    fn sample(n: u64, mean: f64, variance: f64) -> Sample {
        Sample::from_variance(n, mean, variance)
    }

    #[test]
    fn two_arms_are_the_t_tests() {
        let arms = [sample(50, 3.0, 2.0), sample(70, 3.4, 5.0)];
        let welch_t = mean::welch_contrast(&arms[0], &arms[1]).unwrap();
        let pooled_t = mean::pooled_contrast(&arms[0], &arms[1]).unwrap();
        for (f, t) in [(welch(&arms), welch_t), (one_way(&arms), pooled_t)] {
            let f = f.unwrap();
            let p = t.p_value(Alternative::TwoSided);
            assert!((f.f / t.statistic().powi(2) - 1.0).abs() < 1e-13, "{f:?}");
            assert!((f.df_within / t.df - 1.0).abs() < 1e-13);
            assert!((f.p_value.p / p.p - 1.0).abs() < 1e-11);
        }
    }

    #[test]
    fn a_common_offset_a_scale_and_the_order_of_arms_do_not_matter() {
        let arms = [sample(9, 3.0, 2.0), sample(7, 3.4, 5.0), sample(30, 2.1, 0.5)];
        let moved = arms.map(|arm| {
            sample(
                arm.n,
                (arm.mean.to_f64() + 1024.0) * 8.0,
                arm.raw_variance() * 64.0,
            )
        });
        let turned = [arms[2], arms[0], arms[1]];
        for test in [one_way, welch] {
            let base = test(&arms).unwrap();
            for other in [test(&moved).unwrap(), test(&turned).unwrap()] {
                assert!((other.f / base.f - 1.0).abs() < 1e-10, "{base:?} {other:?}");
                assert!((other.p_value.log10 / base.p_value.log10 - 1.0).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn what_has_no_answer_has_a_reason() {
        let flat = [sample(9, 3.0, 0.0), sample(7, 3.4, 0.0), sample(3, 1.0, 0.0)];
        assert_eq!(one_way(&flat), Err(StatsError::ZeroVariance));
        assert_eq!(welch(&flat), Err(StatsError::ZeroVariance));
        let one = [sample(1, 3.0, 0.0), sample(1, 3.4, 0.0)];
        assert!(matches!(one_way(&one), Err(StatsError::TooFewUnits { .. })));
        assert!(matches!(welch(&flat[..1]), Err(StatsError::TooFewUnits { .. })));
        let far = [
            sample(1_000, 0.0, 1.0),
            sample(1_000, 1e6, 1.0),
            sample(1_000, 0.0, 1.0),
        ];
        assert!(welch(&far).unwrap().p_value.log10 < -4000.0);
    }
}
