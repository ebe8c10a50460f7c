//! Designs of single tests by name: what is left out of units, effect and power is found, and how long it takes.

use serde_json::{Value, json};

use super::inputs::Inputs;
use crate::design::allocation;
use crate::design::plan::Found;
use crate::design::power::belief::Belief;
use crate::design::power::betting::{self, Betting};
use crate::design::power::bootstrap::{self, Simulation};
use crate::design::power::exact::ExactDesign;
use crate::design::power::guardrail::{self, Rollout};
use crate::design::power::interaction::{self, Interaction};
use crate::design::power::many_to_one::{ManyToOne, Success};
use crate::design::power::quantile_sequence::QuantileSequence;
use crate::design::power::sample_ratio::{self, Shares};
use crate::design::power::{Known, Solved, quantiles, ranks};
use crate::error::StatsError;
use crate::frequentist::bootstrap::{Resampling, Statistic};
use crate::frequentist::contrast::Alternative;
use crate::frequentist::exact::power::ExactTest;

/// What is known under the usual names; power is 0.8 where it is not given and not sought.
fn known(inputs: &Inputs<'_>, effect: &str) -> Result<Known, StatsError> {
    let optional = |field: &str| inputs.has(field).then(|| inputs.finite(field)).transpose();
    let (units, effect, power) = (optional("n")?, optional(effect)?, optional("power")?);
    let sought = units.is_some() != effect.is_some();
    Ok(Known {
        units,
        effect,
        power: power.or(sought.then_some(0.8)),
    })
}

/// Units of all arms together and, where traffic is given, days and weeks.
fn completed(
    inputs: &Inputs<'_>,
    mut result: Value,
    solved: Solved,
    per_control: f64,
) -> Result<Value, StatsError> {
    let units = if solved.found == Found::Units {
        (solved.units - 1e-9).ceil() * per_control
    } else {
        solved.units * per_control
    };
    result["n"] = json!(solved.units);
    result["units"] = json!(units);
    if let Some(map) = result.as_object_mut() {
        map.remove("solved");
    }
    if inputs.has("units_per_day") {
        let share = inputs.finite_or("traffic_share", 1.0)?;
        let time = allocation::duration(units, inputs.positive("units_per_day")?, share)?;
        result["days"] = json!(time.days);
        result["weeks"] = json!(time.weeks);
    }
    Ok(result)
}

/// Treatment units per control unit.
fn per_control(inputs: &Inputs<'_>) -> Result<f64, StatsError> {
    if inputs.has("ratio_n2_over_n1") {
        inputs.positive("ratio_n2_over_n1")
    } else {
        Ok(1.0)
    }
}

fn variance(inputs: &Inputs<'_>) -> Result<f64, StatsError> {
    if inputs.has("sd") {
        Ok(inputs.positive("sd")?.powi(2))
    } else {
        inputs.finite_or("variance", 1.0)
    }
}

fn word<'a>(inputs: &Inputs<'a>, field: &str, usual: &'static str) -> Result<&'a str, StatsError> {
    if inputs.has(field) {
        inputs.text(field)
    } else {
        Ok(usual)
    }
}

/// Dunnett's test.
pub fn dunnett(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let success = match word(inputs, "success", "one")? {
        "one" => Success::One,
        "any" => Success::Any,
        "all" => Success::All,
        _ => return Err(StatsError::invalid("success", "must be one, any or all")),
    };
    let alternative = match word(inputs, "alternative", "two_sided")? {
        "two_sided" => Alternative::TwoSided,
        "greater" => Alternative::Greater,
        "less" => Alternative::Less,
        _ => {
            return Err(StatsError::invalid(
                "alternative",
                "must be two_sided, greater or less",
            ));
        }
    };
    let treatments = inputs.count("treatments")?.min(u64::from(u32::MAX));
    let plan = ManyToOne {
        treatments: treatments as usize,
        variance: variance(inputs)?,
        allocation: per_control(inputs)?,
        alpha: inputs.rate_or("alpha", 0.05)?,
        alternative,
        success,
    };
    let design = plan.solve(known(inputs, "effect")?)?;
    let arms = 1.0 + treatments as f64 * plan.allocation;
    completed(inputs, json!(design), design.solved, arms)
}

/// A difference of quantiles.
pub fn quantile(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let q = inputs.rate("q")?;
    let single = if inputs.has("pilot") {
        quantiles::variance_from_pilot(q, &inputs.finites("pilot")?)?
    } else {
        quantiles::variance_from_density(q, inputs.positive("density")?)?
    };
    let variance = single * inputs.finite_or("design_effect", 1.0)?;
    let allocation = per_control(inputs)?;
    let solved = quantiles::solve(
        variance,
        inputs.rate_or("alpha", 0.05)?,
        allocation,
        known(inputs, "effect")?,
    )?;
    let mut result = json!(solved);
    result["variance"] = json!(variance);
    completed(inputs, result, solved, 1.0 + allocation)
}

/// The Mann–Whitney test.
pub fn mann_whitney(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let allocation = per_control(inputs)?;
    let mut known = known(inputs, "chance_greater")?;
    known.effect = known.effect.map(|chance| chance - 0.5);
    let solved = ranks::solve(inputs.rate_or("alpha", 0.05)?, allocation, known)?;
    let mut result = json!(solved);
    result["chance_greater"] = json!(0.5 + solved.effect);
    completed(inputs, result, solved, 1.0 + allocation)
}

/// Fisher's, Barnard's or Boschloo's test.
pub fn exact(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let test = match word(inputs, "test", "fisher")? {
        "fisher" => ExactTest::Fisher,
        "barnard" => ExactTest::Barnard,
        "boschloo" => ExactTest::Boschloo,
        _ => return Err(StatsError::invalid("test", "must be fisher, barnard or boschloo")),
    };
    let plan = ExactDesign {
        test,
        control: inputs.rate("baseline")?,
        allocation: per_control(inputs)?,
        alpha: inputs.rate_or("alpha", 0.05)?,
    };
    let solved = plan.solve(known(inputs, "effect")?)?;
    completed(inputs, json!(solved), solved, 1.0 + plan.allocation)
}

/// The sample-ratio check.
pub fn sample_ratio(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let shares = Shares {
        planned: inputs.finites("planned")?,
        actual: inputs.finites("actual")?,
    };
    let optional = |field: &str| inputs.has(field).then(|| inputs.finite(field)).transpose();
    let (units, power) = (optional("units")?, optional("power")?);
    let known = Known {
        units,
        effect: None,
        power: power.or(units.is_none().then_some(0.8)),
    };
    let alpha = inputs.rate_or("alpha", crate::srm::DEFAULT_ALPHA)?;
    let solved = sample_ratio::solve(&shares, alpha, known)?;
    completed(inputs, json!(solved), solved, 1.0)
}

/// A decision by the posterior of a difference.
pub fn belief(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = Belief {
        variance: variance(inputs)?,
        allocation: per_control(inputs)?,
        prior_mean: inputs.finite_or("prior_mean", 0.0)?,
        prior_sd: inputs
            .has("prior_var")
            .then(|| inputs.positive("prior_var").map(f64::sqrt))
            .transpose()?,
        alpha: inputs.rate_or("alpha", 0.05)?,
        effect_sd: inputs.finite_or("effect_sd", 0.0)?,
    };
    let solved = plan.solve(known(inputs, "effect")?)?;
    completed(inputs, json!(solved), solved, 1.0 + plan.allocation)
}

/// The Poisson bootstrap.
pub fn bootstrap(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let pilot = super::ratios::buckets(inputs, "pilot")?;
    let how = Simulation {
        experiments: inputs.count_or("experiments", 400)?,
        resampling: Resampling {
            statistic: if inputs.flag_or("relative", false)? {
                Statistic::RelativeLift
            } else {
                Statistic::Difference
            },
            alpha: inputs.rate_or("alpha", 0.05)?,
            replicates: inputs.count_or("replicates", 300)?,
            seed: inputs.count_or("seed", 0)?,
        },
    };
    let design = bootstrap::solve(&pilot, how, known(inputs, "effect")?)?;
    completed(inputs, json!(design), design.solved, 2.0)
}

/// The guardrail's e-process and e-detector; without a rate ratio the detectable one is found.
pub fn rate_ratio(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let looks = inputs.count("looks")?;
    let finds = !inputs.has("rate_ratio");
    let usual = if finds {
        // As many as a call may simulate over all the ratios that are tried.
        (guardrail::MAX_SIMULATED_LOOKS / 13 / looks.max(1)).clamp(1, 400)
    } else {
        400
    };
    let rollout = Rollout {
        rate_control: inputs.rate("rate_control")?,
        rate_ratio: if finds {
            1.0
        } else {
            inputs.positive("rate_ratio")?
        },
        units_per_look: inputs.positive("units_per_look")?,
        looks,
        onset: inputs.count_or("onset_look", 0)?,
        share_treatment: inputs.rate_or("share_treatment", 0.5)?,
        margin: inputs.finite_or("margin", 0.0)?,
        alpha: inputs.rate_or("alpha", 0.01)?,
        experiments: inputs.count_or("experiments", usual)?,
        seed: inputs.count_or("seed", 0)?,
    };
    if finds {
        return Ok(json!(guardrail::detectable(
            &rollout,
            inputs.rate_or("power", 0.8)?
        )?));
    }
    Ok(json!(guardrail::simulate(&rollout)?))
}

/// The test of interaction between segments.
pub fn interaction(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let mut known = known(inputs, "effect")?;
    let mut segments = None;
    if inputs.has("effects") {
        let effects = inputs.finites("effects")?;
        let shares = if inputs.has("shares") {
            inputs.finites("shares")?
        } else {
            vec![1.0; effects.len()]
        };
        segments = Some(effects.len() as u64);
        known.effect = Some(interaction::spread(&effects, &shares)?);
        known.power = known.power.or(known.units.is_none().then_some(0.8));
    }
    let plan = Interaction {
        segments: match segments {
            Some(segments) => segments,
            None => inputs.count("segments")?,
        },
        variance: variance(inputs)?,
        allocation: per_control(inputs)?,
        alpha: inputs.rate_or("alpha", 0.05)?,
    };
    let solved = plan.solve(known)?;
    completed(inputs, json!(solved), solved, 1.0 + plan.allocation)
}

/// The quantile confidence sequence against a reference value.
pub fn quantile_sequence(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let mut known = known(inputs, "share_below")?;
    let plan = QuantileSequence {
        q: inputs.rate("q")?,
        looks: inputs.count_or("looks", 28)?.min(u64::from(u32::MAX)) as usize,
        planned_share: inputs.finite_or("planned_share", 1.0)?,
        alpha: inputs.rate_or("alpha", 0.05)?,
    };
    known.effect = known.effect.map(|share| share - plan.q);
    let solved = plan.solve(known)?;
    let mut result = json!(solved);
    result["share_below"] = json!(plan.q + solved.effect);
    completed(inputs, result, solved, 1.0)
}

/// The betting confidence sequence of a bounded mean.
pub fn betting(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let plan = Betting {
        null: inputs.rate("null")?,
        values: inputs.count("n")?,
        alpha: inputs.rate_or("alpha", 0.05)?,
        power: inputs.rate_or("power", 0.8)?,
        experiments: inputs.count_or("experiments", 400)?,
        seed: inputs.count_or("seed", 0)?,
    };
    let found = if inputs.has("pilot") {
        betting::simulate(&plan, &inputs.finites("pilot")?)?
    } else if inputs.has("mean") {
        let population = betting::population(inputs.rate("mean")?, inputs.positive("sd")?)?;
        betting::simulate(&plan, &population)?
    } else {
        betting::detectable(&plan, inputs.positive("sd")?)?
    };
    Ok(json!(found))
}
