//! Methods on whole samples by name: ranks and quantiles.

use serde_json::{Value, json};

use super::inputs::Inputs;
use super::{means, named, number, numbers};
use crate::error::StatsError;
use crate::estimate::{ArmUnits, Estimate};
use crate::frequentist::{quantile, rank};

/// The Mann–Whitney U test. A normal p-value without continuity correction is "nan" where all values are equal.
pub fn mann_whitney_u(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (control, treatment) = (inputs.finites("control")?, inputs.finites("treatment")?);
    let answer = rank::mann_whitney(&control, &treatment, inputs.rate_or("alpha", 0.05)?)?;
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
    let units = ArmUnits {
        control: control.len() as u64,
        treatment: treatment.len() as u64,
    };
    let p_value = answer.p_exact.unwrap_or(answer.p_corrected);
    let named = Estimate {
        estimate: Some(answer.chance_greater),
        standard_error: answer.standard_error,
        interval: answer.interval,
        p_value: answer.z.map(|_| p_value),
        log10_p: answer
            .z
            .map(|_| answer.p_exact.map_or(answer.log10_p_corrected, f64::log10)),
        assumptions: &[
            "values are independent of each other",
            "the estimate is the chance that a treatment value exceeds a control value, ties counting half",
        ],
        reason: answer.z.is_none().then_some(StatsError::ZeroVariance),
        ..Estimate::empty("mann_whitney", units)
    };
    Ok(named::completed(result, &named))
}

/// The difference of two quantiles of values that come in clusters, such as several a user.
pub fn quantile_clustered(inputs: &Inputs<'_>) -> Result<Value, StatsError> {
    let (q, alpha) = (inputs.rate("q")?, inputs.rate_or("alpha", 0.05)?);
    let (left_users, left) = clustered(inputs, "control", q, alpha)?;
    let (right_users, right) = clustered(inputs, "treatment", q, alpha)?;
    let contrast = quantile::contrast(&left, &right, [left_users, right_users])?;
    let mut result = means::contrast_result(&contrast, alpha, means::Origin::Quantiles)?;
    for (name, estimate) in [("control", left), ("treatment", right)] {
        result[name] = json!({"estimate": number(estimate.estimate), "ci95": means::pair(estimate.interval)});
    }
    Ok(result)
}

/// The users and the quantile of an arm given as one list of values per user.
fn clustered(
    inputs: &Inputs<'_>,
    field: &str,
    q: f64,
    alpha: f64,
) -> Result<(u64, quantile::QuantileEstimate), StatsError> {
    let wrong = || StatsError::invalid(field, "must be a list of lists of numbers, one per user");
    let mut users: Vec<Vec<f64>> = Vec::new();
    for user in inputs.list(field)? {
        let values = user.as_array().ok_or_else(wrong)?;
        users.push(
            values
                .iter()
                .map(|value| value.as_f64().ok_or_else(wrong))
                .collect::<Result<_, _>>()?,
        );
    }
    Ok((users.len() as u64, quantile::estimate_users(&users, q, alpha)?))
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
    let mut result = means::contrast_result(&contrast, alpha, means::Origin::Quantiles)?;
    for (name, estimate) in [("control", left), ("treatment", right)] {
        result[name] = json!({"estimate": number(estimate.estimate), "ci95": means::pair(estimate.interval)});
    }
    Ok(result)
}
