//! Traffic shares, estimates of arms whose share changed, and the comparison of many arms, by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::named::{NO_ARMS, completed, completed_sample, resting_on};
use super::{number, numbers};
use crate::bandit::allocation::{self, Rule};
use crate::bandit::estimate::{self, ArmEstimate, Batch};
use crate::bayes::arms::{compare, difference_below};
use crate::bayes::conjugate::{self, LogPrior, LogSummary};
use crate::bayes::difference::{ASSUMPTIONS, difference};
use crate::bayes::effect::EffectPrior;
use crate::bayes::posterior::Posterior;
use crate::error::StatsError;
use crate::estimate::Estimate;

/// How much a log-normal arm's prior counts for when none is given: a thousandth of an observation.
const WEAK_PRIOR: LogPrior = LogPrior {
    mean: 0.0,
    weight: 1e-3,
    shape: 1.0,
    scale: 0.5,
};

/// The share below which no arm falls unless another is asked for.
const USUAL_FLOOR: f64 = 0.01;

/// The posteriors of `arms`, of the family that is named.
fn posteriors(inputs: &Inputs<'_>) -> Result<Vec<Posterior>, StatsError> {
    let arm = match inputs.text("family")? {
        "beta_binomial" => beta_arm,
        "gamma_poisson" => gamma_arm,
        "normal" => normal_arm,
        "log_normal" => log_normal_arm,
        _ => {
            return Err(StatsError::invalid(
                "family",
                "must be beta_binomial, gamma_poisson, normal or log_normal",
            ));
        }
    };
    let prior = inputs.has("prior").then(|| inputs.object("prior")).transpose()?;
    inputs
        .objects("arms")?
        .iter()
        .map(|one| arm(one, prior))
        .collect()
}

fn part(prior: Option<Inputs<'_>>, field: &str, usual: f64) -> Result<f64, StatsError> {
    prior.map_or(Ok(usual), |prior| prior.finite_or(field, usual))
}

fn beta_arm(arm: &Inputs<'_>, prior: Option<Inputs<'_>>) -> Result<Posterior, StatsError> {
    let prior = [part(prior, "a", 1.0)?, part(prior, "b", 1.0)?];
    conjugate::beta_binomial(arm.count("x")?, arm.count("n")?, prior)
}

fn gamma_arm(arm: &Inputs<'_>, prior: Option<Inputs<'_>>) -> Result<Posterior, StatsError> {
    let (shape, rate) = (part(prior, "shape", 0.5)?, part(prior, "rate", 1e-6)?);
    conjugate::gamma_poisson(arm.count("count")?, arm.not_negative("exposure")?, shape, rate)
}

fn normal_arm(arm: &Inputs<'_>, prior: Option<Inputs<'_>>) -> Result<Posterior, StatsError> {
    let prior = match prior {
        None => EffectPrior::Flat,
        Some(prior) => EffectPrior::Normal {
            mean: prior.finite_or("mean", 0.0)?,
            variance: prior.positive("var")?,
        },
    };
    conjugate::normal_mean(arm.finite("mean")?, arm.positive("se")?, prior)
}

fn log_normal_arm(arm: &Inputs<'_>, prior: Option<Inputs<'_>>) -> Result<Posterior, StatsError> {
    let values = LogSummary {
        n: arm.count("n")?,
        mean: arm.finite("mean_log")?,
        m2: arm.not_negative("m2_log")?,
    };
    let prior = LogPrior {
        mean: part(prior, "mean", WEAK_PRIOR.mean)?,
        weight: part(prior, "weight", WEAK_PRIOR.weight)?,
        shape: part(prior, "shape", WEAK_PRIOR.shape)?,
        scale: part(prior, "scale", WEAK_PRIOR.scale)?,
    };
    conjugate::log_normal_mean(values, prior)
}

/// Two or more arms: which is best, what a wrong choice costs, and each against the first.
pub(super) fn bayes_arms(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let arms = posteriors(inputs)?;
    let chances = compare(&arms)?;
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let rope = inputs.has("rope").then(|| inputs.finites("rope")).transpose()?;
    let mut described = Vec::new();
    for (index, (arm, chance)) in arms.iter().zip(&chances).enumerate() {
        let interval = [arm.quantile(0.5 * alpha)?, arm.quantile(1.0 - 0.5 * alpha)?];
        let mut one = json!({
            "mean": number(arm.mean()),
            "interval": numbers(&interval),
            "chance_best": number(chance.best),
            "expected_loss": number(chance.expected_loss),
        });
        if index > 0 {
            one["against_first"] = against_first(&arms[0], arm, alpha, rope.as_deref())?;
        }
        described.push(one);
    }
    Ok(resting_on(
        json!({"arms": described, "level": 1.0 - alpha}),
        ASSUMPTIONS,
    ))
}

/// The difference of an arm to the first one.
fn against_first(
    first: &Posterior,
    arm: &Posterior,
    alpha: f64,
    rope: Option<&[f64]>,
) -> Result<Value, StatsError> {
    let named = difference(first, arm, NO_ARMS, alpha)?;
    let mut answer = json!({
        "difference_of_means": number(arm.mean() - first.mean()),
        "chance_better": named.posterior.map(|belief| belief.chance_to_win),
    });
    if let Some(rope) = rope {
        let [low, high] = *rope else {
            return Err(StatsError::invalid("rope", "must be two numbers"));
        };
        let inside = difference_below(first, arm, high)? - difference_below(first, arm, low)?;
        answer["chance_in_rope"] = number(inside.max(0.0));
    }
    Ok(completed(answer, &named))
}

/// Traffic shares by Thompson sampling or top-two sampling, with a floor.
pub(super) fn shares(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let rule = match inputs.raw("rule").map(Value::as_str) {
        None | Some(Some("thompson")) => Rule::Thompson,
        Some(Some("top_two")) => Rule::TopTwo {
            leader_share: inputs.rate_or("leader_share", 0.5)?,
        },
        Some(_) => return Err(StatsError::invalid("rule", "must be thompson or top_two")),
    };
    let floor = inputs.finite_or("floor", USUAL_FLOOR)?;
    let arms = posteriors(inputs)?;
    let best: Vec<f64> = compare(&arms)?.iter().map(|chance| chance.best).collect();
    Ok(json!({
        "shares": numbers(&allocation::shares(&arms, rule, floor)?),
        "chance_best": numbers(&best),
    }))
}

/// The mean of an arm whose share of the traffic changed between batches.
pub(super) fn corrected(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let mut batches = Vec::new();
    for batch in inputs.objects("batches")? {
        let n = batch.count("n")?;
        let m2 = if batch.has("m2") {
            batch.not_negative("m2")?
        } else {
            batch.not_negative("var")? * (n as f64 - 1.0).max(0.0)
        };
        batches.push(Batch {
            traffic: batch.count("traffic")?,
            share: batch.finite("share")?,
            n,
            mean: batch.finite("mean")?,
            m2,
        });
    }
    let answer = estimate::corrected(&batches, inputs.rate_or("alpha", 0.05)?)?;
    let described = |arm: ArmEstimate| {
        json!({
            "estimate": number(arm.estimate),
            "se": number(arm.standard_error),
            "ci95": super::means::pair(arm.interval),
        })
    };
    let weighted = answer.adaptively_weighted;
    let named = Estimate {
        estimate: Some(weighted.estimate),
        standard_error: Some(weighted.standard_error),
        interval: Some(weighted.interval),
        assumptions: &[
            "each batch's share of the traffic was set before the batch, from earlier batches alone",
            "the arm's mean is the same in all batches",
            "the weighted sum is nearly normal",
        ],
        ..Estimate::empty("adaptively_weighted", NO_ARMS)
    };
    let result = json!({
        "inverse_propensity": described(answer.inverse_propensity),
        "stratified": described(answer.stratified),
        "adaptively_weighted": described(weighted),
    });
    let values = batches.iter().map(|batch| batch.n).sum();
    Ok(completed_sample(result, &named, values))
}
