//! What is believed of a difference, for experiments whose plan decides by posterior probabilities.
//!
//! Without a prior in the plan priors are flat and stated: uniform on a rate, every mean as likely as any other; the
//! answer is then the data's own. A prior of the plan is normal on the relative lift. It is taken to the difference by the
//! size of the control's mean, so that one prior serves every metric in whatever unit, and meets a normal estimate.

use domain::experiment::LiftPrior;
use domain::metric::MetricKind;
use domain::results::{AnalysisPlan, MetricSummary};
use serde::Serialize;

use super::measure::{Measured, is_ratio};
use crate::bayes::arms::difference_below;
use crate::bayes::conjugate::beta_binomial;
use crate::bayes::difference;
use crate::bayes::effect::{EffectPosterior, EffectPrior, chance_between, posterior};
use crate::bayes::posterior::Posterior;
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate};
use crate::special::normal;

/// The uniform prior of a rate: one success and one failure.
const UNIFORM: [f64; 2] = [1.0, 1.0];

/// The chances that a difference matters, by the region in which the plan takes variants as equal (Kruschke 2018).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PracticalDifference {
    /// The lower end of the region, as treatment minus control.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// The chance that the difference lies below it.
    pub chance_below: f64,
    /// The chance that it lies inside.
    pub chance_within: f64,
    /// The chance that it lies above.
    pub chance_above: f64,
    /// Whether the whole credible interval lies inside: the variants are as good as equal.
    pub equal: bool,
}

/// What is believed of treatment minus control.
#[derive(Debug, Clone, PartialEq)]
pub struct Believed {
    /// The posterior with its credible interval.
    pub estimate: Estimate,
    /// Its place against the region of equality; absent without one in the plan, or without a control above 0.
    pub practical: Option<PracticalDifference>,
}

/// The posterior of treatment minus control with a credible interval of level 1 − alpha of the plan.
pub fn believed(
    plan: &AnalysisPlan,
    control: &MetricSummary,
    treatment: &MetricSummary,
    measured: &Result<Measured, StatsError>,
) -> Believed {
    let units = ArmUnits {
        control: control.moments.n,
        treatment: treatment.moments.n,
    };
    let answer = law(plan, control, treatment, measured).and_then(|law| {
        let estimate = law.estimate(units, plan.alpha)?;
        Ok(Believed {
            practical: practical(plan, measured, control, &law, &estimate)?,
            estimate,
        })
    });
    answer.unwrap_or_else(|reason| Believed {
        estimate: Estimate::absent("posterior", units, reason),
        practical: None,
    })
}

/// The distribution that is believed in.
enum Law {
    /// Of two rates.
    Rates([Posterior; 2]),
    /// Of a difference that is normal.
    Difference(EffectPosterior),
}

fn law(
    plan: &AnalysisPlan,
    control: &MetricSummary,
    treatment: &MetricSummary,
    measured: &Result<Measured, StatsError>,
) -> Result<Law, StatsError> {
    let both = (control.kind, treatment.kind);
    let is_adjusted = measured.as_ref().is_ok_and(Measured::is_adjusted);
    let are_rates = both == (MetricKind::Proportion, MetricKind::Proportion)
        && !is_ratio(control)
        && !is_ratio(treatment)
        && !is_adjusted;
    if plan.prior.is_none() && are_rates {
        let arm = |summary: &MetricSummary| beta_binomial(summary.units, summary.moments.n, UNIFORM);
        return Ok(Law::Rates([arm(control)?, arm(treatment)?]));
    }
    let measured = measured.as_ref().map_err(Clone::clone)?;
    let contrast = measured.contrast;
    let prior = match plan.prior {
        None => EffectPrior::Flat,
        Some(prior) => scaled(prior, size(measured.control.value)?),
    };
    let effect = posterior(contrast.difference, contrast.standard_error, prior, plan.alpha)?;
    Ok(Law::Difference(effect))
}

/// The size of the control's mean or ratio, by which lifts become differences.
fn size(baseline: f64) -> Result<f64, StatsError> {
    if baseline.abs() > 0.0 {
        Ok(baseline.abs())
    } else {
        Err(StatsError::BaselineNotPositive { baseline })
    }
}

fn scaled(prior: LiftPrior, size: f64) -> EffectPrior {
    EffectPrior::Normal {
        mean: prior.mean * size,
        variance: (prior.standard_deviation * size).powi(2),
    }
}

impl Law {
    fn estimate(&self, units: ArmUnits, alpha: f64) -> Result<Estimate, StatsError> {
        match self {
            Self::Rates([control, treatment]) => difference::difference(control, treatment, units, alpha),
            Self::Difference(effect) => Ok(difference::of_effect(effect, units)),
        }
    }

    /// The chances below, inside and above a region.
    fn chances(&self, lower: f64, upper: f64) -> Result<[f64; 3], StatsError> {
        match self {
            Self::Rates([control, treatment]) => {
                let below = difference_below(control, treatment, lower)?;
                // The upper side by itself, not as one minus the rest.
                let above = difference_below(treatment, control, -upper)?;
                Ok([below, (1.0 - below - above).max(0.0), above])
            }
            Self::Difference(effect) => Ok([
                normal::cdf((lower - effect.mean) / effect.sd),
                chance_between(effect, lower, upper),
                normal::sf((upper - effect.mean) / effect.sd),
            ]),
        }
    }
}

fn practical(
    plan: &AnalysisPlan,
    measured: &Result<Measured, StatsError>,
    control: &MetricSummary,
    law: &Law,
    estimate: &Estimate,
) -> Result<Option<PracticalDifference>, StatsError> {
    let Some(lift) = plan.equal_within else {
        return Ok(None);
    };
    // Without a control above 0 the region has no size; the posterior stands all the same.
    let baseline = measured
        .as_ref()
        .map_or(control.moments.mean, |measured| measured.control.value);
    let Ok(size) = size(baseline) else {
        return Ok(None);
    };
    let (lower, upper) = (-lift * size, lift * size);
    let [chance_below, chance_within, chance_above] = law.chances(lower, upper)?;
    let equal = estimate.interval.is_some_and(|interval| {
        interval.lower >= Some(lower) && interval.upper.is_some_and(|end| end <= upper)
    });
    Ok(Some(PracticalDifference {
        lower,
        upper,
        chance_below,
        chance_within,
        chance_above,
        equal,
    }))
}
