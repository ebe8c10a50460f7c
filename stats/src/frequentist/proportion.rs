//! Two proportions: z-tests and intervals for the difference, and the ratio.
//!
//! For a difference the default is the score interval of Miettinen and Nurminen (in [`super::score`]), which holds from
//! a handful of successes on; Newcombe's costs less and comes close. The z-interval is shown for large counts only.

use serde::Serialize;

use super::contrast::{ArmValue, Contrast};
use super::exact::Table;
use crate::error::{StatsError, check_rate};
use crate::estimate::Interval;
use crate::special::normal;

/// The z statistic with its p-values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ZTest {
    /// The difference in standard errors.
    pub z: f64,
    /// The two-sided p-value.
    pub p_value: f64,
    /// Its decimal logarithm.
    pub log10_p: f64,
}

impl ZTest {
    fn new(z: f64) -> Self {
        let ln_p = normal::ln_two_sided(z);
        Self {
            z,
            p_value: ln_p.exp(),
            log10_p: ln_p * std::f64::consts::LOG10_E,
        }
    }
}

/// A chi-square statistic with its p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChiSquare {
    /// The statistic.
    pub chi2: f64,
    /// The p-value.
    pub p_value: f64,
}

/// The success rates of both arms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Of the control.
    pub control: f64,
    /// Of the treatment.
    pub treatment: f64,
    /// Treatment minus control, exact to the last digits also where both are close.
    pub difference: f64,
}

/// The success rates of a table.
pub fn rates(table: &Table) -> Rates {
    let (left, right) = (table.control_units as f64, table.treatment_units as f64);
    let (first, second) = (table.control_successes as f64, table.treatment_successes as f64);
    // Cross-multiplied in whole numbers, so that what both rates share cancels exactly.
    let cross = i128::from(table.treatment_successes) * i128::from(table.control_units)
        - i128::from(table.control_successes) * i128::from(table.treatment_units);
    Rates {
        control: first / left,
        treatment: second / right,
        difference: cross as f64 / left / right,
    }
}

/// Each arm's rate with its variance p(1 − p)/n.
pub fn arm_values(table: &Table) -> [ArmValue; 2] {
    let arm = |successes: u64, units: u64| {
        let (x, n) = (successes as f64, units as f64);
        ArmValue {
            value: x / n,
            variance: x / n * ((n - x) / n) / n,
            df: f64::INFINITY,
            units,
        }
    };
    [
        arm(table.control_successes, table.control_units),
        arm(table.treatment_successes, table.treatment_units),
    ]
}

/// The z-test with the common rate of both arms, the usual test against no difference.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when all units or none succeed.
pub fn z_pooled(table: &Table) -> Result<ZTest, StatsError> {
    let (left, right) = (table.control_units as f64, table.treatment_units as f64);
    let total = left + right;
    let successes = (table.control_successes + table.treatment_successes) as f64;
    let variance = successes / total * ((total - successes) / total) * (1.0 / left + 1.0 / right);
    if variance <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    Ok(ZTest::new(rates(table).difference / variance.sqrt()))
}

/// The z-test with each arm's own rate, which its interval belongs to.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when neither arm varies.
pub fn z_unpooled(table: &Table) -> Result<ZTest, StatsError> {
    Ok(ZTest::new(contrast(table)?.statistic()))
}

/// The difference of the rates as a normal contrast.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when neither arm varies.
pub fn contrast(table: &Table) -> Result<Contrast, StatsError> {
    let [control, treatment] = arm_values(table);
    Ok(Contrast::welch(control, treatment, rates(table).difference)?.normal())
}

/// Pearson's chi-square for the two-by-two table, the square of the pooled z, with Yates' correction or without.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when all units or none succeed.
pub fn chi_square(table: &Table, corrected: bool) -> Result<ChiSquare, StatsError> {
    let z = z_pooled(table)?.z;
    let chi2 = if corrected {
        // Each cell is moved by at most one half towards its expectation, and not beyond it.
        let (left, right) = (table.control_units as f64, table.treatment_units as f64);
        let gap = rates(table).difference.abs() * left * right / (left + right);
        let kept = if gap > 0.5 { (gap - 0.5) / gap } else { 0.0 };
        (z * kept).powi(2)
    } else {
        z * z
    };
    Ok(ChiSquare {
        chi2,
        p_value: normal::two_sided(chi2.sqrt()),
    })
}

/// The z-interval with each arm's own rate (Wald): too narrow for small counts.
///
/// # Errors
/// When alpha does not lie between 0 and 1.
pub fn wald(table: &Table, alpha: f64) -> Result<Interval, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let [control, treatment] = arm_values(table);
    let margin = z * (control.variance + treatment.variance).sqrt();
    Ok(Interval::around(rates(table).difference, margin, 1.0 - alpha))
}

/// The z-interval after adding one success and one failure to each arm (Agresti and Caffo 2000).
///
/// # Errors
/// When alpha does not lie between 0 and 1.
pub fn agresti_caffo(table: &Table, alpha: f64) -> Result<Interval, StatsError> {
    let more = Table {
        control_successes: table.control_successes + 1,
        control_units: table.control_units + 2,
        treatment_successes: table.treatment_successes + 1,
        treatment_units: table.treatment_units + 2,
    };
    wald(&more, alpha)
}

/// The interval made of both arms' Wilson intervals (Newcombe 1998, method 10).
///
/// # Errors
/// When alpha does not lie between 0 and 1.
pub fn newcombe(table: &Table, alpha: f64) -> Result<Interval, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let left = wilson_distances(table.control_successes, table.control_units, z);
    let right = wilson_distances(table.treatment_successes, table.treatment_units, z);
    let difference = rates(table).difference;
    Ok(Interval::new(
        difference - right.below.hypot(left.above),
        difference + left.below.hypot(right.above),
        1.0 - alpha,
    ))
}

/// How far a Wilson interval reaches below and above the rate.
struct Distances {
    below: f64,
    above: f64,
}

fn wilson_distances(successes: u64, units: u64, z: f64) -> Distances {
    let (x, n) = (successes as f64, units as f64);
    let (p, q) = (x / n, (n - x) / n);
    let half = 0.5 * z * z / n;
    // Distances from the rate itself, so that a rate near 0 or 1 keeps its digits.
    let shift = half * (q - p);
    let root = z * (p * q / n + 0.5 * half / n).sqrt();
    let scale = 1.0 + 2.0 * half;
    Distances {
        below: ((root - shift) / scale).clamp(0.0, p),
        above: ((root + shift) / scale).clamp(0.0, q),
    }
}

/// The ratio of the rates with Katz's logarithmic interval (Katz et al. 1978).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateRatio {
    /// Treatment over control.
    pub ratio: f64,
    /// Its interval.
    pub interval: Interval,
}

/// The ratio of the rates.
///
/// # Errors
/// [`StatsError::BaselineNotPositive`] without a success in either arm.
pub fn rate_ratio(table: &Table, alpha: f64) -> Result<RateRatio, StatsError> {
    let z = normal::isf(0.5 * check_rate("alpha", alpha)?);
    let [control, treatment] = arm_values(table);
    if table.control_successes == 0 || table.treatment_successes == 0 {
        return Err(StatsError::BaselineNotPositive {
            baseline: control.value,
        });
    }
    let ratio = treatment.value / control.value;
    let noise =
        z * (control.variance.sqrt() / control.value).hypot(treatment.variance.sqrt() / treatment.value);
    Ok(RateRatio {
        ratio,
        interval: Interval::new(ratio * (-noise).exp(), ratio * noise.exp(), 1.0 - alpha),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        // Newcombe (1998), Table II (a): 56 of 70 against 48 of 80, the second as the control.
        Table::new(48, 80, 56, 70).unwrap()
    }

    fn check(interval: Interval, lower: f64, upper: f64) {
        assert!((interval.lower.unwrap() - lower).abs() < 6e-5, "{interval:?}");
        assert!((interval.upper.unwrap() - upper).abs() < 6e-5, "{interval:?}");
    }

    #[test]
    fn newcombes_table_is_met() {
        check(wald(&table(), 0.05).unwrap(), 0.0575, 0.3425);
        check(newcombe(&table(), 0.05).unwrap(), 0.0524, 0.3339);
    }

    #[test]
    fn swapping_arms_mirrors_every_interval() {
        let swapped = Table::new(56, 70, 48, 80).unwrap();
        for method in [wald, agresti_caffo, newcombe] {
            let (one, two) = (method(&table(), 0.1).unwrap(), method(&swapped, 0.1).unwrap());
            assert!((one.lower.unwrap() + two.upper.unwrap()).abs() < 1e-15);
        }
        assert!((z_pooled(&table()).unwrap().z + z_pooled(&swapped).unwrap().z).abs() < 1e-15);
    }

    #[test]
    fn nothing_and_everything_are_answered_or_refused_by_name() {
        let none = Table::new(0, 10, 0, 20).unwrap();
        assert_eq!(z_pooled(&none), Err(StatsError::ZeroVariance));
        assert!(newcombe(&none, 0.05).unwrap().upper.unwrap() > 0.1);
        assert!(rate_ratio(&none, 0.05).is_err());
        let billions = Table::new(500_000_000, 1_000_000_000, 500_000_001, 1_000_000_000).unwrap();
        assert!((rates(&billions).difference - 1e-9).abs() < 1e-24);
    }
}
