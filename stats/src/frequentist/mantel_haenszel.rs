//! Two proportions over strata: the Cochran–Mantel–Haenszel test, and common risk difference, risk ratio and odds ratio.
//!
//! Strata may be many and small: a stratum without both arms says nothing and is left out, one without an event of either
//! outcome says nothing of a ratio. The common effect weighs strata by their size.

use serde::Serialize;

use crate::error::{StatsError, check_rate};
use crate::estimate::{Interval, PValue};
use crate::special::{chi2, normal};

/// What the method rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units are independent of each other, and a unit's stratum was known before exposure",
    "many units over all strata; each stratum may have few",
    "the common effect is the same in every stratum, or is meant as their weighted mean",
    "looked at once, when the planned number of units is reached",
];

/// One stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// The control's units with an event.
    pub control_events: u64,
    /// The control's units.
    pub control_units: u64,
    /// The treatment's units with an event.
    pub treatment_events: u64,
    /// The treatment's units.
    pub treatment_units: u64,
}

/// A common effect with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CommonEffect {
    /// The effect.
    pub estimate: f64,
    /// Its standard error; on the logarithmic scale for ratios.
    pub standard_error: f64,
    /// Its interval.
    pub interval: Interval,
}

/// The answer over all strata.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MantelHaenszel {
    /// The statistic of Cochran, Mantel and Haenszel without continuity correction, chi-square with one degree of freedom.
    pub chi2: f64,
    /// Its p-value.
    pub p_value: PValue,
    /// The common risk difference, treatment minus control; absent where its variance is 0.
    pub risk_difference: Option<CommonEffect>,
    /// The common risk ratio, treatment over control; absent without an event in an arm.
    pub risk_ratio: Option<CommonEffect>,
    /// The common odds ratio; absent where it is 0 or infinite.
    pub odds_ratio: Option<CommonEffect>,
    /// Strata with units in both arms.
    pub strata: u64,
}

/// Compares two proportions over strata (Cochran 1954; Mantel and Haenszel, JNCI 1959).
///
/// Standard errors: of the risk difference after Sato (Biometrics 1989), of the logarithm of the risk ratio after
/// Greenland and Robins (Biometrics 1985), of that of the odds ratio after Robins, Breslow and Greenland (Biometrics 1986);
/// all hold for few large and for many small strata.
///
/// # Errors
/// [`StatsError::ZeroVariance`] when no stratum has units in both arms and both outcomes, an input error for more events
/// than units or an alpha out of range.
pub fn test(tables: &[Table], alpha: f64) -> Result<MantelHaenszel, StatsError> {
    check_rate("alpha", alpha)?;
    let mut sums = Sums::default();
    for table in tables {
        if table.control_events > table.control_units || table.treatment_events > table.treatment_units {
            return Err(StatsError::invalid(
                "strata",
                "must not have more events than units",
            ));
        }
        if table.control_units > 0 && table.treatment_units > 0 {
            sums.add(table);
        }
    }
    if sums.variance <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let statistic = sums.excess * (sums.excess / sums.variance);
    let ln_p = chi2::ln_sf(statistic, 1.0);
    let z = normal::isf(0.5 * alpha);
    Ok(MantelHaenszel {
        chi2: statistic,
        p_value: PValue::known("the tail of chi-square", ln_p)?,
        risk_difference: sums.risk_difference(z, alpha),
        risk_ratio: sums.risk_ratio(z, alpha),
        odds_ratio: sums.odds_ratio(z, alpha),
        strata: sums.strata,
    })
}

/// Sums over strata, with the treatment's row first in the names of the literature.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    strata: u64,
    /// Events of the treatment beyond those expected, and their hypergeometric variance.
    excess: f64,
    variance: f64,
    /// Σ of the risk difference's weights n₁n₀/n and its parts.
    weight: f64,
    weighted_difference: f64,
    sato: [f64; 2],
    /// Parts of the risk ratio.
    risk: [f64; 2],
    risk_variance: f64,
    /// Parts of the odds ratio: R, S, ΣPR, Σ(PS + QR), ΣQS.
    odds: [f64; 2],
    odds_variance: [f64; 3],
}

impl Sums {
    fn add(&mut self, table: &Table) {
        let (a, left) = (table.treatment_events as f64, table.treatment_units as f64);
        let (c, right) = (table.control_events as f64, table.control_units as f64);
        let (b, d) = (left - a, right - c);
        let total = left + right;
        let events = a + c;
        self.strata += 1;
        // a − left·events/total with the products subtracted first: exact for counts below 2⁵³.
        let difference = (a * right - c * left) / total;
        self.excess += difference;
        if total > 1.0 {
            self.variance += left / total * (right / total) * events * ((total - events) / (total - 1.0));
        }
        self.weight += left * (right / total);
        self.weighted_difference += difference;
        self.sato[0] += left / total * (left / total) * c - right / total * (right / total) * a
            + 0.5 * (left / total) * (right / total) * (right - left);
        self.sato[1] += 0.5 * (a / total * d + c / total * b);
        self.risk[0] += a * (right / total);
        self.risk[1] += c * (left / total);
        self.risk_variance += left / total * (right / total) * events - a / total * c;
        let (r, s) = (a / total * d, b / total * c);
        let (p, q) = ((a + d) / total, (b + c) / total);
        self.odds[0] += r;
        self.odds[1] += s;
        self.odds_variance[0] += p * r;
        self.odds_variance[1] += p * s + q * r;
        self.odds_variance[2] += q * s;
    }

    fn risk_difference(&self, z: f64, alpha: f64) -> Option<CommonEffect> {
        let estimate = self.weighted_difference / self.weight;
        let variance = (estimate * self.sato[0] + self.sato[1]) / (self.weight * self.weight);
        (variance > 0.0).then(|| CommonEffect {
            estimate,
            standard_error: variance.sqrt(),
            interval: Interval::around(estimate, z * variance.sqrt(), 1.0 - alpha),
        })
    }

    fn risk_ratio(&self, z: f64, alpha: f64) -> Option<CommonEffect> {
        let [above, below] = self.risk;
        let variance = self.risk_variance / above / below;
        logarithmic(above / below, variance, z, alpha)
    }

    fn odds_ratio(&self, z: f64, alpha: f64) -> Option<CommonEffect> {
        let [r, s] = self.odds;
        let [first, second, third] = self.odds_variance;
        let variance = 0.5 * (first / r / r + second / r / s + third / s / s);
        logarithmic(r / s, variance, z, alpha)
    }
}

/// A ratio with the interval of its logarithm; none without a logarithm.
fn logarithmic(ratio: f64, variance: f64, z: f64, alpha: f64) -> Option<CommonEffect> {
    let known = ratio > 0.0 && ratio.is_finite() && variance > 0.0 && variance.is_finite();
    known.then(|| {
        let (center, margin) = (ratio.ln(), z * variance.sqrt());
        CommonEffect {
            estimate: ratio,
            standard_error: variance.sqrt(),
            interval: Interval::new((center - margin).exp(), (center + margin).exp(), 1.0 - alpha),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(counts: [u64; 4]) -> Table {
        Table {
            control_events: counts[0],
            control_units: counts[1],
            treatment_events: counts[2],
            treatment_units: counts[3],
        }
    }

    const STRATA: [[u64; 4]; 3] = [[10, 100, 20, 110], [3, 40, 9, 50], [30, 80, 20, 40]];

    #[test]
    fn one_stratum_is_the_table_itself() {
        let answer = test(&[table([10, 100, 20, 110])], 0.05).unwrap();
        let (left, right) = (0.1, 20.0 / 110.0);
        assert!((answer.risk_difference.unwrap().estimate - (right - left)).abs() < 1e-14);
        assert!((answer.risk_ratio.unwrap().estimate - right / left).abs() < 1e-13);
        assert!((answer.odds_ratio.unwrap().estimate - 20.0 * 90.0 / (90.0 * 10.0)).abs() < 1e-13);
        // The delta method's standard errors of one table (Woolf 1955, Katz 1978).
        let woolf: f64 = 1.0 / 20.0 + 1.0 / 90.0 + 1.0 / 10.0 + 1.0 / 90.0;
        assert!((answer.odds_ratio.unwrap().standard_error - woolf.sqrt()).abs() < 1e-13);
        let katz: f64 = 1.0 / 20.0 - 1.0 / 110.0 + 1.0 / 10.0 - 1.0 / 100.0;
        assert!((answer.risk_ratio.unwrap().standard_error - katz.sqrt()).abs() < 1e-13);
        // Pearson's statistic times (n − 1)/n.
        let pearson = 210.0 * f64::powi(20.0 * 90.0 - 90.0 * 10.0, 2) / (110.0 * 100.0 * 30.0 * 180.0);
        assert!((answer.chi2 - pearson * 209.0 / 210.0).abs() < 1e-12);
    }

    #[test]
    fn swapping_arms_turns_the_effect_and_keeps_the_evidence() {
        let forward = test(&STRATA.map(table), 0.05).unwrap();
        let backward = test(&STRATA.map(|[a, b, c, d]| table([c, d, a, b])), 0.05).unwrap();
        let of = |answer: &MantelHaenszel| {
            (
                answer.risk_difference.unwrap(),
                answer.risk_ratio.unwrap(),
                answer.odds_ratio.unwrap(),
            )
        };
        let ((one, two, three), (back_one, back_two, back_three)) = (of(&forward), of(&backward));
        assert!((forward.chi2 - backward.chi2).abs() < 1e-12);
        assert!((one.estimate + back_one.estimate).abs() < 1e-14);
        assert!((one.standard_error - back_one.standard_error).abs() < 1e-14);
        assert!((two.estimate * back_two.estimate - 1.0).abs() < 1e-13);
        assert!((three.estimate * back_three.estimate - 1.0).abs() < 1e-13);
    }

    #[test]
    fn empty_strata_and_rare_events_are_no_obstacle() {
        let mut tables: Vec<Table> = STRATA.map(table).to_vec();
        let base = test(&tables, 0.05).unwrap();
        tables.push(table([0, 0, 5, 50]));
        assert_eq!(test(&tables, 0.05).unwrap(), base);
        let none = test(&[table([0, 10, 0, 10])], 0.05);
        assert_eq!(none, Err(StatsError::ZeroVariance));
        let rare = test(&[table([0, 1_000, 6, 1_000]), table([0, 10, 0, 10])], 0.05).unwrap();
        assert!(rare.risk_ratio.is_none() && rare.odds_ratio.is_none() && rare.risk_difference.is_some());
        let more = test(&[table([11, 10, 0, 10])], 0.05);
        assert!(matches!(more, Err(StatsError::InvalidInput { .. })));
    }
}
