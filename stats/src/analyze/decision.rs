//! Adjustment over all comparisons, and the one word that a comparison comes down to.

use domain::experiment::AnalysisMethod;
use domain::metric::{Direction, MetricRole};
use domain::results::{AnalysisPlan, Correction};
use serde::Serialize;

use super::belief::PracticalDifference;
use super::comparison::Comparison;
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

/// Whether secondary metrics count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Every comparison of a goal metric was won, in the good direction: the metric counts.
    Open,
    /// Not every comparison of a goal metric was won: the metric explains and decides nothing.
    Closed,
}

/// An adjusted p-value with the error rate of the interval that matches it; none has one behind a closed gate.
#[derive(Debug, Clone, Copy)]
struct Adjusted {
    p_value: f64,
    alpha: Option<f64>,
}

/// Adjusts p-values and intervals over metrics × variants and decides every comparison.
pub fn decide(
    plan: &AnalysisPlan,
    course: &Course<'_>,
    sample_ratio: SampleRatioVerdict,
    metrics: &mut [MetricAnalysis],
) {
    adjust_each(plan, metrics, FIXED, |comparison, adjusted| {
        comparison.adjusted_p_value = Some(adjusted.p_value);
    });
    adjust_each(plan, metrics, ANYTIME, |comparison, adjusted| {
        comparison.anytime_adjusted_p_value = Some(adjusted.p_value);
        comparison.absolute.anytime.adjusted_interval = adjusted
            .alpha
            .and_then(|alpha| absolute_interval(plan, &comparison.absolute.anytime.estimate, alpha));
    });
    adjust_each(plan, metrics, ANYTIME_RELATIVE, |comparison, adjusted| {
        comparison.relative.anytime.adjusted_interval = adjusted
            .alpha
            .and_then(|alpha| relative_interval(plan, &comparison.relative.anytime.estimate, alpha));
    });
    adjust_each(plan, metrics, PLANNED, |comparison, adjusted| {
        if let Some(planned) = &mut comparison.planned {
            planned.adjusted_p_value = Some(adjusted.p_value);
            planned.adjusted_interval = adjusted
                .alpha
                .and_then(|alpha| course.interval(plan, planned, alpha));
        }
    });
    let gate = plan.goals_first.then(|| gate(plan, metrics));
    for metric in metrics {
        for comparison in &mut metric.comparisons {
            comparison.gate = gate.filter(|_| metric.role == MetricRole::Secondary);
            let interval = deciding_interval(plan.method, comparison)
                .filter(|_| sample_ratio != SampleRatioVerdict::Mismatch);
            comparison.decision = word(metric.direction, interval, comparison.practical);
        }
    }
}

/// Whether every comparison of a goal metric was won by the p-value that decides.
fn gate(plan: &AnalysisPlan, metrics: &[MetricAnalysis]) -> Gate {
    let won = |direction: Direction, comparison: &Comparison| {
        let (kind, p_value) = match plan.method {
            AnalysisMethod::Sequential | AnalysisMethod::Bayesian => {
                (ANYTIME, comparison.anytime_adjusted_p_value)
            }
            AnalysisMethod::FixedHorizon | AnalysisMethod::GroupSequential => {
                let planned = comparison.planned.as_ref();
                (PLANNED, planned.and_then(|planned| planned.adjusted_p_value))
            }
        };
        p_value.is_some_and(|p_value| p_value <= plan.alpha)
            && is_good(direction, (kind.estimate)(comparison))
    };
    let won_all = |metric: &MetricAnalysis| {
        metric
            .comparisons
            .iter()
            .all(|comparison| won(metric.direction, comparison))
    };
    let mut goals = metrics.iter().filter(|metric| metric.role == MetricRole::Goal);
    if goals.all(won_all) {
        Gate::Open
    } else {
        Gate::Closed
    }
}

/// A kind of p-value, with the estimate that says which way it speaks.
#[derive(Clone, Copy)]
struct Kind {
    p_value: fn(&Comparison) -> Option<f64>,
    estimate: fn(&Comparison) -> Option<f64>,
}

const FIXED: Kind = Kind {
    // Where there are too few events for a mean, the exact p-value speaks instead.
    p_value: |comparison| comparison.exact_p_value.or(comparison.absolute.fixed.p_value),
    estimate: |comparison| comparison.absolute.fixed.estimate,
};

const ANYTIME: Kind = Kind {
    p_value: |comparison| comparison.absolute.anytime.estimate.p_value,
    estimate: |comparison| comparison.absolute.anytime.estimate.estimate,
};

const ANYTIME_RELATIVE: Kind = Kind {
    p_value: |comparison| comparison.relative.anytime.estimate.p_value,
    estimate: |comparison| comparison.relative.anytime.estimate.estimate,
};

const PLANNED: Kind = Kind {
    p_value: |comparison| comparison.planned.as_ref()?.p_value,
    estimate: |comparison| {
        let planned = comparison.planned.as_ref()?;
        let look = planned.deciding_look?.checked_sub(1)?;
        planned.looks.get(look)?.effect.estimate
    },
};

/// Whether an effect lies on the good side of 0.
fn is_good(direction: Direction, estimate: Option<f64>) -> bool {
    estimate.is_some_and(|estimate| match direction {
        Direction::Up => estimate > 0.0,
        Direction::Down => estimate < 0.0,
    })
}

/// Adjusts one kind of p-value over all comparisons that have it and hands each its own.
///
/// Where the plan puts goals first, goals, secondary metrics and guardrails are families of their own; no adjusted
/// p-value of a secondary metric is below the largest one of a goal (Westfall and Krishen 2001). A gate opens when its
/// hypotheses "no better than the control" are rejected (Dmitrienko and Tamhane 2007), which a goal that got worse never
/// does: its p-value at the gate is 1.
fn adjust_each(
    plan: &AnalysisPlan,
    metrics: &mut [MetricAnalysis],
    kind: Kind,
    mut write: impl FnMut(&mut Comparison, Adjusted),
) {
    if !plan.goals_first {
        adjust_family(plan, metrics, |_| true, kind, 0.0, &mut write);
        return;
    }
    let is = |role: MetricRole| move |metric: &MetricAnalysis| metric.role == role;
    let worst = adjust_family(plan, metrics, is(MetricRole::Goal), kind, 0.0, &mut write);
    adjust_family(plan, metrics, is(MetricRole::Secondary), kind, worst, &mut write);
    // What must not get worse waits for nothing.
    adjust_family(plan, metrics, is(MetricRole::Guardrail), kind, 0.0, &mut write);
}

/// Adjusts one family behind a gate; gives the largest adjusted p-value, 1 where a comparison has none or got worse.
fn adjust_family(
    plan: &AnalysisPlan,
    metrics: &mut [MetricAnalysis],
    belongs: impl Fn(&MetricAnalysis) -> bool,
    kind: Kind,
    gate: f64,
    write: &mut impl FnMut(&mut Comparison, Adjusted),
) -> f64 {
    let family: Vec<(Direction, &mut Comparison)> = metrics
        .iter_mut()
        .filter(|metric| belongs(metric))
        .flat_map(|metric| {
            let direction = metric.direction;
            metric
                .comparisons
                .iter_mut()
                .map(move |comparison| (direction, comparison))
        })
        .collect();
    let all = family.len();
    let p_values: Vec<f64> = family
        .iter()
        .filter_map(|(_, comparison)| (kind.p_value)(comparison))
        .collect();
    let (adjusted, alphas) = match plan.correction {
        Correction::None => (Ok(p_values.clone()), Ok(vec![plan.alpha; p_values.len()])),
        Correction::Holm => (
            adjust::holm(&p_values),
            intervals::holm_alphas(&p_values, plan.alpha),
        ),
        Correction::BenjaminiHochberg => (
            adjust::benjamini_hochberg(&p_values),
            intervals::benjamini_hochberg_alphas(&p_values, plan.alpha),
        ),
    };
    // P-values of our own tests lie between 0 and 1; were one not a number, none would be shown as adjusted.
    let (Ok(adjusted), Ok(alphas)) = (adjusted, alphas) else {
        return 1.0;
    };
    let is_open = gate <= plan.alpha;
    let mut worst = if p_values.len() < all { 1.0 } else { gate };
    let with_p = family
        .into_iter()
        .filter(|(_, comparison)| (kind.p_value)(comparison).is_some());
    for (((direction, comparison), p_value), alpha) in with_p.zip(adjusted).zip(alphas) {
        let p_value = f64::max(p_value, gate);
        let is_won = is_good(direction, (kind.estimate)(comparison));
        worst = worst.max(if is_won { p_value } else { 1.0 });
        let alpha = is_open.then_some(alpha);
        write(comparison, Adjusted { p_value, alpha });
    }
    worst
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

fn word(
    direction: Direction,
    interval: Option<Interval>,
    practical: Option<PracticalDifference>,
) -> Decision {
    let Some(interval) = interval else {
        return Decision::Undecided;
    };
    // What the plan takes as equal is neither better nor worse.
    let (lower, upper) = practical.map_or((0.0, 0.0), |region| (region.lower, region.upper));
    match direction {
        Direction::Up if interval.is_above(upper) => Decision::Better,
        Direction::Up if interval.is_below(lower) => Decision::Worse,
        Direction::Down if interval.is_below(lower) => Decision::Better,
        Direction::Down if interval.is_above(upper) => Decision::Worse,
        Direction::Up | Direction::Down => Decision::Undecided,
    }
}
