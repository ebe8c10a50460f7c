//! Covariate adjustment with values from before the experiment (CUPED: Deng, Xu, Kohavi and Walker 2013).
//!
//! One covariate: [`adjust`]. Several, for means and for ratios: [`adjust_many`]. The covariates must not be touched by
//! the treatment. The relative lift divides by the unadjusted control mean and takes the whole gradient, so that arms
//! whose covariates differ by chance get the right noise.

mod many;

use super::contrast::{ArmValue, Contrast};
use super::sample::{JointSample, Sample, too_few};
use crate::error::{StatsError, is_positive};

pub use many::{Adjusted, MultiSample, Quantity, adjust_many};

/// What adjustment rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "the covariate was measured before exposure and cannot be touched by the treatment",
    "units are independent of each other, and each arm's adjusted mean is nearly normal",
    "looked at once, when the planned number of units is reached",
];

/// Where the slope of the outcome on the covariate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slope {
    /// From all units together, so that a difference between arms counts too.
    Total,
    /// From the spread within arms (analysis of covariance): the default.
    Within,
}

/// An adjusted comparison. The sample's x is the outcome, its y the covariate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdjustedMeans {
    /// The slope.
    pub theta: f64,
    /// The control's mean, moved to the covariate's mean over both arms.
    pub control: ArmValue,
    /// The treatment's mean, moved likewise.
    pub treatment: ArmValue,
    /// Treatment minus control, adjusted.
    pub difference: f64,
    /// The share of the difference's variance that is gone; absent when there was none.
    pub variance_reduction: Option<f64>,
    /// The lift over the unadjusted control mean; absent when that is 0.
    pub lift: Option<AdjustedLift>,
}

/// The adjusted difference over the size of the unadjusted control mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdjustedLift {
    /// The lift.
    pub estimate: f64,
    /// Its standard error with the whole gradient.
    pub standard_error: f64,
    /// The standard error when the covariate's means are taken as equal, which is another library's formula.
    pub standard_error_equal_covariates: f64,
}

impl AdjustedMeans {
    /// The adjusted difference with its standard error.
    ///
    /// # Errors
    /// [`StatsError::ZeroVariance`] when the covariate explains everything or nothing varies.
    pub fn contrast(&self) -> Result<Contrast, StatsError> {
        Contrast::welch(self.control, self.treatment, self.difference)
    }
}

/// Adjusts the means of x for the covariate y.
///
/// # Errors
/// [`StatsError::TooFewUnits`] below two units in an arm, [`StatsError::NegativeVariance`] for sums that contradict
/// each other.
pub fn adjust(
    control: &JointSample,
    treatment: &JointSample,
    slope: Slope,
) -> Result<AdjustedMeans, StatsError> {
    for (sample, arm) in [(control, "control"), (treatment, "treatment")] {
        if sample.n() < 2 {
            return Err(too_few(arm, sample.n(), 2));
        }
        sample.x.variance(arm)?;
        sample.y.variance(arm)?;
    }
    let all = control.merged(treatment);
    let (cross, spread) = match slope {
        Slope::Total => (all.cross, all.y.m2),
        Slope::Within => (control.cross + treatment.cross, control.y.m2 + treatment.y.m2),
    };
    let theta = if spread > 0.0 { cross / spread } else { 0.0 };
    let [left, right] = [
        adjusted_arm(control, &all, theta)?,
        adjusted_arm(treatment, &all, theta)?,
    ];
    let covariate_gap = treatment.y.mean.minus(control.y.mean).to_f64();
    let difference = treatment.x.mean.minus(control.x.mean).to_f64() - theta * covariate_gap;
    let before = mean_variance(&control.x) + mean_variance(&treatment.x);
    let after = left.variance + right.variance;
    Ok(AdjustedMeans {
        theta,
        control: left,
        treatment: right,
        difference,
        variance_reduction: (before > 0.0 && after > 0.0).then(|| 1.0 - after / before),
        lift: lift(control, treatment, theta, difference),
    })
}

fn adjusted_arm(sample: &JointSample, all: &JointSample, theta: f64) -> Result<ArmValue, StatsError> {
    let n = sample.n() as f64;
    let m2 = sample.residual_m2(theta);
    if m2 < 0.0 {
        return Err(StatsError::NegativeVariance {
            field: "the adjusted outcome".to_owned(),
        });
    }
    Ok(ArmValue {
        value: sample.x.mean.to_f64() - theta * sample.y.mean.minus(all.y.mean).to_f64(),
        variance: m2 / (n - 1.0) / n,
        df: n - 1.0,
        units: sample.n(),
    })
}

fn mean_variance(sample: &Sample) -> f64 {
    sample.raw_variance() / sample.n as f64
}

fn lift(control: &JointSample, treatment: &JointSample, theta: f64, difference: f64) -> Option<AdjustedLift> {
    let base = control.x.mean.to_f64();
    if !is_positive(base.abs()) {
        return None;
    }
    let variance = |level: f64| {
        // The level is what the treatment's mean is expected at in terms of the control's: its gradient by the control
        // is −level/base² for the outcome and θ/base for the covariate.
        let factor = if level.abs() > 0.0 {
            theta * base / level
        } else {
            0.0
        };
        let own = if level.abs() > 0.0 {
            control.residual_m2(factor) * (level / base).powi(2)
        } else {
            theta * theta * control.y.m2
        };
        let spread = |m2: f64, n: u64| m2 / (n as f64 - 1.0) / n as f64;
        (spread(own, control.n()) + spread(treatment.residual_m2(theta), treatment.n())) / (base * base)
    };
    let gap = treatment.y.mean.minus(control.y.mean).to_f64();
    let treated = treatment.x.mean.to_f64();
    Some(AdjustedLift {
        estimate: difference / base.abs(),
        standard_error: variance(treated - theta * gap).sqrt(),
        standard_error_equal_covariates: variance(treated).sqrt(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::sample::PlainSums;

    fn sample(pairs: &[(f64, f64)]) -> JointSample {
        let of = |value: fn(&(f64, f64)) -> f64| PlainSums {
            n: pairs.len() as u64,
            sum: pairs.iter().map(value).sum(),
            sum_squares: pairs.iter().map(|pair| value(pair).powi(2)).sum(),
        };
        JointSample::from_sums(
            of(|pair| pair.0),
            of(|pair| pair.1),
            pairs.iter().map(|(x, y)| x * y).sum(),
        )
        .unwrap()
    }

    #[test]
    fn a_covariate_that_explains_all_leaves_no_noise() {
        let control = sample(&[(1.0, 1.0), (2.0, 2.0), (4.0, 4.0)]);
        let treatment = sample(&[(2.0, 1.0), (3.0, 2.0), (4.0, 3.0)]);
        let answer = adjust(&control, &treatment, Slope::Within).unwrap();
        assert!((answer.theta - 1.0).abs() < 1e-14);
        assert!((answer.difference - 1.0).abs() < 1e-14);
        assert_eq!(answer.contrast(), Err(StatsError::ZeroVariance));
    }

    #[test]
    fn a_covariate_without_variance_changes_nothing() {
        let control = sample(&[(1.0, 0.0), (2.0, 0.0), (4.0, 0.0)]);
        let treatment = sample(&[(2.0, 0.0), (3.0, 0.0), (7.0, 0.0)]);
        let answer = adjust(&control, &treatment, Slope::Total).unwrap();
        let plain = crate::frequentist::mean::welch_contrast(&control.x, &treatment.x).unwrap();
        assert!(answer.theta.abs() < f64::MIN_POSITIVE);
        assert_eq!(answer.contrast().unwrap(), plain);
        assert!((answer.lift.unwrap().standard_error * control.x.mean.to_f64()).is_finite());
    }
}
