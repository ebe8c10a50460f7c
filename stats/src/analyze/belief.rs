//! What is believed of a difference, for experiments whose plan decides by posterior probabilities.
//!
//! Priors are flat and stated: uniform on a rate, every mean as likely as any other. The answer is then the data's own.

use domain::metric::MetricKind;
use domain::results::MetricSummary;

use crate::bayes::conjugate::beta_binomial;
use crate::bayes::difference;
use crate::bayes::effect::{EffectPrior, posterior};
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate};
use crate::frequentist::mean;

/// The uniform prior of a rate: one success and one failure.
const UNIFORM: [f64; 2] = [1.0, 1.0];

/// The posterior of treatment minus control with a credible interval of level 1 − `alpha`.
pub fn believed(control: &MetricSummary, treatment: &MetricSummary, alpha: f64) -> Estimate {
    let units = ArmUnits {
        control: control.moments.n,
        treatment: treatment.moments.n,
    };
    let answer = match (control.kind, treatment.kind) {
        (MetricKind::Proportion, MetricKind::Proportion) => of_rates(control, treatment, units, alpha),
        _ => of_means(control, treatment, units, alpha),
    };
    answer.unwrap_or_else(|reason| Estimate::absent("posterior", units, reason))
}

fn of_rates(
    control: &MetricSummary,
    treatment: &MetricSummary,
    units: ArmUnits,
    alpha: f64,
) -> Result<Estimate, StatsError> {
    let left = beta_binomial(control.units, units.control, UNIFORM)?;
    let right = beta_binomial(treatment.units, units.treatment, UNIFORM)?;
    difference::difference(&left, &right, units, alpha)
}

fn of_means(
    control: &MetricSummary,
    treatment: &MetricSummary,
    units: ArmUnits,
    alpha: f64,
) -> Result<Estimate, StatsError> {
    let contrast = mean::welch_contrast(&control.moments.into(), &treatment.moments.into())?;
    let effect = posterior(
        contrast.difference,
        contrast.standard_error,
        EffectPrior::Flat,
        alpha,
    )?;
    Ok(difference::of_effect(&effect, units))
}
