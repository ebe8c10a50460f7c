//! A whole plan by name: what is left out of effect, units and power is found.

use serde_json::{Value, json};

use super::group::spending;
use super::inputs::Inputs;
use crate::design::plan::{Better, Correction, Goal, Known, Looking, Metric, Plan, RatioMoments, solve};
use crate::error::StatsError;
use crate::sequential::group::classical::equal_information;

/// Finds units, effect or power.
pub(super) fn plan(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let optional = |field: &str| inputs.has(field).then(|| inputs.finite(field)).transpose();
    let goal = match word(inputs, "goal", "superiority")? {
        "superiority" => Goal::Superiority,
        "non_inferiority" => Goal::NonInferiority,
        "equivalence" => Goal::Equivalence,
        _ => {
            return Err(StatsError::invalid(
                "goal",
                "must be superiority, non_inferiority or equivalence",
            ));
        }
    };
    let size = if goal == Goal::Superiority {
        "effect"
    } else {
        "margin"
    };
    let known = Known {
        effect: optional(size)?,
        units: optional("units")?,
        power: optional("power")?,
        true_difference: inputs.finite_or("true_difference", 0.0)?,
    };
    let plan = Plan {
        metric: metric(inputs)?,
        goal,
        better: if inputs.flag_or("lower_is_better", false)? {
            Better::Lower
        } else {
            Better::Higher
        },
        one_sided: inputs.flag_or("one_sided", false)?,
        looking: looking(inputs)?,
        alpha: inputs.rate_or("alpha", 0.05)?,
        correction: correction(inputs)?,
        shares: if inputs.has("shares") {
            inputs.finites("shares")?
        } else {
            vec![1.0, 1.0]
        },
        metrics: inputs.count_or("metrics", 1)?,
        variance_left: variance_left(inputs)?,
    };
    Ok(json!(solve(&plan, known)?))
}

fn word<'a>(inputs: &Inputs<'a>, field: &str, usual: &'static str) -> Result<&'a str, StatsError> {
    if inputs.has(field) {
        inputs.text(field)
    } else {
        Ok(usual)
    }
}

fn metric(inputs: &Inputs<'_>) -> Result<Metric, StatsError> {
    match inputs.text("metric")? {
        "proportion" => Ok(Metric::Proportion {
            baseline: inputs.rate("baseline")?,
        }),
        "mean" => Ok(Metric::Mean {
            sd: inputs.positive("sd")?,
            baseline: inputs
                .has("baseline")
                .then(|| inputs.finite("baseline"))
                .transpose()?,
        }),
        "ratio" => Ok(Metric::Ratio(RatioMoments {
            numerator_mean: inputs.finite("numerator_mean")?,
            numerator_sd: inputs.not_negative("numerator_sd")?,
            denominator_mean: inputs.positive("denominator_mean")?,
            denominator_sd: inputs.not_negative("denominator_sd")?,
            correlation: inputs.finite_or("parts_correlation", 0.0)?,
        })),
        "count" => Ok(Metric::Count {
            baseline: inputs.positive("baseline")?,
            exposure: inputs.finite_or("exposure", 1.0)?,
            dispersion: inputs.finite_or("dispersion", 1.0)?,
        }),
        _ => Err(StatsError::invalid(
            "metric",
            "must be proportion, mean, ratio or count",
        )),
    }
}

fn correction(inputs: &Inputs<'_>) -> Result<Correction, StatsError> {
    match word(inputs, "correction", "bonferroni")? {
        "none" => Ok(Correction::None),
        "bonferroni" => Ok(Correction::Bonferroni),
        "sidak" => Ok(Correction::Sidak),
        "dunnett" => Ok(Correction::Dunnett),
        _ => Err(StatsError::invalid(
            "correction",
            "must be none, bonferroni, sidak or dunnett",
        )),
    }
}

fn looking(inputs: &Inputs<'_>) -> Result<Looking, StatsError> {
    let looks = |usual: u64| {
        inputs
            .count_or("looks", usual)
            .map(|looks| looks.min(u64::from(u32::MAX)) as usize)
    };
    match word(inputs, "looking", "once")? {
        "once" => Ok(Looking::Once),
        "confidence_sequence" => Ok(Looking::ConfidenceSequence {
            looks: looks(28)?,
            planned_share: inputs.finite_or("planned_share", 1.0)?,
        }),
        "mixture_test" => Ok(Looking::MixtureTest { looks: looks(28)? }),
        "group_sequential" => Ok(Looking::GroupSequential {
            information: if inputs.has("t") {
                inputs.finites("t")?
            } else {
                equal_information(looks(5)?.min(crate::design::plan::MAX_PLANNED_LOOKS + 1))
            },
            spending: spending(inputs, "spending")?,
        }),
        _ => Err(StatsError::invalid(
            "looking",
            "must be once, confidence_sequence, mixture_test or group_sequential",
        )),
    }
}

fn variance_left(inputs: &Inputs<'_>) -> Result<f64, StatsError> {
    if inputs.has("covariate_correlation") {
        let correlation = inputs.finite("covariate_correlation")?;
        return Ok((1.0 - correlation) * (1.0 + correlation));
    }
    Ok(1.0 - inputs.finite_or("variance_reduction", 0.0)?)
}
