//! Intervals for one proportion: Wilson, Clopper–Pearson, Jeffreys, Agresti–Coull, Wald.
//!
//! Wilson's is the default (Brown, Cai, DasGupta 2001); Clopper–Pearson's never covers less than it says.

use serde::Serialize;

use crate::error::{StatsError, check_rate};
use crate::estimate::{Interval, known};
use crate::special::beta::{Share, beta_isf, beta_quantile};
use crate::special::normal;

/// What the exact intervals are made of.
const LIMIT: &str = "a quantile of the beta distribution";

/// All intervals for one proportion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProportionIntervals {
    /// Wilson (1927): the score interval.
    pub wilson: Interval,
    /// Clopper and Pearson (1934): exact.
    pub clopper_pearson: Interval,
    /// Jeffreys' prior, with 0 and 1 as ends where nothing or everything succeeded.
    pub jeffreys: Interval,
    /// Agresti and Coull (1998): Wald's around Wilson's centre.
    pub agresti_coull: Interval,
    /// Wald: for comparison only, it has no width without a success.
    pub wald: Interval,
}

/// Every interval at the level 1 − alpha.
///
/// # Errors
/// [`StatsError::InvalidInput`] for more successes than units or an alpha outside 0 to 1, [`StatsError::TooFewUnits`]
/// without a unit.
pub fn intervals(successes: u64, units: u64, alpha: f64) -> Result<ProportionIntervals, StatsError> {
    check(successes, units)?;
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let (x, n) = (successes as f64, units as f64);
    let (p, level) = (x / n, 1.0 - alpha);
    let more = n + z * z;
    let center = (x + 0.5 * z * z) / more;
    let wald =
        |center: f64, n: f64| Interval::around(center, z * (center * (1.0 - center) / n).sqrt(), level);
    Ok(ProportionIntervals {
        wilson: wilson(successes, units, alpha)?,
        clopper_pearson: clopper_pearson(successes, units, alpha)?,
        jeffreys: jeffreys(successes, units, alpha)?,
        agresti_coull: wald(center, more),
        wald: wald(p, n),
    })
}

/// Wilson's interval.
///
/// # Errors
/// As [`intervals`].
pub fn wilson(successes: u64, units: u64, alpha: f64) -> Result<Interval, StatsError> {
    check(successes, units)?;
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let (x, n) = (successes as f64, units as f64);
    let square = z * z;
    let root = z * (x * ((n - x) / n) + 0.25 * square).sqrt();
    let base = x + 0.5 * square;
    // Each end from the side that adds instead of subtracting: the product of both ends is x²/(n·(n + z²)).
    let upper = (base + root) / (n + square);
    let lower = x * (x / n) / (base + root);
    Ok(Interval::new(lower, upper.min(1.0), 1.0 - alpha))
}

/// Clopper and Pearson's exact interval.
///
/// # Errors
/// As [`intervals`].
pub fn clopper_pearson(successes: u64, units: u64, alpha: f64) -> Result<Interval, StatsError> {
    check(successes, units)?;
    check_rate("alpha", alpha)?;
    let (x, n) = (successes as f64, units as f64);
    let lower = if successes == 0 {
        0.0
    } else {
        known(LIMIT, beta_quantile(x, n - x + 1.0, 0.5 * alpha).x)?
    };
    let upper = if successes == units {
        1.0
    } else {
        known(LIMIT, beta_isf(x + 1.0, n - x, 0.5 * alpha).x)?
    };
    Ok(Interval::new(lower, upper, 1.0 - alpha))
}

/// The equal-tailed interval of Jeffreys' posterior, widened to the end where nothing or everything succeeded.
///
/// # Errors
/// As [`intervals`].
pub fn jeffreys(successes: u64, units: u64, alpha: f64) -> Result<Interval, StatsError> {
    check(successes, units)?;
    check_rate("alpha", alpha)?;
    let (a, b) = (successes as f64 + 0.5, (units - successes) as f64 + 0.5);
    let end = |share: Share| known(LIMIT, share.x);
    let lower = if successes == 0 {
        0.0
    } else {
        end(beta_quantile(a, b, 0.5 * alpha))?
    };
    let upper = if successes == units {
        1.0
    } else {
        end(beta_isf(a, b, 0.5 * alpha))?
    };
    Ok(Interval::new(lower, upper, 1.0 - alpha))
}

fn check(successes: u64, units: u64) -> Result<(), StatsError> {
    if units == 0 {
        return Err(super::sample::too_few("the sample", 0, 1));
    }
    if successes > units {
        return Err(StatsError::invalid("x", "must be at most n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcombes_table_is_met() {
        // Newcombe (1998), Table I: 81 of 263.
        let answer = intervals(81, 263, 0.05).unwrap();
        assert!((answer.wilson.lower.unwrap() - 0.2553).abs() < 6e-5);
        assert!((answer.wilson.upper.unwrap() - 0.3662).abs() < 6e-5);
        assert!((answer.clopper_pearson.lower.unwrap() - 0.2527).abs() < 6e-5);
        assert!((answer.clopper_pearson.upper.unwrap() - 0.3676).abs() < 6e-5);
    }

    #[test]
    fn without_a_success_the_exact_end_has_a_closed_form() {
        // What libraries get wrong for tiny error rates: 1 − (α/2)^(1/n).
        for alpha in [0.05, 1e-6, 1e-12] {
            let upper = clopper_pearson(0, 500, alpha).unwrap().upper.unwrap();
            let truth = -((0.5 * alpha).ln() / 500.0).exp_m1();
            assert!((upper / truth - 1.0).abs() < 1e-12, "{alpha}");
        }
    }

    #[test]
    fn successes_and_failures_are_mirror_images() {
        let (one, two) = (intervals(3, 40, 0.1).unwrap(), intervals(37, 40, 0.1).unwrap());
        for (left, right) in [
            (one.wilson, two.wilson),
            (one.clopper_pearson, two.clopper_pearson),
            (one.jeffreys, two.jeffreys),
        ] {
            assert!((left.lower.unwrap() + right.upper.unwrap() - 1.0).abs() < 1e-12);
        }
    }
}
