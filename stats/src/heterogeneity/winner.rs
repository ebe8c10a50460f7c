//! The winner's curse: an effect that is looked at because it was significant is too large on average.
//!
//! Given that |Z| passed the threshold, Z has a truncated normal distribution. The corrected estimate is the effect that
//! makes the observed one its conditional median, and the interval holds its level among the significant results alone
//! (Zhong and Prentice 2008; Ghosh, Zou and Wright 2008).

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::estimate::Interval;
use crate::special::logs::ln_add_exp;
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// How far from the observed Z the corrected effect is looked for: it can lie far on the other side of 0 when Z is
/// barely significant, where the interval then ends.
const REACH: f64 = 40.0;

/// A significant effect after correction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CorrectedWinner {
    /// The estimate as it was.
    pub estimate: f64,
    /// The estimate for which the observed one is the median among significant ones.
    pub corrected: f64,
    /// The interval that holds its level among significant results.
    pub interval: Interval,
    /// Corrected over observed estimate; below 0 when nothing is left.
    pub kept: f64,
}

/// Corrects an estimate that was selected by |estimate| / standard error exceeding `threshold`.
///
/// # Errors
/// [`StatsError::InvalidInput`] when the estimate does not exceed the threshold or an argument is out of range.
pub fn correct(
    estimate: f64,
    standard_error: f64,
    threshold: f64,
    alpha: f64,
) -> Result<CorrectedWinner, StatsError> {
    check_finite("estimate", estimate)?;
    check_positive("standard_error", standard_error)?;
    check_positive("threshold", threshold)?;
    check_rate("alpha", alpha)?;
    let z = estimate.abs() / standard_error;
    if z <= threshold {
        return Err(StatsError::invalid(
            "estimate",
            "must exceed the threshold that it was selected by",
        ));
    }
    let at = |share: f64| {
        let gap = |mean: f64| ln_upper(z, threshold, mean) - share.ln();
        brent("winner's curse", Bracket::new(z - REACH, z + REACH), 1e-12, gap).unwrap_or(z - REACH)
    };
    let scale = standard_error.copysign(estimate);
    let (low, high) = (at(alpha / 2.0) * scale, at(1.0 - alpha / 2.0) * scale);
    let corrected = at(0.5) * scale;
    Ok(CorrectedWinner {
        estimate,
        corrected,
        interval: Interval::new(low.min(high), low.max(high), 1.0 - alpha),
        kept: corrected / estimate,
    })
}

/// ln P(Z ≥ z given |Z| > threshold) for a normal Z around `mean`.
fn ln_upper(z: f64, threshold: f64, mean: f64) -> f64 {
    let selected = ln_add_exp(normal::ln_sf(threshold - mean), normal::ln_sf(threshold + mean));
    normal::ln_sf(z - mean) - selected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_winner_keeps_its_effect_and_a_narrow_one_does_not() {
        let clear = correct(10.0, 1.0, 1.96, 0.05).unwrap();
        assert!((clear.kept - 1.0).abs() < 1e-9);
        let narrow = correct(2.0, 1.0, 1.96, 0.05).unwrap();
        assert!(narrow.kept < 0.5 && narrow.interval.contains(0.0), "{narrow:?}");
        let middle = correct(3.0, 1.0, 1.96, 0.05).unwrap();
        assert!(middle.kept > narrow.kept && middle.kept < 1.0);
    }

    #[test]
    fn sign_and_unit_do_not_matter() {
        let up = correct(2.5, 1.0, 1.96, 0.05).unwrap();
        let down = correct(-2.5e6, 1e6, 1.96, 0.05).unwrap();
        assert!((up.corrected + down.corrected / 1e6).abs() < 1e-9);
        assert!((up.interval.lower.unwrap() + down.interval.upper.unwrap() / 1e6).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_selected_cannot_be_corrected() {
        assert!(correct(1.0, 1.0, 1.96, 0.05).is_err() && correct(f64::NAN, 1.0, 1.96, 0.05).is_err());
        assert!(correct(1e9, 1.0, 1.96, 0.05).unwrap().kept > 0.999);
    }
}
