//! Bayesian comparisons by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::named::{NO_ARMS, completed};
use crate::bayes::conjugate::{beta_binomial as beta_posterior, gamma_poisson as gamma_posterior};
use crate::bayes::difference::{self, difference};
use crate::bayes::effect::{EffectPrior, chance_between, posterior};
use crate::bayes::posterior::Posterior;
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Belief, Estimate, known};
use crate::special::beta::{Share, ln_beta_tails};

/// The region of practical equivalence that is reported, to either side of 0.
const ROPE: f64 = 0.01;

fn interval_95(posterior: &Posterior) -> Result<[f64; 2], StatsError> {
    Ok([posterior.quantile(0.025)?, posterior.quantile(0.975)?])
}

/// The part of an answer about two arms that says what is believed.
fn belief(answer: &Estimate) -> Result<Belief, StatsError> {
    answer.posterior.ok_or(StatsError::NoSolution {
        what: "the comparison",
        why: "there is no posterior",
    })
}

pub(super) fn beta_binomial(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let prior = match inputs.finites("prior")?.as_slice() {
        [a, b] => [*a, *b],
        _ => return Err(StatsError::invalid("prior", "must be two numbers")),
    };
    let units = ArmUnits {
        control: inputs.count("n_control")?,
        treatment: inputs.count("n_treatment")?,
    };
    let control = beta_posterior(inputs.count("x_control")?, units.control, prior)?;
    let treatment = beta_posterior(inputs.count("x_treatment")?, units.treatment, prior)?;
    let named = difference(&control, &treatment, units, inputs.rate_or("alpha", 0.05)?)?;
    let pair = belief(&named)?;
    let parameters = |posterior: &Posterior| match posterior {
        Posterior::Beta { a, b } => json!([a, b]),
        _ => Value::Null,
    };
    let result = json!({
        "posterior_control": parameters(&control),
        "posterior_treatment": parameters(&treatment),
        "p_treatment_better": pair.chance_to_win,
        "p_closed_form": pair.chance_to_win,
        "p_control_better": pair.chance_to_lose,
        "mean_control": control.mean(),
        "mean_treatment": treatment.mean(),
        "ci95_control": interval_95(&control)?,
        "ci95_treatment": interval_95(&treatment)?,
        "expected_loss_choose_control": pair.loss_of_control,
        "expected_loss_choose_treatment": pair.loss_of_treatment,
    });
    Ok(completed(result, &named))
}

pub(super) fn effect(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let prior = if inputs.has("prior_var") {
        EffectPrior::Normal {
            mean: inputs.finite_or("prior_mean", 0.0)?,
            variance: inputs.positive("prior_var")?,
        }
    } else {
        EffectPrior::Flat
    };
    let (estimate, standard_error) = (inputs.finite("effect")?, inputs.positive("se")?);
    let answer = posterior(estimate, standard_error, prior, 0.05)?;
    let level = posterior(estimate, standard_error, prior, inputs.rate_or("alpha", 0.05)?)?;
    let rope = match inputs.has("rope").then(|| inputs.finites("rope")).transpose()? {
        None => None,
        Some(ends) => match ends.as_slice() {
            [low, high] if low < high => Some(chance_between(&answer, *low, *high)),
            _ => {
                return Err(StatsError::invalid(
                    "rope",
                    "must be two numbers, the lower one first",
                ));
            }
        },
    };
    let result = json!({
        "rope_prob_inside": rope,
        "post_mean": answer.mean,
        "post_sd": answer.sd,
        "chance_to_win": answer.chance_to_win,
        "log10_prob_worse": answer.log10_chance_worse,
        "ci95": [answer.interval.lower, answer.interval.upper],
        "risk_choose_control": answer.loss_of_control,
        "risk_choose_treatment": answer.loss_of_treatment,
        "rope_prob_inside_±0.01": chance_between(&answer, -ROPE, ROPE),
    });
    Ok(completed(result, &difference::of_effect(&level, NO_ARMS)))
}

pub(super) fn gamma_poisson(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (shape, rate) = (inputs.positive("prior_shape")?, inputs.positive("prior_rate")?);
    let (in_control, in_treatment) = (
        inputs.not_negative("exposure_control")?,
        inputs.not_negative("exposure_treatment")?,
    );
    let (from_control, from_treatment) = (inputs.count("count_control")?, inputs.count("count_treatment")?);
    let control = gamma_posterior(from_control, in_control, shape, rate)?;
    let treatment = gamma_posterior(from_treatment, in_treatment, shape, rate)?;
    // The control's share of two independent gamma variables has a beta distribution.
    let share = Share::of(rate + in_control, rate + in_treatment);
    let tails = ln_beta_tails(shape + from_control as f64, shape + from_treatment as f64, share);
    known("the tail of the beta distribution", tails.lower + tails.upper)?;
    // Units are not known here: exposure need not be a number of users.
    let named = difference(&control, &treatment, NO_ARMS, inputs.rate_or("alpha", 0.05)?)?;
    let result = json!({
        "p_treatment_rate_higher": tails.lower.exp(),
        "p_control_rate_higher": tails.upper.exp(),
        "log10_p_control_rate_higher": super::number(tails.upper * std::f64::consts::LOG10_E),
        "ci95_control": interval_95(&control)?,
        "ci95_treatment": interval_95(&treatment)?,
    });
    Ok(completed(result, &named))
}
