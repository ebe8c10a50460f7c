//! The relative change of a mean: delta method, delta method on the logarithm, and Fieller's theorem.
//!
//! All three take the control's own noise into account. The logarithm keeps the lower end above −100 % and is the
//! default where both means have one sign; Fieller's is exact for normal means and says when there are no bounds.

use serde::Serialize;

use super::contrast::ArmValue;
use crate::error::{StatsError, check_rate, is_positive};
use crate::estimate::Interval;
use crate::special::normal;

/// Squares between these bounds have all their digits.
const SMALL: f64 = 1e-280;

/// The upper bound.
const LARGE: f64 = 1e280;

/// A relative change with its noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RelativeChange {
    /// Treatment over control, minus 1.
    pub estimate: f64,
    /// The standard error of the estimate; on the logarithmic scale for the logarithmic method.
    pub standard_error: f64,
    /// The interval for the relative change.
    pub interval: Interval,
}

/// The set of relative changes that Fieller's theorem leaves possible.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FiellerSet {
    /// Between two bounds.
    Between(Interval),
    /// Outside two bounds: the baseline may have either sign, and the change is surely not in between.
    Outside(Interval),
    /// Everything: the baseline does not differ from 0, and neither does the treatment.
    Everything,
}

/// A Fieller set with the measure of how uncertain the baseline is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fieller {
    /// (z·se/mean)² of the control: from 1 on the baseline does not differ from 0 and there are no bounds.
    pub g: f64,
    /// The set.
    pub set: FiellerSet,
}

/// The relative change and its standard error by the delta method.
///
/// `difference` is treatment minus control, which may hold more digits than the two values.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] for a baseline of 0.
pub fn delta(
    control: ArmValue,
    treatment: ArmValue,
    difference: f64,
    alpha: f64,
) -> Result<RelativeChange, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let (estimate, standard_error) = delta_parts(control, treatment, difference)?;
    Ok(RelativeChange {
        estimate,
        standard_error,
        interval: Interval::around(estimate, z * standard_error, 1.0 - alpha),
    })
}

fn delta_parts(control: ArmValue, treatment: ArmValue, difference: f64) -> Result<(f64, f64), StatsError> {
    if !is_positive(control.value.abs()) {
        return Err(StatsError::BaselineNotPositive {
            baseline: control.value,
        });
    }
    let ratio = treatment.value / control.value;
    let noise = root_of_sum(treatment.variance, ratio * (ratio * control.variance), || {
        treatment.variance.sqrt().hypot(ratio * control.variance.sqrt())
    });
    Ok((difference / control.value, noise / control.value.abs()))
}

/// The root of the sum of two squares: plainly where they neither vanish nor overflow, which is four times as fast.
fn root_of_sum(left: f64, right: f64, otherwise: impl Fn() -> f64) -> f64 {
    let sum = left + right;
    if (SMALL..LARGE).contains(&sum) && (right <= 0.0 || right > SMALL) {
        sum.sqrt()
    } else {
        otherwise()
    }
}

/// The relative change by the delta method on the logarithm of the ratio.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] unless both values are on the same side of 0.
pub fn log_delta(
    control: ArmValue,
    treatment: ArmValue,
    difference: f64,
    alpha: f64,
) -> Result<RelativeChange, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let estimate = difference / control.value;
    let has_logarithm = estimate > -1.0 && estimate.is_finite() && is_positive(treatment.value.abs());
    if !has_logarithm {
        return Err(StatsError::BaselineNotPositive {
            baseline: control.value,
        });
    }
    let standard_error =
        (treatment.variance.sqrt() / treatment.value).hypot(control.variance.sqrt() / control.value);
    let center = estimate.ln_1p();
    let end = |sign: f64| (center + sign * z * standard_error).exp_m1();
    Ok(RelativeChange {
        estimate,
        standard_error,
        interval: Interval::new(end(-1.0), end(1.0), 1.0 - alpha),
    })
}

/// The relative change after Fieller (1954), for independent arms.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] for a baseline of 0.
pub fn fieller(control: ArmValue, treatment: ArmValue, alpha: f64) -> Result<Fieller, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    if !is_positive(control.value.abs()) {
        return Err(StatsError::BaselineNotPositive {
            baseline: control.value,
        });
    }
    // With everything in units of the control: (1 − g)·r² − 2·t·r + (t² − h) = 0 for the ratio r.
    let ratio = treatment.value / control.value;
    let g = (z * control.variance.sqrt() / control.value).powi(2);
    let h = (z * treatment.variance.sqrt() / control.value).powi(2);
    let rest = 1.0 - g;
    let discriminant = h * rest + g * ratio * ratio;
    let level = 1.0 - alpha;
    let set = if discriminant < 0.0 {
        FiellerSet::Everything
    } else {
        let root = discriminant.sqrt();
        // Minus 1 inside the fraction, so that a small change is not the difference of two numbers near 1.
        let ends = [-root, root].map(|root| (ratio - 1.0 + g + root) / rest);
        let interval = Interval::new(ends[0].min(ends[1]), ends[0].max(ends[1]), level);
        if g < 1.0 {
            FiellerSet::Between(interval)
        } else {
            FiellerSet::Outside(interval)
        }
    };
    Ok(Fieller { g, set })
}

/// The interval to show for a relative change and the method it is by: logarithm, else Fieller.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] for a control that is not above 0, [`StatsError::UnboundedInterval`] where
/// Fieller's set has no bounds.
pub fn default_interval(
    control: ArmValue,
    treatment: ArmValue,
    difference: f64,
    alpha: f64,
) -> Result<(RelativeChange, &'static str), StatsError> {
    if !is_positive(control.value) {
        return Err(StatsError::BaselineNotPositive {
            baseline: control.value,
        });
    }
    if treatment.value > 0.0 {
        let change = log_delta(control, treatment, difference, alpha)?;
        // The standard error is shown on the scale of the estimate.
        let standard_error = change.standard_error * (1.0 + change.estimate);
        return Ok((
            RelativeChange {
                standard_error,
                ..change
            },
            "relative_log_delta",
        ));
    }
    let (estimate, standard_error) = delta_parts(control, treatment, difference)?;
    match fieller(control, treatment, alpha)?.set {
        FiellerSet::Between(interval) => Ok((
            RelativeChange {
                estimate,
                standard_error,
                interval,
            },
            "relative_fieller",
        )),
        FiellerSet::Outside(_) | FiellerSet::Everything => Err(StatsError::UnboundedInterval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(value: f64, variance: f64) -> ArmValue {
        ArmValue {
            value,
            variance,
            df: f64::INFINITY,
            units: 100,
        }
    }

    #[test]
    fn the_baseline_counts_with_its_noise() {
        // 1 % to 1.5 % of 10 000: the delta interval is +12.3 % to +87.7 %, not the narrower one without the baseline.
        let (control, treatment) = (arm(0.01, 0.0099 / 1e4), arm(0.015, 0.015 * 0.985 / 1e4));
        let change = delta(control, treatment, 0.005, 0.05).unwrap();
        assert!(
            (change.interval.lower.unwrap() - 0.123).abs() < 1e-3,
            "{change:?}"
        );
        assert!(
            (change.interval.upper.unwrap() - 0.877).abs() < 1e-3,
            "{change:?}"
        );
    }

    #[test]
    fn unbounded_sets_are_said() {
        let certain = fieller(arm(1.0, 0.01), arm(1.1, 0.01), 0.05).unwrap();
        assert!(matches!(certain.set, FiellerSet::Between(_)));
        let outside = fieller(arm(0.1, 0.01), arm(5.0, 0.01), 0.05).unwrap();
        assert!(matches!(outside.set, FiellerSet::Outside(_)) && outside.g > 1.0);
        let everything = fieller(arm(0.1, 0.01), arm(0.01, 0.01), 0.05).unwrap();
        assert_eq!(everything.set, FiellerSet::Everything);
        assert!(fieller(arm(0.0, 0.01), arm(0.01, 0.01), 0.05).is_err());
    }

    #[test]
    fn no_change_is_worse_than_minus_all() {
        let change = log_delta(arm(1.0, 0.2), arm(0.1, 0.2), -0.9, 0.05).unwrap();
        assert!(change.interval.lower.unwrap() > -1.0);
        assert!(log_delta(arm(1.0, 0.2), arm(-0.01, 0.2), -1.01, 0.05).is_err());
    }
}
