//! One plan for every kind of metric, goal and way of looking: what is left out of effect, units and power is found.
//!
//! A comparison with the control is described by the variance of one unit's value, by the error rate that is left for it
//! after correction, and by how often it is looked at ([`Looking`]). Its power is then a function of the number of units
//! and of the effect; size and effect are roots of that function, so that the three answers always agree with each other.
//! Means that are looked at once use the t-test; everything else uses the normal limit.

mod comparison;
mod looking;
mod metric;

use serde::Serialize;

use crate::error::StatsError;

pub use looking::{Looking, MAX_PLANNED_LOOKS};
pub use metric::{Metric, RatioMoments};

use comparison::Comparison;

/// What is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// That there is an effect.
    Superiority,
    /// That the treatment is not worse than the control by the margin.
    NonInferiority,
    /// That treatment and control differ by less than the margin either way, by two one-sided tests.
    Equivalence,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// How the error rate is shared among comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Every comparison has the whole error rate.
    None,
    /// The error rate over the number of comparisons; what Holm's method starts from.
    Bonferroni,
    /// As much more than Bonferroni as independent comparisons allow.
    Sidak,
    /// Dunnett's joint distribution over the arms, Bonferroni over the metrics.
    Dunnett,
}

/// An experiment that is to be planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is measured.
    pub metric: Metric,
    /// What is to be shown.
    pub goal: Goal,
    /// Which way is good, and which way an effect is looked for.
    pub better: Better,
    /// Whether superiority is tested in the good direction alone; the other goals always are.
    pub one_sided: bool,
    /// When the data are looked at.
    pub looking: Looking,
    /// The error rate over all comparisons.
    pub alpha: f64,
    /// How it is shared.
    pub correction: Correction,
    /// Traffic shares of all arms, the control first, in any unit.
    pub shares: Vec<f64>,
    /// The number of metrics that are decided on.
    pub metrics: u64,
    /// The share of the variance that adjustment for covariates leaves, 1 without.
    pub variance_left: f64,
}

/// What is known; exactly one of effect, units and power is absent.
///
/// Under [`Goal::NonInferiority`] and [`Goal::Equivalence`] the margin takes the part of the effect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Treatment minus control for superiority, the margin otherwise.
    pub effect: Option<f64>,
    /// The units of all arms together.
    pub units: Option<f64>,
    /// The power of one comparison with the smallest treatment.
    pub power: Option<f64>,
    /// The true difference that is believed in when a margin is planned for; 0 as a rule.
    pub true_difference: f64,
}

/// What was left out and found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The effect, or the margin.
    Effect,
    /// The units.
    Units,
    /// The power.
    Power,
}

/// A plan with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// What was found.
    pub found: Found,
    /// Treatment minus control for superiority, the margin otherwise.
    pub effect: f64,
    /// The same relative to the control, where the control's value is known.
    pub relative_effect: Option<f64>,
    /// The power.
    pub power: f64,
    /// The units of all arms together, not rounded.
    pub units: f64,
    /// Whole units per arm, the control first.
    pub units_per_arm: Vec<u64>,
    /// The sum of these.
    pub total_units: u64,
    /// The number of comparisons among which the error rate is shared.
    pub comparisons: u64,
    /// The error rate of each.
    pub alpha_per_comparison: f64,
    /// The standard error of the difference at the end.
    pub standard_error: f64,
    /// The units over those of one look at the end with the same error rate and power.
    pub inflation: Option<f64>,
    /// Mean units until the end when the effect is there, for a design that may end early.
    pub expected_units_under_effect: Option<f64>,
    /// What the answer rests on.
    pub assumptions: Vec<String>,
    /// What a reader should know about this plan in particular.
    pub warnings: Vec<String>,
}

/// Finds what is left out.
///
/// # Errors
/// [`StatsError::InvalidInput`] names what is out of range, or says that not exactly one thing was left out;
/// [`StatsError::NoSolution`] when no number of units or no effect is enough.
///
/// # Example
/// ```
/// use stats::design::plan::{Better, Correction, Goal, Known, Looking, Metric, Plan, solve};
/// let plan = Plan {
///     metric: Metric::Proportion { baseline: 0.2 },
///     goal: Goal::Superiority,
///     better: Better::Higher,
///     one_sided: false,
///     looking: Looking::Once,
///     alpha: 0.05,
///     correction: Correction::None,
///     shares: vec![1.0, 1.0],
///     metrics: 1,
///     variance_left: 1.0,
/// };
/// let known = Known { effect: Some(0.05), units: None, power: Some(0.8), true_difference: 0.0 };
/// assert_eq!(solve(&plan, known)?.units_per_arm, [1094, 1094]);
/// # Ok::<(), stats::StatsError>(())
/// ```
pub fn solve(plan: &Plan, known: Known) -> Result<Planned, StatsError> {
    let comparison = Comparison::new(plan, known.true_difference)?;
    let (found, effect, units) = match (known.effect, known.units, known.power) {
        (Some(effect), Some(units), None) => (Found::Power, effect, units),
        (Some(effect), None, Some(power)) => (Found::Units, effect, comparison.units(effect, power)?),
        (None, Some(units), Some(power)) => (Found::Effect, comparison.effect(units, power)?, units),
        _ => {
            return Err(StatsError::invalid(
                "the plan",
                "must leave out exactly one of effect, units and power: the one to find",
            ));
        }
    };
    let power = comparison.power(units, effect)?;
    comparison.planned(found, effect, units, power)
}

#[cfg(test)]
mod tests;
