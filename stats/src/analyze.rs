//! From a plan and a summary to an analysis: the one door that knows the words of `domain`.
//!
//! Every metric is compared between the control and each other variant: means, ratios, or means adjusted for a covariate,
//! by the absolute difference and the relative lift, each with an interval for one look at the planned end (Welch) and one that is valid at every look (asymptotic
//! confidence sequence). Decisions rest on the evidence of the plan's method alone: the interval that is valid at every
//! look, what the planned looks said, or the posterior. P-values are adjusted over metrics × variants, and the interval
//! that a decision rests on has the level that matches its adjusted p-value. When the arms do not hold their planned
//! shares of traffic, the first warning says so and nothing is decided.

mod adjustment;
mod belief;
pub mod by_name;
mod comparison;
mod decision;
mod futility;
mod looks;
mod measure;

use std::collections::BTreeMap;

use domain::experiment::{AnalysisMethod, LOOKS_MAX};
use domain::metric::{Direction, MetricKind, MetricRole};
use domain::results::{
    AnalysisPlan, ArmSummary, Correction, ExperimentSummary, MetricPlan, MetricSummary, SecondValue,
};
use domain::{ExperimentKey, MetricKey, Timestamp, VariantKey};
use serde::Serialize;

use crate::error::{StatsError, check_positive, check_rate};
use crate::frequentist::sample::too_few;
use crate::sequential::sample_ratio::{self, SampleRatioEvidence};
use crate::srm;

pub use adjustment::{Adjustment, Balance, CovariateBalance};
pub use belief::PracticalDifference;
pub use comparison::{AnytimeEvidence, ArmResult, Comparison, Effect};
pub use decision::{Decision, Gate};
pub use futility::FutilityEvidence;
pub use looks::{LookEvidence, LookTaken, Looks, PlannedEvidence};

use looks::Course;

/// What is known of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// The experiment, or the flag with a measured rollout.
    pub experiment: ExperimentKey,
    /// Event time up to which it is complete.
    pub as_of: Timestamp,
    /// The commit.
    pub epoch: i64,
    /// What a reader must know before anything else; a sample-ratio mismatch comes first.
    pub warnings: Vec<String>,
    /// The arm that the others are compared with.
    pub control: VariantKey,
    /// The error rate.
    pub alpha: f64,
    /// How it is held over all comparisons.
    pub correction: Correction,
    /// Users at which the anytime-valid intervals are tightest.
    pub planned_units: u64,
    /// What decisions rest on.
    pub method: AnalysisMethod,
    /// The looks that were taken, for methods that decide at looks.
    pub looks: Vec<LookTaken>,
    /// Users in all at which the next look is due; absent when there is none left or none is needed.
    pub next_look: Option<u64>,
    /// The arms, ordered by variant.
    pub arms: Vec<ArmCount>,
    /// Users seen with more than one variant, left out of every arm.
    pub crossover_users: u64,
    /// Whether the arms hold their planned shares of traffic.
    pub sample_ratio: SampleRatioCheck,
    /// Every metric in the order of the plan.
    pub metrics: Vec<MetricAnalysis>,
}

/// One arm's traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmCount {
    /// The variant.
    pub variant: VariantKey,
    /// Users exposed to it and to no other.
    pub exposed: u64,
    /// Users expected from the planned shares; absent when the check could not be made.
    pub expected: Option<f64>,
    /// (exposed − expected) in standard deviations; absent when the check could not be made.
    pub residual: Option<f64>,
}

/// Whether the arms hold their planned shares of traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SampleRatioCheck {
    /// The verdict.
    pub verdict: SampleRatioVerdict,
    /// Pearson's statistic.
    pub chi2: Option<f64>,
    /// Its degrees of freedom.
    pub df: Option<u64>,
    /// Its p-value, for one look.
    pub p_value: Option<f64>,
    /// The anytime-valid p-value, for looking again and again.
    pub anytime_p_value: Option<f64>,
    /// The natural logarithm of the e-value behind it.
    pub ln_e_value: Option<f64>,
    /// The p-value at which a mismatch is reported.
    pub alpha: f64,
    /// Why the check could not be made.
    pub reason: Option<StatsError>,
}

/// The verdict on the shares of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleRatioVerdict {
    /// Nothing speaks against the planned shares.
    Ok,
    /// The shares are not the planned ones: no result can be trusted.
    Mismatch,
    /// The check could not be made.
    Unknown,
}

/// One metric in all arms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricAnalysis {
    /// The metric.
    pub metric: MetricKey,
    /// How a user's events become the user's value; absent when no arm knows the metric.
    pub kind: Option<MetricKind>,
    /// What the users' second value is: the metric is a ratio, or adjusted for a covariate; absent for a plain metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_value: Option<SecondValue>,
    /// Whether the arms were alike in the covariate, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covariate_balance: Option<CovariateBalance>,
    /// What it is used for.
    pub role: MetricRole,
    /// Which way is good.
    pub direction: Direction,
    /// Every arm's mean or ratio.
    pub arms: Vec<ArmResult>,
    /// The control against each other variant.
    pub comparisons: Vec<Comparison>,
}

/// Analyses an experiment whose looks nobody recorded: for a plan that decides at looks, the summary is the only one.
///
/// # Errors
/// As [`analyze_looks`].
pub fn analyze(plan: &AnalysisPlan, summary: &ExperimentSummary) -> Result<Analysis, StatsError> {
    analyze_looks(plan, summary, Looks::Now)
}

/// Analyses an experiment with the looks that its decisions rest on, where the plan decides at looks.
///
/// # Errors
/// [`StatsError::InvalidInput`] when the plan's alpha does not lie between 0 and 1, a weight is not above 0, or the
/// control is not among the arms; [`StatsError::TooLarge`] for more looks than a plan may have.
pub fn analyze_looks(
    plan: &AnalysisPlan,
    summary: &ExperimentSummary,
    looks: Looks<'_>,
) -> Result<Analysis, StatsError> {
    check_rate("alpha", plan.alpha)?;
    check_positive("planned_units", plan.planned_units as f64)?;
    let control = summary
        .arms
        .iter()
        .find(|arm| arm.variant == plan.control)
        .ok_or_else(|| StatsError::invalid("control", "is not among the arms"))?;
    check_looks(plan, looks)?;
    let course = Course::new(plan, summary, looks);
    let checked = check_sample_ratio(&plan.weights, &summary.arms);
    let mut metrics: Vec<MetricAnalysis> = metric_plans(plan, summary)
        .into_iter()
        .map(|metric| analyze_metric(plan, &course, &metric, control, &summary.arms))
        .collect();
    decision::decide(plan, &course, checked.check.verdict, &mut metrics);
    let mut warnings = warnings(&checked, summary);
    warnings.extend(course.warning(plan, summary, looks));
    warnings.extend(adjustment::warnings(&metrics));
    warnings.extend(futility::warning(&metrics));
    Ok(Analysis {
        experiment: summary.experiment.clone(),
        as_of: summary.as_of,
        epoch: summary.epoch,
        warnings,
        control: plan.control.clone(),
        alpha: plan.alpha,
        correction: plan.correction,
        planned_units: plan.planned_units,
        method: plan.method,
        looks: course.taken(),
        next_look: course.next_look(plan),
        arms: checked.arms,
        crossover_users: summary.crossover_users,
        sample_ratio: checked.check,
        metrics,
    })
}

/// The metrics to show: those of the plan, or every metric of the summary as a goal.
fn metric_plans(plan: &AnalysisPlan, summary: &ExperimentSummary) -> Vec<MetricPlan> {
    if !plan.metrics.is_empty() {
        return plan.metrics.clone();
    }
    let mut keys: Vec<&MetricKey> = summary.arms.iter().flat_map(|arm| arm.metrics.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|metric| MetricPlan {
            metric: metric.clone(),
            role: MetricRole::Goal,
            direction: Direction::Up,
        })
        .collect()
}

fn check_looks(plan: &AnalysisPlan, looks: Looks<'_>) -> Result<(), StatsError> {
    let taken = match looks {
        Looks::Now => 1,
        Looks::Taken(taken) => taken.len(),
    };
    let size = plan.looks.len().max(taken);
    if size > LOOKS_MAX + 1 {
        return Err(StatsError::TooLarge {
            what: "the number of looks",
            size: size as u64,
            limit: LOOKS_MAX as u64 + 1,
        });
    }
    Ok(())
}

fn analyze_metric(
    plan: &AnalysisPlan,
    course: &Course<'_>,
    metric: &MetricPlan,
    control: &ArmSummary,
    arms: &[ArmSummary],
) -> MetricAnalysis {
    let of = |arm: &ArmSummary| arm.metrics.get(&metric.metric).copied();
    let comparisons = arms
        .iter()
        .filter(|arm| arm.variant != control.variant)
        .map(|arm| {
            let mut compared = comparison::compare(plan, &arm.variant, of(control), of(arm));
            compared.planned = decides_at_looks(plan.method)
                .then(|| course.evidence(plan, metric, &arm.variant, comparison::is_thin));
            compared
        })
        .collect();
    MetricAnalysis {
        metric: metric.metric.clone(),
        kind: arms
            .iter()
            .find_map(|arm| of(arm).map(|summary: MetricSummary| summary.kind)),
        second_value: arms.iter().find_map(|arm| of(arm)?.pair).map(|pair| pair.value),
        covariate_balance: adjustment::balance_of(plan, metric, control, arms),
        role: metric.role,
        direction: metric.direction,
        arms: arms
            .iter()
            .map(|arm| comparison::arm_result(&arm.variant, arm.exposed, of(arm).as_ref()))
            .collect(),
        comparisons,
    }
}

/// Whether a method decides at looks that are planned.
fn decides_at_looks(method: AnalysisMethod) -> bool {
    matches!(
        method,
        AnalysisMethod::FixedHorizon | AnalysisMethod::GroupSequential
    )
}

/// The sample-ratio check with the arms it looked at.
struct CheckedArms {
    check: SampleRatioCheck,
    arms: Vec<ArmCount>,
}

fn check_sample_ratio(weights: &BTreeMap<VariantKey, f64>, arms: &[ArmSummary]) -> CheckedArms {
    let observed: Vec<u64> = arms.iter().map(|arm| arm.exposed).collect();
    let share = |arm: &ArmSummary| weights.get(&arm.variant).copied().unwrap_or(0.0);
    let planned: Vec<f64> = arms
        .iter()
        .map(|arm| if weights.is_empty() { 1.0 } else { share(arm) })
        .collect();
    let mut counts: Vec<ArmCount> = arms.iter().map(uncounted).collect();
    let ratio = if observed.iter().all(|units| *units == 0) {
        Err(too_few("the experiment", 0, 1))
    } else {
        srm::pearson(&observed, &planned)
    };
    let ratio = match ratio {
        Ok(ratio) => ratio,
        Err(reason) => {
            return CheckedArms {
                check: unchecked(Some(reason)),
                arms: counts,
            };
        }
    };
    for (count, arm) in counts.iter_mut().zip(&ratio.arms) {
        count.expected = Some(arm.expected);
        count.residual = arm.residual;
    }
    let evidence = sequential_evidence(&observed, &planned);
    let anytime_p_value = evidence.map(|evidence| evidence.p_value);
    let nothing = unchecked(None);
    let mismatch = ratio.p_value < nothing.alpha || anytime_p_value.is_some_and(|p| p < nothing.alpha);
    CheckedArms {
        check: SampleRatioCheck {
            verdict: if mismatch {
                SampleRatioVerdict::Mismatch
            } else {
                SampleRatioVerdict::Ok
            },
            chi2: Some(ratio.chi2),
            df: Some(ratio.df),
            p_value: Some(ratio.p_value),
            anytime_p_value,
            ln_e_value: evidence.map(|evidence| evidence.log_bayes_factor),
            ..nothing
        },
        arms: counts,
    }
}

/// An arm before the check.
fn uncounted(arm: &ArmSummary) -> ArmCount {
    ArmCount {
        variant: arm.variant.clone(),
        exposed: arm.exposed,
        expected: None,
        residual: None,
    }
}

/// A check that was not made, for a reason.
fn unchecked(reason: Option<StatsError>) -> SampleRatioCheck {
    SampleRatioCheck {
        verdict: SampleRatioVerdict::Unknown,
        chi2: None,
        df: None,
        p_value: None,
        anytime_p_value: None,
        ln_e_value: None,
        alpha: srm::DEFAULT_ALPHA,
        reason,
    }
}

/// The evidence that may be watched, over the arms that take part.
fn sequential_evidence(observed: &[u64], planned: &[f64]) -> Option<SampleRatioEvidence> {
    let (units, weights): (Vec<u64>, Vec<f64>) = observed
        .iter()
        .zip(planned)
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(units, weight)| (*units, *weight))
        .unzip();
    sample_ratio::evidence(&units, &weights, sample_ratio::DEFAULT_CONCENTRATION).ok()
}

fn warnings(checked: &CheckedArms, summary: &ExperimentSummary) -> Vec<String> {
    let mut warnings = Vec::new();
    if checked.check.verdict == SampleRatioVerdict::Mismatch {
        let worst = checked
            .arms
            .iter()
            .max_by(|left, right| distance(left).total_cmp(&distance(right)));
        let arm = worst.map_or("", |arm| arm.variant.as_str());
        warnings.push(format!(
            "sample ratio mismatch: the arms do not hold their planned shares of traffic, {arm} most of all; \
             do not trust the results"
        ));
    }
    let exposed: u64 = summary.arms.iter().map(|arm| arm.exposed).sum();
    if summary.crossover_users > 0 && summary.crossover_users.saturating_mul(100) > exposed {
        warnings.push(format!(
            "{} users saw more than one variant and were left out, more than 1 in 100",
            summary.crossover_users
        ));
    }
    warnings
}

fn distance(arm: &ArmCount) -> f64 {
    arm.residual.unwrap_or(0.0).abs()
}

#[cfg(test)]
mod tests;
