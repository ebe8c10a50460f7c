//! Whether arms were alike before anything was done to them: the means of a covariate compared.
//!
//! Randomised arms differ in what was measured before exposure by chance alone. A difference beyond chance says that the
//! assignment is broken, or that the covariate was touched by the treatment after all; adjustment repairs neither.

use serde::Serialize;

use super::anova::{self, FTest};
use super::contrast::{Alternative, TAIL};
use super::mean;
use super::sample::Sample;
use crate::error::StatsError;
use crate::estimate::PValue;

/// The p-value at which an imbalance is reported unless asked otherwise: that of the sample-ratio check, because a false
/// alarm costs as much.
pub const DEFAULT_ALPHA: f64 = 0.001;

/// What the check rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "the covariate was measured before exposure",
    "units are independent of each other, and each arm's mean is nearly normal",
    "looked at once",
];

/// One arm's covariate against the control's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CovariateGap {
    /// The arm's mean minus the control's, in the covariate's unit.
    pub difference: f64,
    /// The standard error of the difference.
    pub standard_error: f64,
    /// The difference in standard deviations of one unit, √((s²control + s²arm)/2) (Austin 2009).
    pub standardized_difference: f64,
    /// The p-value of Welch's test against no difference.
    pub p_value: f64,
    /// Its decimal logarithm.
    pub log10_p: f64,
}

/// The difference of a covariate between the control and an arm.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two units in an arm, [`StatsError::ZeroVariance`] when neither arm varies,
/// [`StatsError::NegativeVariance`] for sums that contradict each other.
pub fn gap(control: &Sample, arm: &Sample) -> Result<CovariateGap, StatsError> {
    let contrast = mean::welch_contrast(control, arm)?;
    let p_value = PValue::known(TAIL, contrast.ln_p_against(0.0, Alternative::TwoSided))?;
    let deviation = (0.5 * (control.raw_variance() + arm.raw_variance())).sqrt();
    Ok(CovariateGap {
        difference: contrast.difference,
        standard_error: contrast.standard_error,
        standardized_difference: contrast.difference / deviation,
        p_value: p_value.p,
        log10_p: p_value.log10,
    })
}

/// The test of "all arms have the same mean of the covariate", after Welch (1951).
///
/// # Errors
/// As [`anova::welch`].
pub fn overall(arms: &[Sample]) -> Result<FTest, StatsError> {
    anova::welch(arms)
}

/// Whether adjusting turned the sign of an estimate: the effect then rests on the adjustment alone.
pub fn turns_sign(unadjusted: f64, adjusted: f64) -> bool {
    unadjusted > 0.0 && adjusted < 0.0 || unadjusted < 0.0 && adjusted > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_no_unit() {
        let gap_at = |scale: f64| {
            let sample = |n, mean: f64, variance: f64| {
                Sample::from_variance(n, mean * scale, variance * scale * scale)
            };
            gap(&sample(100, 3.0, 4.0), &sample(120, 3.2, 4.0)).unwrap()
        };
        let (one, other) = (gap_at(1.0), gap_at(1e9));
        assert!((one.standardized_difference - 0.1).abs() < 1e-12, "{one:?}");
        assert!((one.standardized_difference - other.standardized_difference).abs() < 1e-12);
        assert!((one.log10_p - other.log10_p).abs() < 1e-12);
    }

    #[test]
    fn signs_turn_only_through_zero() {
        assert!(turns_sign(1.0, -1e-9) && turns_sign(-2.0, 3.0));
        assert!(!turns_sign(0.0, -1.0) && !turns_sign(1.0, 0.0) && !turns_sign(-1.0, -2.0));
    }
}
