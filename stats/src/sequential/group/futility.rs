//! Stopping early for lack of effect: boundaries that spend the error of the second kind.

use serde::Serialize;

use super::bounds::{lower_bound, upper_bound};
use super::check_information;
use super::spending::Spending;
use super::walk::{Stop, Walk};
use crate::error::{StatsError, check_rate};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// Whether stopping for futility is a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The trial may go on below the lower boundary: the upper one holds its error rate all the same.
    NonBinding,
    /// The trial always stops below the lower boundary, which lets the upper one come down a little.
    Binding,
}

/// What a one-sided design with futility shall do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FutilityPlan {
    /// How the error of the first kind is spent.
    pub efficacy: Spending,
    /// That error, one-sided.
    pub alpha: f64,
    /// How the error of the second kind is spent.
    pub futility: Spending,
    /// That error, 1 − power.
    pub beta: f64,
    /// Whether stopping for futility is a promise.
    pub binding: Binding,
}

/// The boundaries at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FutilityLook {
    /// The information fraction.
    pub information: f64,
    /// Stop for effect when Z reaches this; absent when nothing is spent yet.
    pub upper: Option<f64>,
    /// Stop for futility when Z is at or below this; absent when nothing is spent yet.
    pub lower: Option<f64>,
}

/// A one-sided design that stops for effect or futility.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FutilityDesign {
    /// The mean of Z at full information that is found with probability 1 − beta.
    pub drift: f64,
    /// How many times the information of a test without looks it needs.
    pub inflation_factor: f64,
    /// The looks; at the last both boundaries meet.
    pub looks: Vec<FutilityLook>,
}

/// The design whose two boundaries meet at the last look.
///
/// # Errors
/// [`StatsError::InvalidInput`] when an argument is out of range or the last information fraction is not 1,
/// [`StatsError::NoSolution`] when alpha + beta is 1 or more.
pub fn design(information: &[f64], plan: FutilityPlan) -> Result<FutilityDesign, StatsError> {
    check_information(information)?;
    check_rate("alpha", 2.0 * plan.alpha)?;
    check_rate("beta", plan.beta)?;
    plan.efficacy.check()?;
    plan.futility.check()?;
    if information.last().is_none_or(|last| (last - 1.0).abs() > 1e-9) {
        return Err(StatsError::invalid(
            "t",
            "must end at 1 for a design with futility",
        ));
    }
    let fixed = normal::isf(plan.alpha) + normal::isf(plan.beta);
    // The boundaries meet when the drift makes the last lower boundary equal the last upper one.
    let gap = |drift: f64| {
        let looks = at_drift(information, plan, drift);
        // With too large a drift they cross before the last look, or fewer paths are left than beta has to be spent on.
        let between = |look: &FutilityLook| Some(look.lower? - look.upper?);
        let crossed = looks.iter().filter_map(between).find(|gap| *gap >= 0.0);
        crossed.or_else(|| looks.last().and_then(between)).unwrap_or(1.0)
    };
    let drift = brent(
        "futility drift",
        Bracket::new(0.5 * fixed, 4.0 * fixed + 1.0),
        1e-10,
        gap,
    )?;
    let mut looks = at_drift(information, plan, drift);
    if let Some(last) = looks.last_mut() {
        last.lower = last.upper;
    }
    Ok(FutilityDesign {
        drift,
        inflation_factor: (drift / fixed).powi(2),
        looks,
    })
}

fn at_drift(information: &[f64], plan: FutilityPlan, drift: f64) -> Vec<FutilityLook> {
    let (mut null, mut effect) = (Walk::new(0.0), Walk::new(drift));
    let (mut alpha_spent, mut beta_spent) = (0.0, 0.0);
    let mut looks = Vec::with_capacity(information.len());
    for (index, fraction) in information.iter().enumerate() {
        let (alpha, beta) = (
            plan.efficacy.spent(*fraction, plan.alpha),
            plan.futility.spent(*fraction, plan.beta),
        );
        let upper = upper_bound(&null, *fraction, alpha - alpha_spent);
        let start = drift * fraction.sqrt();
        let lower = lower_bound(&effect, *fraction, beta - beta_spent, start);
        (alpha_spent, beta_spent) = (alpha, beta);
        looks.push(FutilityLook {
            information: *fraction,
            upper,
            lower,
        });
        let Some(following) = information.get(index + 1).copied() else {
            break;
        };
        let null_lower = lower.filter(|_| plan.binding == Binding::Binding);
        null = null.advance(
            *fraction,
            Stop {
                lower: null_lower,
                upper,
            },
            Some(following),
        );
        effect = effect.advance(*fraction, Stop { lower, upper }, Some(following));
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequential::group::walk::exits;

    const PLAN: FutilityPlan = FutilityPlan {
        efficacy: Spending::HwangShihDecani { gamma: -4.0 },
        alpha: 0.025,
        futility: Spending::HwangShihDecani { gamma: -2.0 },
        beta: 0.1,
        binding: Binding::NonBinding,
    };

    #[test]
    fn both_error_rates_are_held() {
        // What must never change: alpha without, beta with the futility boundary in force.
        let information = [0.25, 0.5, 0.75, 1.0];
        for binding in [Binding::NonBinding, Binding::Binding] {
            let design = design(&information, FutilityPlan { binding, ..PLAN }).unwrap();
            let stops: Vec<Stop> = design
                .looks
                .iter()
                .map(|look| Stop {
                    lower: look.lower,
                    upper: look.upper,
                })
                .collect();
            let power: f64 = exits(&information, &stops, design.drift)
                .iter()
                .map(|exit| exit.upper)
                .sum();
            assert!((power - 0.9).abs() < 1e-7, "{power}");
            let in_force: Vec<Stop> = if binding == Binding::Binding {
                stops
            } else {
                stops.iter().map(|stop| Stop { lower: None, ..*stop }).collect()
            };
            let error: f64 = exits(&information, &in_force, 0.0)
                .iter()
                .map(|exit| exit.upper)
                .sum();
            assert!((error - 0.025).abs() < 1e-9, "{error}");
        }
    }

    #[test]
    fn agrees_with_the_published_default_design() {
        // Three looks, alpha 0.025, power 0.9, Hwang-Shih-DeCani -4 and -2, non-binding: inflation 1.07, first lower
        // boundary -0.2387, second 0.9410 (the worked default example of the R package gsDesign).
        let design = design(&[1.0 / 3.0, 2.0 / 3.0, 1.0], PLAN).unwrap();
        assert!(
            (design.inflation_factor - 1.070).abs() < 1e-3,
            "{}",
            design.inflation_factor
        );
        assert!(
            (design.looks[0].lower.unwrap() + 0.2387).abs() < 1e-3
                && (design.looks[1].lower.unwrap() - 0.9410).abs() < 1e-3
        );
        assert!(
            (design.looks[0].upper.unwrap() - 3.0107).abs() < 1e-3
                && (design.looks[2].upper.unwrap() - 1.9992).abs() < 1e-3
        );
    }

    #[test]
    fn what_is_out_of_range_has_a_reason() {
        assert!(
            design(&[0.5, 0.9], PLAN).is_err() && design(&[1.0], FutilityPlan { beta: 1.0, ..PLAN }).is_err()
        );
        assert!(
            design(
                &[1.0],
                FutilityPlan {
                    alpha: f64::NAN,
                    ..PLAN
                }
            )
            .is_err()
        );
        let single = design(&[1.0], PLAN).unwrap();
        assert!((single.inflation_factor - 1.0).abs() < 1e-8);
    }
}
