//! Many treatments against one control (Dunnett 1955): exact for normal values with a common variance.
//!
//! All comparisons share the control's noise z and the pooled standard deviation s; given both they are independent.
//! The chance that any of them exceeds c is integrated over z and s as a sum of tails, so that a p-value keeps its
//! digits however small it is.

mod family;
pub mod power;

use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::estimate::Interval;
use crate::frequentist::contrast::Alternative;
use crate::frequentist::sample::{Sample, too_few};
use family::Family;

/// More treatments than this are refused: the tables stop there, and so does use.
pub const MAX_TREATMENTS: usize = 100;

/// Statistics up to this size share one tabulated law.
const SHARED_REACH: f64 = 8.0;

/// One treatment against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DunnettComparison {
    /// Treatment minus control.
    pub difference: f64,
    /// Its standard error from the variance pooled over all arms.
    pub standard_error: f64,
    /// The difference in standard errors.
    pub statistic: f64,
    /// The p-value adjusted for all treatments.
    pub p_value: f64,
    /// The interval that holds together with those of the other treatments.
    pub interval: Interval,
}

/// All treatments against the control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dunnett {
    /// The degrees of freedom of the pooled variance.
    pub df: f64,
    /// The critical value of the statistic.
    pub critical: f64,
    /// One comparison per treatment, in their order.
    pub comparisons: Vec<DunnettComparison>,
}

/// What the test rests on.
pub const ASSUMPTIONS: &[&str] = &[
    "units are independent of each other",
    "all arms have the same variance and nearly normal means",
    "looked at once, when the planned number of units is reached",
];

/// Compares every treatment with the control.
///
/// # Errors
/// [`StatsError::TooFewUnits`], [`StatsError::ZeroVariance`], or an input error.
pub fn test(
    control: &Sample,
    treatments: &[Sample],
    alpha: f64,
    alternative: Alternative,
) -> Result<Dunnett, StatsError> {
    check_rate("alpha", alpha)?;
    check_count(treatments.len())?;
    control.variance("control")?;
    let (mut m2, mut df) = (control.m2, control.n as f64 - 1.0);
    for treatment in treatments {
        if treatment.n == 0 {
            return Err(too_few("treatment", 0, 1));
        }
        m2 += treatment.m2;
        df += treatment.n as f64 - 1.0;
    }
    let variance = m2 / df;
    if variance.is_nan() || variance <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let loadings: Vec<f64> = treatments
        .iter()
        .map(|treatment| loading(control.n, treatment.n))
        .collect();
    let family = Family {
        loadings: &loadings,
        df,
        alternative,
    };
    let effects: Vec<[f64; 2]> = treatments
        .iter()
        .map(|treatment| {
            let difference = treatment.mean.minus(control.mean).to_f64();
            let standard_error = (variance * (1.0 / control.n as f64 + 1.0 / treatment.n as f64)).sqrt();
            [difference, standard_error]
        })
        .collect();
    // Usual statistics share one law with the critical value; a far one gets its own.
    let bracket = family.bracket(alpha);
    let bounds: Vec<f64> = effects.iter().map(|[d, se]| family.bound(d / se)).collect();
    let near = bounds.iter().filter(|bound| bound.abs() < SHARED_REACH);
    let (low, high) = near.fold((bracket.low, bracket.high), |(low, high), bound| {
        (low.min(*bound), high.max(*bound))
    });
    let law = family.law(low, high);
    let critical = family.critical(alpha, bracket, &law)?;
    let comparisons = effects
        .into_iter()
        .zip(bounds)
        .map(|([difference, standard_error], bound)| {
            let statistic = difference / standard_error;
            let shared = (bound.abs() < SHARED_REACH).then_some(&law);
            DunnettComparison {
                difference,
                standard_error,
                statistic,
                p_value: family.p_value(bound, shared),
                interval: interval(difference, critical * standard_error, 1.0 - alpha, alternative),
            }
        })
        .collect();
    Ok(Dunnett {
        df,
        critical,
        comparisons,
    })
}

/// Treatments of one size against a control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// How many treatments.
    pub treatments: usize,
    /// The degrees of freedom of the pooled variance.
    pub df: f64,
    /// The correlation between comparisons: a treatment's units over those of treatment and control, one half as a rule.
    pub rho: f64,
    /// Which way a treatment may differ.
    pub alternative: Alternative,
}

/// The critical value of the greatest statistic.
///
/// # Errors
/// An input error, for alpha outside 0 to 1, no treatment, or a correlation outside 0 to 1.
pub fn critical_value(shape: Shape, alpha: f64) -> Result<f64, StatsError> {
    check_rate("alpha", alpha)?;
    check_count(shape.treatments)?;
    check_positive("df", shape.df)?;
    if !(0.0..1.0).contains(&shape.rho) {
        return Err(StatsError::invalid("rho", "must be at least 0 and below 1"));
    }
    let loadings = vec![shape.rho.sqrt(); shape.treatments];
    let family = Family {
        loadings: &loadings,
        df: shape.df,
        alternative: shape.alternative,
    };
    let bracket = family.bracket(alpha);
    family.critical(alpha, bracket, &family.law(bracket.low, bracket.high))
}

fn check_count(treatments: usize) -> Result<(), StatsError> {
    match treatments {
        0 => Err(StatsError::invalid("treatments", "must hold at least one")),
        count if count > MAX_TREATMENTS => Err(StatsError::TooLarge {
            what: "the number of treatments",
            size: count as u64,
            limit: MAX_TREATMENTS as u64,
        }),
        _ => Ok(()),
    }
}

/// How strongly a comparison shares the control's noise.
fn loading(control: u64, treatment: u64) -> f64 {
    (treatment as f64 / (treatment as f64 + control as f64)).sqrt()
}

fn interval(difference: f64, margin: f64, level: f64, alternative: Alternative) -> Interval {
    match alternative {
        Alternative::TwoSided => Interval::around(difference, margin, level),
        Alternative::Greater => Interval::new(difference - margin, f64::INFINITY, level),
        Alternative::Less => Interval::new(f64::NEG_INFINITY, difference + margin, level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::normal;

    #[test]
    fn dunnetts_tables_are_met() {
        // Dunnett (1964), two-sided 5 %: 2 treatments with 27 and 3 with 76 degrees of freedom; Dunnett's own rounding.
        let critical = |treatments, df, alpha, rho| {
            let shape = Shape {
                treatments,
                df,
                rho,
                alternative: Alternative::TwoSided,
            };
            critical_value(shape, alpha).unwrap()
        };
        assert!((critical(2, 27.0, 0.05, 0.5) - 2.33).abs() < 0.006);
        assert!((critical(3, 76.0, 0.05, 0.5) - 2.40).abs() < 0.006);
        // One treatment is Student's test, and no correlation with many units is Šidák's.
        assert!((critical(1, 38.0, 0.01, 0.5) - 2.711_557_601_9).abs() < 1e-7);
        let sidak = normal::isf(0.5 * -(0.95_f64.ln() / 4.0).exp_m1());
        assert!((critical(4, 1e9, 0.05, 0.0) - sidak).abs() < 1e-8);
    }

    #[test]
    fn degrees_of_freedom_near_0_have_no_critical_value() {
        // What must never change: a quantile beyond the largest number is a reason, not a panic.
        let shape = Shape {
            treatments: 3,
            df: f64::MIN_POSITIVE,
            rho: 0.5,
            alternative: Alternative::TwoSided,
        };
        assert!(critical_value(shape, 0.05).is_err());
    }

    #[test]
    fn interval_and_p_value_agree_and_order_does_not_matter() {
        let control = Sample::from_variance(40, 10.0, 4.0);
        let arms = [
            Sample::from_variance(30, 11.3, 3.0),
            Sample::from_variance(50, 10.1, 5.0),
        ];
        let answer = test(&control, &arms, 0.05, Alternative::TwoSided).unwrap();
        for comparison in &answer.comparisons {
            assert_eq!(comparison.p_value < 0.05, !comparison.interval.contains(0.0));
        }
        let turned = test(&control, &[arms[1], arms[0]], 0.05, Alternative::TwoSided).unwrap();
        assert!((turned.comparisons[1].p_value / answer.comparisons[0].p_value - 1.0).abs() < 1e-10);
    }
}
