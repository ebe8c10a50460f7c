//! Equivalence and non-inferiority: shows that a difference is small enough, which "not significant" does not.

use serde::Serialize;

use super::contrast::{Alternative, Contrast, TAIL};
use crate::error::{StatsError, check_finite, check_positive, check_rate};
use crate::estimate::{Interval, PValue};

/// Two one-sided tests against a margin (Schuirmann 1987).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Equivalence {
    /// The distance from the lower margin in standard errors.
    pub t_lower: f64,
    /// The distance from the upper margin in standard errors.
    pub t_upper: f64,
    /// Against "the difference is at most −margin".
    pub p_lower: PValue,
    /// Against "the difference is at least the margin".
    pub p_upper: PValue,
    /// The larger of both.
    pub p_value: PValue,
    /// Whether the difference is shown to lie within the margin.
    pub equivalent: bool,
    /// The interval at level 1 − 2·alpha, which lies within the margin exactly when both tests reject.
    pub interval: Interval,
}

/// Tests whether the difference lies within ±margin.
///
/// # Errors
/// When the margin is not above 0 or alpha does not lie between 0 and ½.
pub fn tost(contrast: &Contrast, margin: f64, alpha: f64) -> Result<Equivalence, StatsError> {
    check_positive("margin", margin)?;
    check_rate("alpha", alpha)?;
    check_rate("alpha", 2.0 * alpha)?;
    let p_lower = PValue::known(TAIL, contrast.ln_p_against(-margin, Alternative::Greater))?;
    let p_upper = PValue::known(TAIL, contrast.ln_p_against(margin, Alternative::Less))?;
    let p_value = if p_lower.log10 > p_upper.log10 {
        p_lower
    } else {
        p_upper
    };
    let half = contrast.margin(2.0 * alpha)?;
    Ok(Equivalence {
        t_lower: (contrast.difference + margin) / contrast.standard_error,
        t_upper: (contrast.difference - margin) / contrast.standard_error,
        p_lower,
        p_upper,
        p_value,
        equivalent: p_value.p < alpha,
        interval: Interval::around(contrast.difference, half, 1.0 - 2.0 * alpha),
    })
}

/// A non-inferiority test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct NonInferiority {
    /// Against "worse by the margin or more".
    pub p_value: PValue,
    /// Whether the treatment is shown to be worse by less than the margin.
    pub non_inferior: bool,
    /// The one-sided interval at level 1 − alpha.
    pub interval: Interval,
}

/// Tests whether the treatment is worse than the control by less than `margin`, where more is better or less is.
///
/// # Errors
/// When the margin is negative or alpha does not lie between 0 and 1.
pub fn non_inferiority(
    contrast: &Contrast,
    margin: f64,
    alpha: f64,
    better: Alternative,
) -> Result<NonInferiority, StatsError> {
    check_finite("margin", margin)?;
    if margin < 0.0 || better == Alternative::TwoSided {
        return Err(StatsError::invalid(
            "margin",
            "must be at least 0, with one direction that is better",
        ));
    }
    let null = if better == Alternative::Greater {
        -margin
    } else {
        margin
    };
    let p_value = PValue::known(TAIL, contrast.ln_p_against(null, better))?;
    let question = super::contrast::Question {
        alpha,
        alternative: better,
    };
    Ok(NonInferiority {
        p_value,
        non_inferior: p_value.p < alpha,
        interval: contrast.interval(question)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frequentist::mean::welch_contrast;
    use crate::frequentist::sample::Sample;

    fn contrast(difference: f64) -> Contrast {
        let control = Sample::from_variance(50, 0.0, 1.0);
        welch_contrast(&control, &Sample::from_variance(80, difference, 1.0)).unwrap()
    }

    #[test]
    fn interval_and_tests_agree() {
        for difference in [-0.6, -0.2, 0.0, 0.1, 0.19, 0.4] {
            let answer = tost(&contrast(difference), 0.5, 0.05).unwrap();
            let inside = answer.interval.lower.unwrap() > -0.5 && answer.interval.upper.unwrap() < 0.5;
            assert_eq!(answer.equivalent, inside, "{difference}");
        }
        let closed = tost(&contrast(0.5), 0.5, 0.05).unwrap();
        assert!((closed.p_upper.p - 0.5).abs() < 1e-12);
    }

    #[test]
    fn turning_the_direction_turns_the_answer() {
        let up = non_inferiority(&contrast(-0.1), 0.4, 0.05, Alternative::Greater).unwrap();
        let down = non_inferiority(&contrast(0.1), 0.4, 0.05, Alternative::Less).unwrap();
        assert!((up.p_value.p - down.p_value.p).abs() < 1e-15);
        assert!(non_inferiority(&contrast(0.1), 0.4, 0.05, Alternative::TwoSided).is_err());
    }
}
