//! Adjustment over all comparisons, and the one word that a comparison comes down to.

use domain::experiment::AnalysisMethod;
use domain::metric::Direction;
use domain::results::{AnalysisPlan, Correction};
use serde::Serialize;

use super::comparison::{Comparison, Effect};
use super::looks::Course;
use super::{MetricAnalysis, SampleRatioVerdict};
use crate::estimate::{Estimate, Interval};
use crate::multiple::{adjust, intervals};
use crate::sequential::asymptotic;

/// What the interval of the plan's method says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The whole interval lies on the good side of 0.
    Better,
    /// The whole interval lies on the bad side of 0.
    Worse,
    /// Neither.
    Undecided,
}

/// An adjusted p-value with the error rate of the interval that matches it.
#[derive(Debug, Clone, Copy)]
struct Adjusted {
    p_value: f64,
    alpha: f64,
}

/// Adjusts p-values and intervals over metrics × variants and decides every comparison.
pub fn decide(
    plan: &AnalysisPlan,
    course: &Course<'_>,
    sample_ratio: SampleRatioVerdict,
    metrics: &mut [MetricAnalysis],
) {
    adjust_each(
        plan.correction,
        plan.alpha,
        metrics,
        fixed_p,
        |comparison, adjusted| {
            comparison.adjusted_p_value = Some(adjusted.p_value);
        },
    );
    adjust_each(
        plan.correction,
        plan.alpha,
        metrics,
        anytime_p,
        |comparison, adjusted| {
            comparison.anytime_adjusted_p_value = Some(adjusted.p_value);
            comparison.absolute.anytime.adjusted_interval =
                absolute_interval(plan, &comparison.absolute.anytime.estimate, adjusted.alpha);
        },
    );
    adjust_each(
        plan.correction,
        plan.alpha,
        metrics,
        anytime_relative_p,
        |comparison, adjusted| {
            comparison.relative.anytime.adjusted_interval =
                relative_interval(plan, &comparison.relative.anytime.estimate, adjusted.alpha);
        },
    );
    adjust_each(
        plan.correction,
        plan.alpha,
        metrics,
        planned_p,
        |comparison, adjusted| {
            if let Some(planned) = &mut comparison.planned {
                planned.adjusted_p_value = Some(adjusted.p_value);
                planned.adjusted_interval = course.interval(plan, planned, adjusted.alpha);
            }
        },
    );
    for metric in metrics {
        for comparison in &mut metric.comparisons {
            let interval = deciding_interval(plan.method, comparison)
                .filter(|_| sample_ratio != SampleRatioVerdict::Mismatch);
            comparison.decision = word(metric.direction, interval);
        }
    }
}

fn fixed_p(comparison: &Comparison) -> Option<f64> {
    // Where there are too few events for a mean, the exact p-value speaks instead.
    comparison.exact_p_value.or(comparison.absolute.fixed.p_value)
}

fn planned_p(comparison: &Comparison) -> Option<f64> {
    comparison.planned.as_ref()?.p_value
}

fn anytime_p(comparison: &Comparison) -> Option<f64> {
    p_of(&comparison.absolute)
}

fn anytime_relative_p(comparison: &Comparison) -> Option<f64> {
    p_of(&comparison.relative)
}

fn p_of(effect: &Effect) -> Option<f64> {
    effect.anytime.estimate.p_value
}

/// Adjusts one kind of p-value over all comparisons that have it and hands each its own.
fn adjust_each(
    correction: Correction,
    alpha: f64,
    metrics: &mut [MetricAnalysis],
    p_value: fn(&Comparison) -> Option<f64>,
    mut write: impl FnMut(&mut Comparison, Adjusted),
) {
    let p_values: Vec<f64> = metrics
        .iter()
        .flat_map(|metric| &metric.comparisons)
        .filter_map(p_value)
        .collect();
    let (adjusted, alphas) = match correction {
        Correction::None => (Ok(p_values.clone()), Ok(vec![alpha; p_values.len()])),
        Correction::Holm => (adjust::holm(&p_values), intervals::holm_alphas(&p_values, alpha)),
        Correction::BenjaminiHochberg => (
            adjust::benjamini_hochberg(&p_values),
            intervals::benjamini_hochberg_alphas(&p_values, alpha),
        ),
    };
    // P-values of our own tests lie between 0 and 1; were one not a number, none would be shown as adjusted.
    let (Ok(adjusted), Ok(alphas)) = (adjusted, alphas) else {
        return;
    };
    let with_p = metrics
        .iter_mut()
        .flat_map(|metric| &mut metric.comparisons)
        .filter(|comparison| p_value(comparison).is_some());
    for ((comparison, p_value), alpha) in with_p.zip(adjusted).zip(alphas) {
        write(comparison, Adjusted { p_value, alpha });
    }
}

fn absolute_interval(plan: &AnalysisPlan, estimate: &Estimate, alpha: f64) -> Option<Interval> {
    let margin = critical_value(plan, estimate, alpha)? * estimate.standard_error?;
    Some(Interval::around(estimate.estimate?, margin, 1.0 - alpha))
}

/// The interval of a lift: built for the logarithm of the ratio, like the one it adjusts.
fn relative_interval(plan: &AnalysisPlan, estimate: &Estimate, alpha: f64) -> Option<Interval> {
    let lift = estimate.estimate?;
    let margin = critical_value(plan, estimate, alpha)? * estimate.standard_error? / (1.0 + lift);
    let center = lift.ln_1p();
    let [lower, upper] = [center - margin, center + margin].map(f64::exp_m1);
    Some(Interval::new(lower, upper, 1.0 - alpha))
}

/// Standard errors in half the interval at the error rate `alpha`, with the plan's tuning, so that the interval leaves
/// out 0 exactly when the p-value is below `alpha`.
fn critical_value(plan: &AnalysisPlan, estimate: &Estimate, alpha: f64) -> Option<f64> {
    let rho = asymptotic::two_sided_tuning(plan.planned_units as f64, plan.alpha).ok()?;
    let units = estimate.units.control as f64 + estimate.units.treatment as f64;
    Some(asymptotic::two_sided_critical_value(units * rho * rho, alpha))
}

/// The interval that the plan's method decides by; absent where there are too few users or events to decide.
fn deciding_interval(method: AnalysisMethod, comparison: &Comparison) -> Option<Interval> {
    // Warnings of a comparison all say that it is too thin to decide; looks have each their own.
    let is_thin = !comparison.warnings.is_empty();
    match method {
        AnalysisMethod::Sequential => comparison.absolute.anytime.adjusted_interval.filter(|_| !is_thin),
        AnalysisMethod::FixedHorizon | AnalysisMethod::GroupSequential => {
            comparison.planned.as_ref()?.adjusted_interval
        }
        AnalysisMethod::Bayesian => comparison.posterior.as_ref()?.interval.filter(|_| !is_thin),
    }
}

fn word(direction: Direction, interval: Option<Interval>) -> Decision {
    let Some(interval) = interval else {
        return Decision::Undecided;
    };
    match direction {
        Direction::Up if interval.is_above(0.0) => Decision::Better,
        Direction::Up if interval.is_below(0.0) => Decision::Worse,
        Direction::Down if interval.is_below(0.0) => Decision::Better,
        Direction::Down if interval.is_above(0.0) => Decision::Worse,
        Direction::Up | Direction::Down => Decision::Undecided,
    }
}
