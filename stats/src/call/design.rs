//! Planning by name.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::number;
use crate::design::allocation;
use crate::design::means::TwoMeans;
use crate::design::proportions::{self, TwoRates};
use crate::error::StatsError;
use crate::frequentist::contrast::Alternative;

fn alternative(inputs: &Inputs<'_>) -> Result<Alternative, StatsError> {
    match inputs.count_or("sided", 2)? {
        1 => Ok(Alternative::Greater),
        2 => Ok(Alternative::TwoSided),
        _ => Err(StatsError::invalid("sided", "must be 1 or 2")),
    }
}

/// Two means with one variance, from `sd`, `variance` or, without either, 1.
fn two_means(inputs: &Inputs<'_>) -> Result<TwoMeans, StatsError> {
    let variance = if inputs.has("sd") {
        inputs.positive("sd")?.powi(2)
    } else {
        inputs.finite_or("variance", 1.0)?
    };
    let plan = TwoMeans {
        alternative: alternative(inputs)?,
        allocation: inputs.finite_or("ratio_n2_over_n1", 1.0)?,
        variance_treatment: inputs.finite_or("variance_treatment", variance)?,
        ..TwoMeans::equal(variance, inputs.rate_or("alpha", 0.05)?)
    };
    plan.adjusted(inputs.finite_or("covariate_correlation", 0.0)?)
}

fn effect(inputs: &Inputs<'_>) -> Result<f64, StatsError> {
    let field = if inputs.has("delta") { "delta" } else { "effect_sd" };
    inputs.finite(field)
}

/// The power of a t-test.
pub fn power_means(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (plan, n, effect) = (
        two_means(inputs)?,
        inputs.positive("n_per_group")?,
        effect(inputs)?,
    );
    Ok(json!({
        "power": number(plan.power(n, effect)?),
        "power_normal": number(plan.power_normal(n, effect)?),
    }))
}

/// The sample size of a t-test.
pub fn sample_size_means(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (plan, power, effect) = (two_means(inputs)?, inputs.rate_or("power", 0.8)?, effect(inputs)?);
    let n = plan.sample_size(effect, power)?;
    Ok(json!({
        "n_per_group": number(n),
        // Where even two units are enough, there is no size at which the power is just reached.
        "n1_t_noncentral": if n > 2.0 { number(n) } else { Value::Null },
        "n1_normal_approx": number(plan.sample_size_normal(effect, power)?),
    }))
}

/// The detectable difference of two means.
pub fn mde_absolute(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = two_means(inputs)?;
    let mde = plan.detectable_effect(inputs.positive("n_per_group")?, inputs.rate_or("power", 0.8)?)?;
    Ok(json!({"mde": number(mde)}))
}

/// The power of an equivalence test of two means.
pub fn equivalence_power(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = two_means(inputs)?;
    let (n, delta) = (inputs.positive("n_per_group")?, inputs.finite_or("delta", 0.0)?);
    Ok(json!({"power": number(plan.equivalence_power(n, delta, inputs.positive("margin")?)?)}))
}

fn two_rates(inputs: &Inputs<'_>, treatment: f64) -> Result<TwoRates, StatsError> {
    let control = inputs.rate(if inputs.has("p1") { "p1" } else { "baseline" })?;
    Ok(TwoRates {
        control,
        treatment,
        alpha: inputs.rate_or("alpha", 0.05)?,
        power: inputs.rate_or("power", 0.8)?,
        sides: if alternative(inputs)? == Alternative::TwoSided {
            2
        } else {
            1
        },
    })
}

/// Sample sizes for two proportions.
pub fn sample_size_proportions(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = two_rates(inputs, inputs.rate("p2")?)?;
    let sizes = plan.sample_sizes()?;
    // The formula with the baseline's variance is a two-sided one.
    let baseline = if plan.sides == 2 {
        number(sizes.baseline)
    } else {
        Value::Null
    };
    Ok(json!({
        "n_per_group": number(sizes.pooled),
        "n_pooled_null": number(sizes.pooled),
        "n_unpooled": number(sizes.unpooled),
        "n_cohen_h": number(sizes.arcsine),
        "n_evan_miller": baseline,
    }))
}

/// The sample size for two proportions with the baseline's variance under no effect.
pub fn sample_size_baseline(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let treatment = inputs.rate("baseline")? + inputs.finite("mde_absolute")?;
    let sizes = two_rates(inputs, treatment)?.sample_sizes()?;
    Ok(json!({"n_per_group": number(sizes.baseline.round()), "n_unrounded": number(sizes.baseline)}))
}

/// Power and detectable rate for two proportions.
pub fn power_proportions(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let n = inputs.positive("n_per_group")?;
    let plan = two_rates(inputs, inputs.rate("p2")?)?;
    Ok(json!({
        "power": number(plan.power_at(n)?),
        "detectable_p2": plan.detectable(n).map_or(Value::Null, number),
    }))
}

/// Exposure per group for two Poisson rates.
pub fn exposure_rates(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (alpha, power) = (inputs.rate_or("alpha", 0.05)?, inputs.rate_or("power", 0.8)?);
    let (control, treatment) = (
        inputs.positive("rate_control")?,
        inputs.positive("rate_treatment")?,
    );
    let exposure = proportions::poisson_exposure(control, treatment, alpha, power)?;
    Ok(json!({"exposure_per_group": number(exposure)}))
}

/// The sample size of the Mann–Whitney test.
pub fn sample_size_ranks(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (alpha, power) = (inputs.rate_or("alpha", 0.05)?, inputs.rate_or("power", 0.8)?);
    let n = proportions::rank_test_size(inputs.rate("chance_greater")?, alpha, power)?;
    Ok(json!({"n_per_group": number(n)}))
}

/// Traffic shares for several treatments against one control.
pub fn allocation_shares(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let control = inputs.finite_or("variance_control", 1.0)?;
    let treatment = inputs.finite_or("variance_treatment", control)?;
    Ok(json!(allocation::many_to_one(
        inputs.count("treatments")?,
        control,
        treatment
    )?))
}

/// Days and weeks until the sample is complete.
pub fn duration(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let share = inputs.finite_or("traffic_share", 1.0)?;
    Ok(json!(allocation::duration(
        inputs.positive("units")?,
        inputs.positive("units_per_day")?,
        share
    )?))
}
