//! Methods on whole samples by name: ranks and quantiles.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::{means, number, numbers};
use crate::error::StatsError;
use crate::frequentist::{quantile, rank};

/// The Mann–Whitney U test. A normal p-value without continuity correction is "nan" where all values are equal.
pub fn mann_whitney_u(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let answer = rank::mann_whitney(&inputs.finites("control")?, &inputs.finites("treatment")?)?;
    let mut result = json!({
        "asymptotic_cc": numbers(&[answer.u, answer.p_corrected]),
        "asymptotic_nocc": numbers(&[answer.u, answer.p_normal.unwrap_or(f64::NAN)]),
        "chance_greater": number(answer.chance_greater),
        "z": answer.z.map_or(Value::Null, number),
        "status": if answer.z.is_some() { "ok" } else { "zero_variance" },
    });
    if let Some(p_exact) = answer.p_exact {
        result["exact"] = numbers(&[answer.u, p_exact]);
    }
    Ok(result)
}

/// The ranks that bound a quantile.
pub fn quantile_order_stat_ci(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let answer = quantile::ranks(
        inputs.count("n")?,
        inputs.rate("q")?,
        inputs.rate_or("alpha", 0.05)?,
    )?;
    Ok(json!({
        "lower_rank_1based": answer.lower,
        "upper_rank_1based": answer.upper,
        "exact_coverage": answer.coverage.map_or(Value::Null, number),
        "deng_L": number(answer.normal_lower),
        "deng_U": number(answer.normal_upper),
        "gbstats_min_n": number(answer.least_units),
    }))
}

/// The difference of two quantiles of independent values.
pub fn quantile_difference(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (q, alpha) = (inputs.rate("q")?, inputs.rate_or("alpha", 0.05)?);
    let (control, treatment) = (inputs.finites("control")?, inputs.finites("treatment")?);
    let left = quantile::estimate(&control, q, alpha)?;
    let right = quantile::estimate(&treatment, q, alpha)?;
    let contrast = quantile::contrast(&left, &right, [control.len() as u64, treatment.len() as u64])?;
    let mut result = means::contrast_result(&contrast, alpha)?;
    for (name, estimate) in [("control", left), ("treatment", right)] {
        result[name] = json!({"estimate": number(estimate.estimate), "ci95": means::pair(estimate.interval)});
    }
    Ok(result)
}
