//! Adjustment of means for what was measured before exposure, and whether the arms were alike in it.
//!
//! The slope is taken within arms (analysis of covariance). A covariate that cannot be used is said to be so, with the
//! reason, and the plain comparison stands.

use domain::VariantKey;
use domain::results::{AnalysisPlan, ArmSummary, MetricPlan, SecondValue};
use serde::Serialize;

use super::{MetricAnalysis, measure};
use crate::error::StatsError;
use crate::estimate::Estimate;
use crate::frequentist::balance::{self, CovariateGap, DEFAULT_ALPHA};
use crate::frequentist::contrast::Contrast;
use crate::frequentist::cuped::{self, AdjustedMeans, Slope};
use crate::frequentist::sample::{JointSample, Sample};
use crate::sequential::asymptotic;

/// What became of a covariate in one comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adjustment {
    /// Whether the effects are adjusted.
    pub applied: bool,
    /// Why they are not.
    pub reason: Option<StatsError>,
    /// The slope of the outcome on the covariate within arms.
    pub slope: Option<f64>,
    /// The share of the difference's variance that is gone, below 1.
    pub variance_reduction: Option<f64>,
    /// The difference without adjustment, for one look.
    pub unadjusted: Estimate,
    /// How far the arms' covariates lie apart; absent when they cannot be compared.
    pub balance: Option<Balance>,
    /// Whether the adjusted and the unadjusted difference lie on different sides of 0.
    pub sign_flip: bool,
}

/// How far a covariate lies apart between the control and an arm, for one look and for every look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Balance {
    /// The difference with its p-value for one look.
    #[serde(flatten)]
    pub gap: CovariateGap,
    /// The p-value that holds at every look.
    pub anytime_p_value: f64,
}

/// Whether all arms were alike in a metric's covariate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CovariateBalance {
    /// Whether the anytime-valid p-value is below `alpha`: the assignment is broken, or the covariate was touched.
    pub imbalanced: bool,
    /// The arm whose covariate lies farthest from the control's, in standard errors.
    pub farthest: Option<VariantKey>,
    /// Welch's F over all arms, for one look.
    pub f: Option<f64>,
    /// Its p-value.
    pub p_value: Option<f64>,
    /// The p-value that holds at every look: the smallest of the comparisons times their number.
    pub anytime_p_value: Option<f64>,
    /// The p-value at which an imbalance is reported.
    pub alpha: f64,
    /// Why a part is absent.
    pub reason: Option<StatsError>,
}

impl Adjustment {
    /// A covariate that could not be used.
    pub fn not_applied(unadjusted: Estimate, reason: StatsError) -> Self {
        Self {
            applied: false,
            reason: Some(reason),
            slope: None,
            variance_reduction: None,
            unadjusted,
            balance: None,
            sign_flip: false,
        }
    }

    /// A covariate that was used.
    pub fn applied(unadjusted: Estimate, adjusted: &AdjustedMeans, balance: Option<Balance>) -> Self {
        let plain = unadjusted.estimate.unwrap_or(0.0);
        Self {
            applied: true,
            reason: None,
            slope: Some(adjusted.theta),
            variance_reduction: adjusted.variance_reduction,
            sign_flip: balance::turns_sign(plain, adjusted.difference),
            unadjusted,
            balance,
        }
    }
}

/// The adjusted means with their contrast.
///
/// # Errors
/// [`StatsError::ZeroVariance`] for a covariate that does not vary within arms, [`StatsError::NoSolution`] for one that
/// explains the metric without rest, [`StatsError::NegativeVariance`] for moments that contradict each other.
pub fn adjusted(
    control: &JointSample,
    treatment: &JointSample,
) -> Result<(AdjustedMeans, Contrast), StatsError> {
    if control.y.m2 + treatment.y.m2 <= 0.0 {
        return Err(StatsError::ZeroVariance);
    }
    let adjusted = cuped::adjust(control, treatment, Slope::Within)?;
    match adjusted.contrast() {
        Ok(contrast) => Ok((adjusted, contrast)),
        Err(StatsError::ZeroVariance) => Err(StatsError::NoSolution {
            what: "the adjusted interval",
            why: "the covariate explains the metric without rest",
        }),
        Err(reason) => Err(reason),
    }
}

/// How far the covariate lies apart.
pub fn gap(plan: &AnalysisPlan, control: &Sample, treatment: &Sample) -> Option<Balance> {
    let gap = balance::gap(control, treatment).ok()?;
    let look = asymptotic::Look {
        estimate: gap.difference,
        standard_error: gap.standard_error,
        units: control.n as f64 + treatment.n as f64,
    };
    let watched = asymptotic::two_sided(look, plan.planned_units as f64, DEFAULT_ALPHA).ok()?;
    Some(Balance {
        gap,
        anytime_p_value: watched.p_value,
    })
}

/// Whether all arms are alike in a metric's covariate; absent for a metric without one.
pub fn balance_of(
    plan: &AnalysisPlan,
    metric: &MetricPlan,
    control: &ArmSummary,
    arms: &[ArmSummary],
) -> Option<CovariateBalance> {
    let covariate = |arm: &ArmSummary| {
        let summary = arm.metrics.get(&metric.metric)?;
        summary.pair.filter(|pair| pair.value == SecondValue::Covariate)?;
        Some(measure::joint(summary, SecondValue::Covariate).map(|sample| sample.y))
    };
    let control_covariate = covariate(control)?;
    let mut balance = CovariateBalance {
        imbalanced: false,
        farthest: None,
        f: None,
        p_value: None,
        anytime_p_value: None,
        alpha: DEFAULT_ALPHA,
        reason: None,
    };
    let samples: Result<Vec<Sample>, StatsError> = arms.iter().filter_map(covariate).collect();
    match samples.and_then(|samples| balance::overall(&samples)) {
        Ok(test) => {
            balance.f = Some(test.f);
            balance.p_value = Some(test.p_value.p);
        }
        Err(reason) => balance.reason = Some(reason),
    }
    let Ok(control_covariate) = control_covariate else {
        return Some(balance);
    };
    let mut farthest = 0.0;
    let mut compared = 0_u32;
    let mut smallest: f64 = 1.0;
    for arm in arms.iter().filter(|arm| arm.variant != control.variant) {
        let Some(Ok(sample)) = covariate(arm) else {
            continue;
        };
        let Some(found) = gap(plan, &control_covariate, &sample) else {
            continue;
        };
        compared += 1;
        smallest = smallest.min(found.anytime_p_value);
        let distance = found.gap.difference.abs() / found.gap.standard_error;
        if distance >= farthest {
            farthest = distance;
            balance.farthest = Some(arm.variant.clone());
        }
    }
    if compared > 0 {
        let p_value = (smallest * f64::from(compared)).min(1.0);
        balance.anytime_p_value = Some(p_value);
        balance.imbalanced = p_value < balance.alpha;
    }
    Some(balance)
}

/// What a reader must know of the covariates of all metrics.
pub fn warnings(metrics: &[MetricAnalysis]) -> Vec<String> {
    let mut warnings = Vec::new();
    for metric in metrics {
        let imbalance = metric.covariate_balance.as_ref();
        if let Some(balance) = imbalance.filter(|balance| balance.imbalanced) {
            let arm = balance.farthest.as_ref().map_or("", |variant| variant.as_str());
            warnings.push(format!(
                "the arms differ in the covariate of {} beyond chance, {arm} most of all: the assignment is broken, or \
                 the covariate was not measured before exposure",
                metric.metric.as_str()
            ));
        }
        for comparison in &metric.comparisons {
            if comparison.adjustment.as_ref().is_some_and(|made| made.sign_flip) {
                warnings.push(format!(
                    "adjusting turns the sign of {} in {}: look at the unadjusted difference too",
                    metric.metric.as_str(),
                    comparison.variant.as_str()
                ));
            }
        }
    }
    warnings
}
