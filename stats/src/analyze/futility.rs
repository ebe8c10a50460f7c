//! Ending early for lack of effect, for group-sequential plans that allow for it.
//!
//! The boundaries spend the plan's beta by O'Brien and Fleming's function against the effect that the design can find,
//! at the information that was really there and the looks still planned ([`crate::sequential::group::futility`]). They do
//! not bind: the boundaries of effect are those without them, so that an experiment may go on below and keeps its error
//! rate.

use domain::experiment::AnalysisMethod;
use domain::metric::{Direction, MetricRole};
use domain::results::AnalysisPlan;
use serde::Serialize;

use super::MetricAnalysis;
use super::looks::LookEvidence;
use crate::error::StatsError;
use crate::sequential::group::LEAST_GROWTH;
use crate::sequential::group::futility::{Binding, FutilityPlan, design};
use crate::sequential::group::spending::Spending;

/// Whether an end for lack of effect is due.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FutilityEvidence {
    /// At each look that was taken: Z in the good direction at or below this ends for lack of effect; absent where
    /// nothing may be spent yet, and at the end, where what is not found is not found.
    pub bounds: Vec<Option<f64>>,
    /// The first look at which the statistic fell to the boundary before any effect was found, from 1.
    pub due_at_look: Option<usize>,
    /// Why there are no boundaries.
    pub reason: Option<StatsError>,
}

/// What the looks that were taken say of an end for lack of effect; nothing where the plan does not allow for one.
pub fn evidence(
    plan: &AnalysisPlan,
    taken: &[f64],
    direction: Direction,
    looks: &[LookEvidence],
) -> Option<FutilityEvidence> {
    let beta = plan
        .futility_beta
        .filter(|_| plan.method == AnalysisMethod::GroupSequential)?;
    let made = design(
        &information(plan, taken),
        FutilityPlan {
            efficacy: Spending::ObrienFleming,
            alpha: 0.5 * plan.alpha,
            futility: Spending::ObrienFleming,
            beta,
            binding: Binding::NonBinding,
        },
    );
    let made = match made {
        Ok(made) => made,
        Err(reason) => {
            return Some(FutilityEvidence {
                bounds: vec![None; looks.len()],
                due_at_look: None,
                reason: Some(reason),
            });
        }
    };
    let end = made.looks.len() - 1;
    let bounds: Vec<Option<f64>> = (0..looks.len())
        .map(|index| made.looks.get(index).filter(|_| index < end)?.lower)
        .collect();
    Some(FutilityEvidence {
        due_at_look: first_due(direction, looks, &bounds),
        bounds,
        reason: None,
    })
}

/// The information at the looks taken and at those still planned; the last is the end.
fn information(plan: &AnalysisPlan, taken: &[f64]) -> Vec<f64> {
    let end = plan.looks.last().copied().unwrap_or_default() as f64;
    // A look that came late is the end.
    let mut information: Vec<f64> = taken
        .iter()
        .copied()
        .take_while(|share| *share < 1.0 - LEAST_GROWTH)
        .collect();
    let last = information.last().copied().unwrap_or(0.0);
    let rest = plan.looks.iter().map(|units| *units as f64 / end);
    let rest: Vec<f64> = if information.len() < taken.len() {
        vec![1.0]
    } else {
        rest.filter(|share| *share > last + LEAST_GROWTH).collect()
    };
    information.extend(rest);
    information
}

/// The first look at which an end was due, unless an effect either way was found before or at it.
fn first_due(direction: Direction, looks: &[LookEvidence], bounds: &[Option<f64>]) -> Option<usize> {
    for (index, (look, bound)) in looks.iter().zip(bounds).enumerate() {
        let Some(statistic) = look.counted() else {
            continue;
        };
        if look
            .critical_value
            .is_some_and(|critical| statistic.abs() >= critical)
        {
            return None;
        }
        let good = match direction {
            Direction::Up => statistic,
            Direction::Down => -statistic,
        };
        if bound.is_some_and(|bound| good <= bound) {
            return Some(index + 1);
        }
    }
    None
}

/// Says that the experiment may end, when no goal is left that it could still be worth running for.
pub fn warning(metrics: &[MetricAnalysis]) -> Option<String> {
    let mut goals = metrics
        .iter()
        .filter(|metric| metric.role == MetricRole::Goal)
        .flat_map(|metric| &metric.comparisons)
        .peekable();
    goals.peek()?;
    let is_due = |planned: &super::PlannedEvidence| {
        let futility = planned.futility.as_ref();
        futility.is_some_and(|futility| futility.due_at_look.is_some())
    };
    goals
        .all(|comparison| comparison.planned.as_ref().is_some_and(is_due))
        .then(|| {
            "every goal has fallen to its boundary of futility: the effect planned for would hardly be found any more, \
             and the experiment may end"
                .to_owned()
        })
}
