//! The asymptotic confidence sequence: an interval for a mean, a difference or a ratio that is valid at every look.
//!
//! Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
//! sequences" (arXiv:2103.06476), equations 9, 134, 155 and 161. It needs what a t-interval needs (an estimate that is
//! nearly normal, and its standard error) plus the number of units and the number at which it is to be tightest.
//! In return the whole sequence of intervals covers the truth with probability 1 − alpha, asymptotically.
//! For rare events in a small arm use [`crate::safety::rate_ratio`], which is exact.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_not_negative, check_positive, check_rate};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// Plain numbers of one look: an estimate that is nearly normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The estimate of the effect; its value under the hypothesis of no effect is 0.
    pub estimate: f64,
    /// Its standard error, in the same unit.
    pub standard_error: f64,
    /// Units seen so far, over all arms that the estimate uses.
    pub units: f64,
}

/// The mean of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmMean {
    /// The mean.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Units it is the mean of.
    pub units: f64,
}

/// A two-sided anytime-valid interval with its evidence against "no effect".
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AnytimeInterval {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Natural logarithm of the e-value against "the effect is 0".
    pub log_e: f64,
    /// The anytime-valid p-value of this look, min(1, 1/e); the smallest over all looks is valid too.
    pub p_value: f64,
    /// The natural logarithm of the p-value, which does not underflow.
    pub log_p_value: f64,
}

/// Half the width of the two-sided anytime-valid interval.
///
/// `units` are the units so far and `planned_units` those at which the interval is to be tightest; being wrong by a
/// factor of ten either way widens the interval by about a fifth.
///
/// # Errors
/// A [`StatsError`] when an argument is not finite or out of range.
///
/// # Example
/// ```
/// let half = stats::sequential::asymptotic::half_width(0.01, 10_000.0, 10_000.0, 0.05)?;
/// assert!((half - 0.030_351_9).abs() < 1e-6);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn half_width(
    standard_error: f64,
    units: f64,
    planned_units: f64,
    alpha: f64,
) -> Result<f64, StatsError> {
    let rho = two_sided_tuning(planned_units, alpha)?;
    check(standard_error, units)?;
    Ok(standard_error * two_sided_critical_value(units * rho * rho, alpha))
}

/// The distance from the estimate to the end of the one-sided anytime-valid interval.
///
/// The boundary is the exact half-normal mixture, slightly tighter than equation 134, and is tuned with 2·alpha.
///
/// # Errors
/// A [`StatsError`] when an argument is not finite or out of range; one-sided tuning needs alpha below one half.
pub fn one_sided_half_width(
    standard_error: f64,
    units: f64,
    planned_units: f64,
    alpha: f64,
) -> Result<f64, StatsError> {
    let rho = one_sided_tuning(planned_units, alpha)?;
    check(standard_error, units)?;
    Ok(standard_error * one_sided_critical_value(units * rho * rho, alpha))
}

/// The closed form of the one-sided half-width (equation 134), never below the exact one.
///
/// # Errors
/// As [`one_sided_half_width`].
pub fn one_sided_half_width_closed_form(
    standard_error: f64,
    units: f64,
    planned_units: f64,
    alpha: f64,
) -> Result<f64, StatsError> {
    let rho = one_sided_tuning(planned_units, alpha)?;
    check(standard_error, units)?;
    let q = units * rho * rho;
    let inner = ((1.0 + q).sqrt() / (2.0 * alpha)).ln_1p();
    Ok(standard_error * (2.0 * (1.0 + q) / q * inner).sqrt())
}

/// The interval, e-value and p-value of one look, two-sided.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when the standard error is 0, another reason when an argument is out of range.
pub fn two_sided(look: Look, planned_units: f64, alpha: f64) -> Result<AnytimeInterval, StatsError> {
    check_finite("estimate", look.estimate)?;
    let half = half_width(look.standard_error, look.units, planned_units, alpha)?;
    if look.standard_error <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let rho = two_sided_tuning(planned_units, alpha)?;
    let log_e = two_sided_log_e(look.estimate / look.standard_error, look.units * rho * rho);
    Ok(AnytimeInterval {
        estimate: look.estimate,
        standard_error: look.standard_error,
        lower: look.estimate - half,
        upper: look.estimate + half,
        log_e,
        p_value: (-log_e.max(0.0)).exp(),
        log_p_value: -log_e.max(0.0),
    })
}

/// The interval for a relative lift (treatment mean over control mean, minus 1) from a look at ln(treatment/control).
///
/// The sequence is built for the logarithm of the ratio and carried over by exp, so that it never falls below −100 %.
/// Estimate and ends are lifts; the standard error is that of the lift. [`log_ratio`] makes the look.
///
/// # Errors
/// As [`two_sided`].
pub fn relative_lift(log_ratio: Look, planned_units: f64, alpha: f64) -> Result<AnytimeInterval, StatsError> {
    let log_scale = two_sided(log_ratio, planned_units, alpha)?;
    let lift = log_scale.estimate.exp_m1();
    Ok(AnytimeInterval {
        estimate: lift,
        standard_error: log_ratio.standard_error * (1.0 + lift),
        lower: log_scale.lower.exp_m1(),
        upper: log_scale.upper.exp_m1(),
        ..log_scale
    })
}

/// The look at the difference of two independent means.
pub fn difference(control: ArmMean, treatment: ArmMean) -> Look {
    Look {
        estimate: treatment.mean - control.mean,
        standard_error: control.standard_error.hypot(treatment.standard_error),
        units: control.units + treatment.units,
    }
}

/// The look at the logarithm of the ratio of two independent means, by the delta method.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] unless both means are above 0.
pub fn log_ratio(control: ArmMean, treatment: ArmMean) -> Result<Look, StatsError> {
    for arm in [control, treatment] {
        check_finite("mean", arm.mean)?;
        if arm.mean <= 0.0 {
            return Err(StatsError::BaselineNotPositive { baseline: arm.mean });
        }
    }
    Ok(Look {
        estimate: treatment.mean.ln() - control.mean.ln(),
        standard_error: (control.standard_error / control.mean)
            .hypot(treatment.standard_error / treatment.mean),
        units: control.units + treatment.units,
    })
}

/// The tuning ρ that makes the two-sided sequence tightest at `planned_units` (equation 161).
///
/// # Errors
/// A [`StatsError`] when an argument is out of range.
pub fn two_sided_tuning(planned_units: f64, alpha: f64) -> Result<f64, StatsError> {
    check_rate("alpha", alpha)?;
    check_positive("planned_units", planned_units)?;
    Ok((tuning_factor(alpha) / planned_units).sqrt())
}

/// The tuning ρ of the one-sided sequence: that of the two-sided one at 2·alpha.
///
/// # Errors
/// A [`StatsError`] when an argument is out of range; alpha must lie below one half.
pub fn one_sided_tuning(planned_units: f64, alpha: f64) -> Result<f64, StatsError> {
    two_sided_tuning(planned_units, 2.0 * alpha)
}

/// −2 ln α + ln(1 − 2 ln α): close to the tuning that minimises the width, and above 0 for every α in (0, 1).
pub(crate) fn tuning_factor(alpha: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    twice + twice.ln_1p()
}

/// The number of standard errors in the two-sided half-width, for q = units·ρ².
pub fn two_sided_critical_value(q: f64, alpha: f64) -> f64 {
    ((1.0 + q) / q * (q.ln_1p() - 2.0 * alpha.ln())).sqrt()
}

/// The number of standard errors in the exact one-sided half-width: the root of `one_sided_log_e(z, q) = ln 1/alpha`.
pub fn one_sided_critical_value(q: f64, alpha: f64) -> f64 {
    // The two-sided value is an upper bracket and so a safe answer, since twice Φ is at least 1 for z above 0.
    let high = two_sided_critical_value(q, alpha);
    let gap = |z: f64| one_sided_log_e(z, q) + alpha.ln();
    brent("one-sided boundary", Bracket::new(0.0, high), 1e-15 * high, gap).unwrap_or(high)
}

/// ln of the normal-mixture e-value at `z` standard errors, q = units·ρ².
pub fn two_sided_log_e(z: f64, q: f64) -> f64 {
    -0.5 * q.ln_1p() + q * z * z / (2.0 * (q + 1.0))
}

/// ln of the half-normal-mixture e-value at `z` standard errors in the direction of the alternative.
pub fn one_sided_log_e(z: f64, q: f64) -> f64 {
    std::f64::consts::LN_2 + two_sided_log_e(z, q) + normal::ln_cdf(z * (q / (q + 1.0)).sqrt())
}

fn check(standard_error: f64, units: f64) -> Result<(), StatsError> {
    check_not_negative("standard_error", standard_error)?;
    check_positive("units", units)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look {
        estimate: 0.3,
        standard_error: 0.1,
        units: 2_000.0,
    };

    #[test]
    fn interval_and_p_value_agree_on_the_border() {
        // What must never change: the interval excludes 0 exactly when the p-value is below alpha.
        let half = half_width(0.1, 2_000.0, 5_000.0, 0.05).unwrap();
        for (estimate, excludes) in [(half * 1.000_001, true), (half * 0.999_999, false)] {
            let answer = two_sided(Look { estimate, ..LOOK }, 5_000.0, 0.05).unwrap();
            assert_eq!(answer.lower > 0.0, excludes);
            assert_eq!(answer.p_value < 0.05, excludes);
        }
    }

    #[test]
    fn exact_one_sided_boundary_is_the_tightest_of_the_three() {
        for units in [10.0, 1e3, 1e5, 1e9] {
            let exact = one_sided_half_width(1.0, units, 5_000.0, 0.05).unwrap();
            let closed = one_sided_half_width_closed_form(1.0, units, 5_000.0, 0.05).unwrap();
            let q = units * one_sided_tuning(5_000.0, 0.05).unwrap().powi(2);
            assert!(exact <= closed && exact <= two_sided_critical_value(q, 0.05));
            assert!(
                (one_sided_log_e(exact, q) + 0.05_f64.ln()).abs() < 1e-9,
                "{units}"
            );
        }
    }

    #[test]
    fn the_metrics_unit_changes_nothing_but_the_unit() {
        let base = two_sided(LOOK, 5_000.0, 0.05).unwrap();
        for scale in [1e-9, 1e9] {
            let scaled = Look {
                estimate: LOOK.estimate * scale,
                standard_error: LOOK.standard_error * scale,
                ..LOOK
            };
            let answer = two_sided(scaled, 5_000.0, 0.05).unwrap();
            assert!((answer.log_e - base.log_e).abs() < 1e-12);
            assert!((answer.upper / scale - base.upper).abs() < 1e-12);
        }
    }

    #[test]
    fn swapped_arms_mirror_the_interval() {
        let [one, two] = [3.0, 4.0].map(|mean| ArmMean {
            mean,
            standard_error: 0.1,
            units: 50.0,
        });
        let forward = two_sided(difference(one, two), 100.0, 0.1).unwrap();
        let backward = two_sided(difference(two, one), 100.0, 0.1).unwrap();
        assert!((forward.lower + backward.upper).abs() < 1e-15);
        let up = relative_lift(log_ratio(one, two).unwrap(), 100.0, 0.1).unwrap();
        let down = relative_lift(log_ratio(two, one).unwrap(), 100.0, 0.1).unwrap();
        assert!(((1.0 + up.lower) * (1.0 + down.upper) - 1.0).abs() < 1e-14);
    }

    #[test]
    fn a_huge_effect_keeps_its_logarithm() {
        let answer = two_sided(
            Look {
                estimate: 1e6,
                ..LOOK
            },
            5_000.0,
            0.05,
        )
        .unwrap();
        assert!(answer.p_value >= 0.0 && answer.log_p_value < -1e12 && answer.log_p_value.is_finite());
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        let hard = [f64::NAN, f64::INFINITY, -1.0];
        for value in hard {
            assert!(half_width(value, 10.0, 10.0, 0.05).is_err());
            assert!(half_width(1.0, value, 10.0, 0.05).is_err());
            assert!(half_width(1.0, 10.0, value, 0.05).is_err());
            assert!(one_sided_half_width(1.0, 10.0, 10.0, value).is_err());
        }
        assert!(one_sided_half_width(1.0, 10.0, 10.0, 0.5).is_err());
        let still = Look {
            standard_error: 0.0,
            ..LOOK
        };
        assert_eq!(two_sided(still, 10.0, 0.05), Err(StatsError::ZeroVariance));
    }
}
