//! What planned looks say: decisions that are made at looks and nowhere else.
//!
//! A fixed horizon is one look at the planned end. A group-sequential analysis spends its error rate over several by
//! O'Brien and Fleming's spending function (Lan and DeMets 1983), at the information that was really there. A look is
//! judged by the p-value of the test for one look, taken to the scale of a normal statistic (Jennison and Turnbull 2000, section
//! 3.3), so that few users are no exception and one look is Welch's test itself. Over all looks a comparison has one
//! p-value, the least error rate at which a boundary would have been crossed (Liu and Anderson, Statistics in Medicine
//! 2008): adjusted over comparisons like any other.

use domain::Timestamp;
use domain::VariantKey;
use domain::experiment::AnalysisMethod;
use domain::results::{AnalysisPlan, ExperimentSummary, MetricPlan, MetricSummary};
use serde::Serialize;

use super::futility::{self, FutilityEvidence};
use super::measure::measure;
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate, Interval};
use crate::frequentist::contrast::{Alternative, Contrast, Question};
use crate::sequential::group::bounds::bounds;
use crate::sequential::group::estimate::{AdjustedEstimate, Stopped, adjusted};
use crate::sequential::group::spending::Spending;
use crate::sequential::group::walk::Stop;
use crate::sequential::group::{LEAST_GROWTH, Sides};
use crate::special::normal;
use crate::special::roots::{Bracket, brent};

/// The looks that an analysis rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Looks<'a> {
    /// What is analysed is the only look that anybody has taken.
    Now,
    /// What the engine knew at each look that was taken, in order; nothing else was looked at to decide.
    Taken(&'a [ExperimentSummary]),
}

/// A look that was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookTaken {
    /// Users exposed in all, when it was taken.
    pub units: u64,
    /// Their share of the users planned for the last look; above 1 when it came late.
    pub information: f64,
    /// Event time up to which it was complete.
    pub as_of: Timestamp,
    /// The commit.
    pub epoch: i64,
}

/// What one look says of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookEvidence {
    /// The difference at the look with its plain interval and p-value, as if it were the only one.
    pub effect: Estimate,
    /// What |Z| must reach at the look at the plan's error rate, before adjustment over comparisons; absent when nothing
    /// may be spent yet.
    pub critical_value: Option<f64>,
    /// The Z that has the p-value of the look.
    pub statistic: Option<f64>,
    /// Whether the look has too few users or events to decide; its share of the error rate is spent all the same.
    pub thin: bool,
    /// The test behind it, for the interval at another level.
    #[serde(skip)]
    contrast: Option<Contrast>,
}

impl LookEvidence {
    /// The statistic that may decide.
    pub(super) fn counted(&self) -> Option<f64> {
        self.statistic.filter(|_| !self.thin)
    }
}

/// What all looks say of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedEvidence {
    /// The looks in the order in which they were taken.
    pub looks: Vec<LookEvidence>,
    /// The number of the look that speaks loudest, from 1; the decision is its.
    pub deciding_look: Option<usize>,
    /// The least error rate at which a boundary would have been crossed.
    pub p_value: Option<f64>,
    /// The same adjusted over all comparisons of the analysis.
    pub adjusted_p_value: Option<f64>,
    /// The repeated interval at the deciding look that matches the adjusted p-value: it leaves out 0 exactly when that is
    /// at most alpha.
    pub adjusted_interval: Option<Interval>,
    /// What to report when the boundary at the plan's error rate was crossed: the plain estimate is then too large.
    pub at_stop: Option<AdjustedEstimate>,
    /// Whether an end for lack of effect is due, where the plan allows for one.
    pub futility: Option<FutilityEvidence>,
}

/// Every look that was taken, with its place on the scale of information.
#[derive(Debug, Clone)]
pub struct Course<'a> {
    summaries: Vec<&'a ExperimentSummary>,
    information: Vec<f64>,
}

/// |Z| stands for every larger one: normal tails beyond are below the smallest `f64`.
const FARTHEST: f64 = 37.0;

/// The smallest error rate that is looked for, in natural logarithms.
const LN_LEAST_ALPHA: f64 = -700.0;

/// The largest one: boundaries are made for error rates below 1.
const LN_MOST_ALPHA: f64 = -1e-9;

impl<'a> Course<'a> {
    /// The looks of a plan that decides at looks.
    pub fn new(plan: &AnalysisPlan, now: &'a ExperimentSummary, looks: Looks<'a>) -> Self {
        let mut course = Self {
            summaries: Vec::new(),
            information: Vec::new(),
        };
        let (Some(first), Some(end)) = (plan.looks.first(), plan.looks.last()) else {
            return course;
        };
        if !super::decides_at_looks(plan.method) {
            return course;
        }
        match looks {
            Looks::Now if now.exposed() >= *first => course.take(now, *end),
            Looks::Now => {}
            Looks::Taken(taken) => taken.iter().for_each(|summary| course.take(summary, *end)),
        }
        course
    }

    /// Adds a look; one without more users than the one before has nothing to say.
    fn take(&mut self, summary: &'a ExperimentSummary, end: u64) {
        let information = summary.exposed() as f64 / end as f64;
        let before = self.information.last().copied().unwrap_or(0.0);
        if information >= before + LEAST_GROWTH {
            self.summaries.push(summary);
            self.information.push(information);
        }
    }

    /// The looks as the analysis tells of them.
    pub fn taken(&self) -> Vec<LookTaken> {
        let taken = |(summary, information): (&&ExperimentSummary, &f64)| LookTaken {
            units: summary.exposed(),
            information: *information,
            as_of: summary.as_of,
            epoch: summary.epoch,
        };
        self.summaries.iter().zip(&self.information).map(taken).collect()
    }

    /// What a reader must know of the looks before anything else.
    pub fn warning(&self, plan: &AnalysisPlan, now: &ExperimentSummary, looks: Looks<'_>) -> Option<String> {
        if !super::decides_at_looks(plan.method) {
            return None;
        }
        if plan.looks.is_empty() {
            return Some(
                "the plan names no number of users to decide at, so that nothing is decided".to_owned(),
            );
        }
        let end = plan.looks.last().copied().unwrap_or_default();
        let Some(last) = self.summaries.last() else {
            let first = plan.looks.first().copied().unwrap_or_default();
            return Some(format!(
                "nothing is decided before the look at {first} users; {} are exposed",
                now.exposed()
            ));
        };
        if looks == Looks::Now {
            return Some(
                "looks were not recorded: these data count as the only look that anybody has taken"
                    .to_owned(),
            );
        }
        let is_early = plan.method == AnalysisMethod::FixedHorizon && last.exposed() < end;
        is_early.then(|| {
            format!(
                "the look was taken at {} of {end} planned users: it holds unless the results were the reason to end",
                last.exposed()
            )
        })
    }

    /// The first planned number of users beyond the looks that were taken.
    pub fn next_look(&self, plan: &AnalysisPlan) -> Option<u64> {
        if !super::decides_at_looks(plan.method) {
            return None;
        }
        let seen = self.summaries.last().map_or(0, |summary| summary.exposed());
        plan.looks.iter().copied().find(|planned| *planned > seen)
    }

    /// What the looks say of one metric between the control and a variant.
    pub fn evidence(
        &self,
        plan: &AnalysisPlan,
        metric: &MetricPlan,
        variant: &VariantKey,
        is_thin: impl Fn(MetricSummary, MetricSummary) -> bool,
    ) -> PlannedEvidence {
        let critical = self.critical_values(plan, plan.alpha);
        let mut looks = Vec::with_capacity(self.summaries.len());
        for (index, summary) in self.summaries.iter().enumerate() {
            let of = |variant: &VariantKey| {
                let arm = summary.arms.iter().find(|arm| arm.variant == *variant)?;
                arm.metrics.get(&metric.metric).copied()
            };
            let critical_value = critical.get(index).copied().flatten();
            looks.push(match (of(&plan.control), of(variant)) {
                (Some(control), Some(treatment)) => LookEvidence {
                    thin: is_thin(control, treatment),
                    ..look_evidence(plan, control, treatment, critical_value)
                },
                _ => nothing(critical_value),
            });
        }
        let statistics: Vec<f64> = looks.iter().map(|look| look.counted().unwrap_or(0.0)).collect();
        let is_known = looks.iter().any(|look| look.counted().is_some());
        let ln_p = is_known.then(|| self.ln_p_value(plan, &statistics));
        let mut evidence = PlannedEvidence {
            deciding_look: ln_p.and_then(|ln_p| self.loudest(plan, &statistics, ln_p)),
            p_value: ln_p.map(f64::exp),
            adjusted_p_value: None,
            adjusted_interval: None,
            at_stop: None,
            futility: None,
            looks,
        };
        evidence.at_stop = self.at_stop(plan, &evidence.looks);
        evidence.futility = futility::evidence(plan, &self.information, metric.direction, &evidence.looks);
        evidence
    }

    /// The repeated interval at the deciding look, over all looks of level 1 − `alpha`.
    pub fn interval(&self, plan: &AnalysisPlan, evidence: &PlannedEvidence, alpha: f64) -> Option<Interval> {
        let index = evidence.deciding_look?.checked_sub(1)?;
        let bound = self.critical_values(plan, alpha).get(index).copied().flatten()?;
        let contrast = evidence.looks.get(index)?.contrast?;
        let margin = contrast.margin(2.0 * normal::sf(bound)).ok()?;
        Some(Interval::around(contrast.difference, margin, 1.0 - alpha))
    }

    /// What |Z| must reach at each look when the error rate is `alpha` over both sides.
    pub fn critical_values(&self, plan: &AnalysisPlan, alpha: f64) -> Vec<Option<f64>> {
        if plan.method == AnalysisMethod::FixedHorizon {
            // One look spends everything, whenever it was taken.
            let one = self.information.iter().take(1);
            return one.map(|_| Some(normal::isf(0.5 * alpha))).collect();
        }
        let made = bounds(
            &self.information,
            Spending::ObrienFleming,
            0.5 * alpha,
            Sides::Two,
        );
        made.map(|bounds| bounds.iter().map(|bound| bound.z).collect())
            .unwrap_or_default()
    }

    /// By how much the loudest look passes its boundary at an error rate; below 0 when none does.
    fn excess(&self, plan: &AnalysisPlan, statistics: &[f64], ln_alpha: f64) -> f64 {
        let passes = |(statistic, bound): (&f64, &Option<f64>)| statistic.abs() - bound.unwrap_or(FARTHEST);
        let critical = self.critical_values(plan, ln_alpha.exp());
        statistics
            .iter()
            .zip(&critical)
            .map(passes)
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// The logarithm of the least error rate at which some look has reached its boundary.
    fn ln_p_value(&self, plan: &AnalysisPlan, statistics: &[f64]) -> f64 {
        if plan.method == AnalysisMethod::FixedHorizon
            || self.information.len() == 1 && self.information[0] >= 1.0
        {
            return statistics.first().map_or(0.0, |z| ln_two_sided(*z));
        }
        let excess = |ln_alpha: f64| self.excess(plan, statistics, ln_alpha);
        if excess(LN_LEAST_ALPHA) >= 0.0 {
            return LN_LEAST_ALPHA;
        }
        if excess(LN_MOST_ALPHA) <= 0.0 {
            return 0.0;
        }
        let bracket = Bracket::new(LN_LEAST_ALPHA, LN_MOST_ALPHA);
        brent("p-value over looks", bracket, 1e-12, excess).unwrap_or(0.0)
    }

    /// The look that reaches its boundary at the error rate of the p-value, from 1.
    fn loudest(&self, plan: &AnalysisPlan, statistics: &[f64], ln_p: f64) -> Option<usize> {
        let critical = self.critical_values(plan, ln_p.clamp(LN_LEAST_ALPHA, LN_MOST_ALPHA).exp());
        let passes = |index: &usize| {
            let bound = critical.get(*index).copied().flatten().unwrap_or(FARTHEST);
            statistics[*index].abs() - bound
        };
        let loudest = (0..statistics.len()).max_by(|left, right| passes(left).total_cmp(&passes(right)));
        loudest.map(|index| index + 1)
    }

    /// The estimate that takes the stopping into account, where a boundary was crossed.
    fn at_stop(&self, plan: &AnalysisPlan, looks: &[LookEvidence]) -> Option<AdjustedEstimate> {
        let crossed = |look: &LookEvidence| {
            let reached = look.counted().zip(look.critical_value);
            reached.is_some_and(|(z, bound)| z.abs() >= bound)
        };
        let stopped_at = looks.iter().position(crossed)?;
        let look = &looks[stopped_at];
        let stops: Vec<Stop> = looks
            .iter()
            .map(|look| Stop {
                lower: look.critical_value.map(|z| -z),
                upper: look.critical_value,
            })
            .collect();
        let estimate = look.effect.estimate?;
        let trial = Stopped {
            information: &self.information[..=stopped_at],
            stops: &stops[..=stopped_at],
            stopped_at,
            estimate,
            // The spread that gives the look its Z: that of the t-test where users are few.
            standard_error: (estimate / look.statistic?).abs(),
        };
        adjusted(trial, plan.alpha).ok()
    }
}

/// One look at two arms.
fn look_evidence(
    plan: &AnalysisPlan,
    control: MetricSummary,
    treatment: MetricSummary,
    critical_value: Option<f64>,
) -> LookEvidence {
    match measure(plan, &control, &treatment) {
        Ok(measured) => LookEvidence {
            effect: measured
                .estimate(Question::two_sided(plan.alpha))
                .unwrap_or_else(|reason| Estimate::absent("look", measured.contrast.units, reason)),
            statistic: Some(statistic(&measured.contrast)),
            critical_value,
            thin: false,
            contrast: Some(measured.contrast),
        },
        Err(reason) => {
            let mut look = nothing(critical_value);
            look.effect.reason = Some(reason);
            look
        }
    }
}

/// A look at which the metric was not measured in both arms.
fn nothing(critical_value: Option<f64>) -> LookEvidence {
    let units = ArmUnits {
        control: 0,
        treatment: 0,
    };
    LookEvidence {
        effect: Estimate::absent(
            "welch_t",
            units,
            StatsError::invalid("metric", "is not measured in both arms"),
        ),
        critical_value,
        statistic: None,
        thin: true,
        contrast: None,
    }
}

/// The normal statistic with the p-value of a t-test.
fn statistic(contrast: &Contrast) -> f64 {
    let ln_p = contrast.ln_p_against(0.0, Alternative::TwoSided);
    let z = normal::isf_ln(ln_p - std::f64::consts::LN_2).min(FARTHEST);
    z.copysign(contrast.difference)
}

fn ln_two_sided(z: f64) -> f64 {
    normal::ln_sf(z.abs()) + std::f64::consts::LN_2
}

#[cfg(test)]
mod tests;
