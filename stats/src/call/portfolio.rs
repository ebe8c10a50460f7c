//! Several effects by name: segments, repetitions, selected winners, streams of experiments.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::{number, numbers};
use crate::error::StatsError;
use crate::estimate::Interval;
use crate::heterogeneity::{pooling, winner};
use crate::online_fdr::{OnlineFdr, OnlineRule};
use crate::special::normal;

/// Effects that may be one: the test of interaction, the pooled effect, and each effect shrunk.
pub(super) fn heterogeneity(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let effects = inputs
        .objects("effects")?
        .iter()
        .map(|effect| {
            Ok(pooling::Effect {
                estimate: effect.finite("estimate")?,
                standard_error: effect.positive("se")?,
            })
        })
        .collect::<Result<Vec<_>, StatsError>>()?;
    Ok(json!(pooling::analyze(&effects, inputs.rate_or("alpha", 0.05)?)?))
}

/// An effect that was looked at because it was significant.
pub(super) fn winners_curse(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let threshold = inputs.finite_or("threshold", normal::isf(0.5 * alpha))?;
    let (estimate, standard_error) = (inputs.finite("estimate")?, inputs.positive("se")?);
    Ok(json!(winner::correct(
        estimate,
        standard_error,
        threshold,
        alpha
    )?))
}

/// The alphas and discoveries of a stream of experiments.
pub(super) fn online_fdr(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let rule = match inputs.raw("rule").map(Value::as_str) {
        None | Some(Some("lord_plus_plus")) => OnlineRule::LordPlusPlus,
        Some(Some("saffron")) => OnlineRule::Saffron {
            lambda: inputs.rate_or("lambda", 0.5)?,
        },
        Some(_) => return Err(StatsError::invalid("rule", "must be lord_plus_plus or saffron")),
    };
    let mut stream = OnlineFdr::new(rule, inputs.rate_or("target", 0.05)?)?;
    let (mut alphas, mut discovered) = (Vec::new(), Vec::new());
    for p_value in inputs.numbers("p")? {
        let decision = stream.observe(p_value)?;
        alphas.push(decision.alpha);
        discovered.push(decision.discovered);
    }
    Ok(json!({
        "alpha": numbers(&alphas),
        "discovered": discovered,
        "next_alpha": number(stream.next_alpha()),
    }))
}

/// Intervals whose levels match an adjustment of the p-values, from estimates and standard errors.
pub(super) fn adjusted_intervals(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    use crate::multiple::intervals;
    let (estimates, errors) = (inputs.finites("estimate")?, inputs.finites("se")?);
    if estimates.len() != errors.len() {
        return Err(StatsError::invalid("se", "must have as many entries as estimate"));
    }
    for error in &errors {
        crate::error::check_positive("se", *error)?;
    }
    let p_values: Vec<f64> = estimates
        .iter()
        .zip(&errors)
        .map(|(estimate, error)| normal::two_sided(estimate / error))
        .collect();
    let alpha = inputs.rate_or("alpha", 0.05)?;
    let alphas = match inputs.text("correction")? {
        "bonferroni" => intervals::bonferroni_alphas(&p_values, alpha)?,
        "holm" => intervals::holm_alphas(&p_values, alpha)?,
        "benjamini_hochberg" => intervals::benjamini_hochberg_alphas(&p_values, alpha)?,
        _ => {
            return Err(StatsError::invalid(
                "correction",
                "must be bonferroni, holm or benjamini_hochberg",
            ));
        }
    };
    let ends: Vec<Value> = estimates
        .iter()
        .zip(&errors)
        .zip(&alphas)
        .map(|((estimate, error), alpha)| {
            let margin = normal::isf(0.5 * alpha) * error;
            super::means::pair(Interval::around(*estimate, margin, 1.0 - alpha))
        })
        .collect();
    Ok(json!({"p": numbers(&p_values), "interval_alpha": numbers(&alphas), "intervals": ends}))
}
