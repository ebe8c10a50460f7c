//! Always-valid p-values by the mixture sequential probability ratio test.
//!
//! Johari, Pekelis, Walsh, "Always valid inference" (arXiv:1512.04922): the effect under the alternative is normal
//! around 0 with variance τ², the estimate normal around the effect with variance V. The likelihood ratio of the mixture
//! against no effect is an e-value at every look; 1 over its largest value so far is a p-value at every look.

use serde::Serialize;

use crate::error::{StatsError, check_finite, check_positive, check_rate};

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MsprtLook {
    /// The natural logarithm of the mixture likelihood ratio, an e-value.
    pub log_e: f64,
    /// min(1, 1/e) at this look; the smallest so far is valid too.
    pub p_value: f64,
    /// Half the width of the interval that covers the effect at every look.
    pub half_width: f64,
}

/// The likelihood ratio, p-value and half-width for an estimate with variance `variance`.
///
/// `effect_variance` is τ²: the square of the effect that the experiment is planned for is a good choice.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is not finite or a variance is not above 0.
pub fn look(estimate: f64, variance: f64, effect_variance: f64, alpha: f64) -> Result<MsprtLook, StatsError> {
    check_finite("diff", estimate)?;
    check_positive("V", variance)?;
    check_positive("tau2", effect_variance)?;
    check_rate("alpha", alpha)?;
    let ratio = effect_variance / variance;
    let z = estimate / variance.sqrt();
    let log_e = -0.5 * ratio.ln_1p() + z * z * ratio / (2.0 * (1.0 + ratio));
    Ok(MsprtLook {
        log_e,
        p_value: (-log_e.max(0.0)).exp(),
        half_width: critical_value(ratio, alpha) * variance.sqrt(),
    })
}

/// The number of standard errors at which 1/e equals alpha, for `ratio` = τ²/V.
pub fn critical_value(ratio: f64, alpha: f64) -> f64 {
    ((1.0 + 1.0 / ratio) * (ratio.ln_1p() - 2.0 * alpha.ln())).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_excludes_no_effect_exactly_when_the_p_value_is_below_alpha() {
        let at = |estimate: f64| look(estimate, 0.04, 0.01, 0.05).unwrap();
        let border = at(0.0).half_width;
        assert!(at(border * 1.000_001).p_value < 0.05 && at(border * 0.999_999).p_value > 0.05);
        assert!((at(border).log_e + 0.05_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn unit_and_sign_do_not_matter() {
        let base = look(0.5, 0.04, 0.01, 0.05).unwrap();
        for scale in [-1.0, 1e-9, -1e9] {
            let other = look(0.5 * scale, 0.04 * scale * scale, 0.01 * scale * scale, 0.05).unwrap();
            assert!((base.log_e - other.log_e).abs() < 1e-12);
        }
        assert!(look(1e9, 1e-9, 1.0, 0.05).unwrap().p_value >= 0.0);
        assert!(look(f64::NAN, 1.0, 1.0, 0.05).is_err() && look(0.0, 0.0, 1.0, 0.05).is_err());
    }
}
